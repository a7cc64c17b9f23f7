"""No source: for models that write without having read."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard import config
from regard.attend.memory import Memory, valid_steps
from regard.encode.encoder import Encoder
from regard.ops.noise import Noise


class Nothing(Encoder):
    """A memory of zeros, one number a step: a decoder without attention begins the same way in every row.

    What it begins with is the bridge's bias, which is learned.

        memory = Nothing(Nothing.Config(), input_size=32)(x, lengths)     # x (batch, src_len, 32)
    """

    class Config(config.Config):
        """No source: the model continues texts (task write)."""

        type: Literal["none"] = "none"

    dim = summary_size = 1

    @staticmethod
    def conflict(config: Any, attended: bool) -> str | None:
        """There is nothing to attend to."""
        reason = "encoder none reads nothing, so there is nothing to attend to: set attention to none"
        return reason if attended else None

    def __init__(self, config: Config, *, input_size: int, dropout: float = 0.0) -> None:
        super().__init__()

    def forward(
        self, x: Float[Tensor, "batch src_len input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> Memory:
        """Nothing of x but its size and type is read."""
        rows, steps = x.shape[:2]
        valid = valid_steps(lengths.to(x.device), steps)
        return Memory(x.new_zeros(rows, steps, 1), valid, lengths, torch.zeros_like(x[:, :1, :1]))
