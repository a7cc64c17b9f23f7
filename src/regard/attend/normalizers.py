"""From scores to weights, exponentially. Every normalizer: weights ≥ 0, at most one in sum, zero on padding."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.question import Answer, AttentionState, Question


class Normalizer(nn.Module):
    """What attention asks of a normalizer; a new one writes `forward`, and says what else it is.

    Every query has a valid step: empty sources are refused when a batch is built.
    """

    sums_to_one = True
    """False where weights may be left out"""
    stateless = True
    """False where it carries state or samples: then queries are answered one after the other"""
    samples = False
    """True where weights are picked by chance and have no gradient"""
    scores = 1
    """how many scores, each with weights of its own, it makes weights of"""
    whole_source = False
    """True where it cannot do without a step's neighbours, that is, with another scope"""

    def expect(self, nats: float) -> None:
        """Told once, before training: the log-likelihood of a token when nothing is learned yet."""

    def start(self, like: Float[Tensor, "rows src_len"]) -> AttentionState:
        """The state before the first query: its part of `Answer.state`."""
        return {}

    def forward(
        self,
        scores: Float[Tensor, "*kinds batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        raise NotImplementedError


class Softmax(Normalizer):
    """Exponentials of the scores, divided by their sum over the valid steps.

        weights = exp(score / τ) / Σ exp(score / τ)

    Bahdanau, Cho & Bengio 2015, section 3.1 (α), where the temperature τ is 1.
    """

    class Config(config.Config):
        """Exponentials that sum to one."""

        type: Literal["softmax"] = "softmax"
        temperature: float = Field(1.0, gt=0)
        """Below 1 sharper, above 1 flatter; 1, the convention, since scores learn their own scale; any other runs
        plain."""

    fast = True

    def __init__(self, config: Config, *, query_dim: int) -> None:
        super().__init__()
        self.temperature = config.temperature

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        if self.temperature != 1.0:
            scores = scores / self.temperature
        return Answer(only_valid(scores, valid).softmax(-1))


def only_valid(
    scores: Float[Tensor, "batch queries steps"], valid: Bool[Tensor, "batch #queries steps"] | None
) -> Float[Tensor, "batch queries steps"]:
    """Scores that no softmax gives weight to, where a step may not be attended to."""
    return scores if valid is None else scores.masked_fill(~valid, float("-inf"))


def one_hot(positions: Tensor, steps: int, like: Tensor) -> Float[Tensor, "batch queries steps"]:
    """All weight on one step."""
    return torch.nn.functional.one_hot(positions, steps).to(like)
