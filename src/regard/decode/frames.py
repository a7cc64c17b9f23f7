"""Numbers in the place of embedded tokens."""

from jaxtyping import Float
from torch import Tensor, nn

from regard.ops.noise import Noise


class Frames(nn.Module):
    """A linear map of each step's numbers, one for each channel of a series.

    frames = Frames(channels=12, dim=64)
    frames(x)                                       # x (batch, steps, 12) → (batch, steps, 64)
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(channels, dim)

    @property
    def dim(self) -> int:
        return self.map.out_features

    def forward(
        self, x: Float[Tensor, "batch steps channels"], noise: Noise | None = None, name: str = "words"
    ) -> Float[Tensor, "batch steps dim"]:
        return self.map(x)
