"""From a memory to one vector a sequence."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.memory import Memory
from regard.attend.parts import STATELESS
from regard.attend.question import Question
from regard.attend.scores import dot
from regard.config import choice


class Pooled(NamedTuple):
    """What is left of a memory."""

    vector: Tensor
    """(batch, dim)"""
    weights: Tensor | None = None
    """(batch, hops, src_len) of each step, zero on padding, one in sum; None where no step has one"""
    penalty: Tensor | None = None
    """(batch,) to be added to the loss, in nats"""


class LastPooling(nn.Module):
    """The final states of all layers, side by side: what a decoder without attention sees.

    Both ends of the sequence where the encoder reads both ways (Sutskever, Vinyals & Le 2014, for sequences read once).
    """

    class Config(config.Config):
        """The encoder's final states."""

        type: Literal["last"] = "last"

    def __init__(self, config: Config, *, memory_dim: int, summary_size: int) -> None:
        super().__init__()
        self.dim = summary_size

    def forward(self, memory: Memory) -> Pooled:
        return Pooled(memory.summary.flatten(1))


class MeanPooling(nn.Module):
    """The mean of the real steps: every one has the same weight."""

    class Config(config.Config):
        """The mean of all steps."""

        type: Literal["mean"] = "mean"

    def __init__(self, config: Config, *, memory_dim: int, summary_size: int) -> None:
        super().__init__()
        self.dim = memory_dim

    def forward(self, memory: Memory) -> Pooled:
        valid = memory.src_valid.to(memory.values)[:, None]  # (batch, 1, src_len)
        weights = valid / valid.sum(-1, keepdim=True)
        return Pooled((weights @ memory.values)[:, 0], weights)


class MaxPooling(nn.Module):
    """Of every feature the largest value among the real steps.

    Conneau et al. 2017 (arXiv:1705.02364), section 3.2.2, "BiLSTM-max".
    """

    class Config(config.Config):
        """Each feature's largest value."""

        type: Literal["max"] = "max"

    def __init__(self, config: Config, *, memory_dim: int, summary_size: int) -> None:
        super().__init__()
        self.dim = memory_dim

    def forward(self, memory: Memory) -> Pooled:
        return Pooled(memory.values.masked_fill(~memory.src_valid[..., None], float("-inf")).amax(1))


class AttentionPooling(nn.Module):
    """The sum of steps by weight: how well each matches a vector that is learned.

        u_i = tanh(W h_i + b),  α = normalize(u_i · u),  s = Σ_i α_i h_i

    Yang et al. 2016, "Hierarchical attention networks for document classification", equations 5 to 7, over any
    normalizer that answers at once; theirs is softmax.

        pooling = AttentionPooling(AttentionPooling.Config(), memory_dim=encoder.dim, summary_size=encoder.summary_size)
        vector, weights, _ = pooling(encoder(x, lengths))        # (batch, dim), (batch, 1, src_len)
    """

    class Config(config.Config):
        """Attention with a learned query."""

        type: Literal["attention"] = "attention"
        normalizer: choice(STATELESS) = "softmax"  # type: ignore[valid-type]
        """Softmax: the convention."""
        dim: int = Field(256, ge=1)
        """Size of u_i; that of the additive score's hidden layer."""

    def __init__(self, config: Config, *, memory_dim: int, summary_size: int, hops: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.dim = hops * memory_dim
        self.hidden = nn.Linear(memory_dim, config.dim, bias=bias)
        self.queries = nn.Linear(config.dim, hops, bias=False)
        self.normalizer = STATELESS[config.normalizer.type](config.normalizer, query_dim=config.dim)

    def forward(self, memory: Memory) -> Pooled:
        query = self.queries.weight.expand(len(memory.values), -1, -1)  # (batch, hops, dim)
        scores = dot(query, torch.tanh(self.hidden(memory.values)))
        valid = memory.src_valid[:, None] if memory.ragged else None
        weights = self.normalizer(scores, valid, Question(query, {})).weights
        return Pooled((weights @ memory.values).flatten(1), weights)


class StructuredPooling(AttentionPooling):
    """Several such sums side by side, and what it costs when they look at the same steps.

        A = softmax(W₂ tanh(W₁ Hᵀ)),  M = A H,  penalty = λ ‖A Aᵀ − I‖²

    Lin et al. 2017, "A structured self-attentive sentence embedding" (arXiv:1703.03130), section 2.1, equation 6 and
    what follows it, and section 2.2, where the norm is Frobenius's; over any normalizer that answers at once. With one
    hop and no penalty it is `attention` without the bias.

        pooling = StructuredPooling(StructuredPooling.Config(hops=4), memory_dim=64, summary_size=64)
        vector, weights, penalty = pooling(memory)               # (batch, 4 · 64), (batch, 4, src_len), (batch,)
    """

    class Config(AttentionPooling.Config):
        """Attention with several learned queries."""

        type: Literal["structured"] = "structured"  # type: ignore[assignment]
        hops: int = Field(8, ge=1)
        """r, rows of A, each of which makes the vector wider by a memory; Lin et al. 2017, section 4.1, use 30."""
        penalty: float = Field(1.0, ge=0)
        """λ; 1, as Lin et al. 2017, section 4.1."""

    def __init__(self, config: Config, *, memory_dim: int, summary_size: int) -> None:
        sizes = {"memory_dim": memory_dim, "summary_size": summary_size}
        super().__init__(config, **sizes, hops=config.hops, bias=False)
        self.penalty = config.penalty

    def forward(self, memory: Memory) -> Pooled:
        vector, weights, _ = super().forward(memory)
        assert weights is not None, "attention has weights"
        return Pooled(vector, weights, self.penalty * overlap(weights))


def overlap(weights: Float[Tensor, "batch hops steps"]) -> Float[Tensor, "batch"]:
    """‖A Aᵀ − I‖²: zero where every hop has all of its weight on one step, and no two on the same."""
    alike = weights @ weights.mT
    return (alike - torch.eye(alike.shape[1], dtype=alike.dtype, device=alike.device)).square().sum((1, 2))


WEIGHTED = ("attention", "structured", "mean")
"""The poolings that say what each step counted."""

POOLINGS = {
    "attention": AttentionPooling,
    "structured": StructuredPooling,
    "mean": MeanPooling,
    "max": MaxPooling,
    "last": LastPooling,
}
"""One vector a sequence: what a head that classifies, or the next level of a hierarchy, may name."""
