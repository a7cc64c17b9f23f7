"""The additive score that knows where it looked last."""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.additive import AdditiveScore
from regard.attend.question import AttentionState


class LocationScore(AdditiveScore):
    """A perceptron over state, memory, and the weights of the step before around each source step.

        f = F ∗ α⁻,  score(q, m, j) = v · tanh(W q + V m + U f_j + b)

    Chorowski et al. 2015, "Attention-based models for speech recognition", equations 8 and 9: α⁻ are the last step's
    weights, zero before the first, and F a convolution over them.
    """

    class Config(config.Config):
        """A perceptron over state, memory and the last step's weights."""

        type: Literal["location"] = "location"
        filters: int = Field(10, ge=1)
        """k, of the convolution; Chorowski et al. 2015, section 4, use 10."""
        width: int = Field(15, ge=0)
        """Steps on each side that a filter sees; for the 100 of Chorowski et al. set 100: theirs are frames of speech,
        10 ms each."""

    fast = False
    remembers = ("before",)

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__(AdditiveScore.Config(), query_dim=query_dim, memory_dim=memory_dim, dim=dim)
        self.convolution = nn.Conv1d(1, config.filters, 2 * config.width + 1, padding=config.width, bias=False)
        self.location = nn.Linear(config.filters, dim, bias=False)

    def recall(self, state: AttentionState) -> Float[Tensor, "rows src_len attn"]:
        """U f, which is added to the keys."""
        return self.location(self.convolution(state["before"][:, None]).transpose(1, 2))
