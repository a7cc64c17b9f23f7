"""From scores to weights: ≥ 0, at most one in sum, zero on what may not be attended to."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from regard import config
from regard.ops.noise import Noise


class Softmax(nn.Module):
    """Exponentials of the scores, divided by their sum over the valid steps.

        weights = exp(score) / Σ exp(score)

    Bahdanau, Cho & Bengio 2015, section 3.1 (α).
    """

    class Config(config.Config):
        """Exponentials that sum to one."""

        type: Literal["softmax"] = "softmax"

    sums_to_one = True

    def __init__(self, config: Config) -> None:
        super().__init__()

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "batch queries steps"]:
        """Every query must have a valid step: empty sources are refused when a batch is built."""
        if valid is not None:
            scores = scores.masked_fill(~valid, float("-inf"))
        return scores.softmax(-1)
