"""What a query may look at, before anything is scored."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from regard import config
from regard.attend.question import AttentionState, Question


@dataclass(frozen=True)
class Candidates:
    """The steps in scope, for every query of every sentence.

    With `positions` None they are the whole source, shared by all queries of a sentence. Otherwise each query has
    its own few, and keys, values and valid carry a query dimension: (batch, queries, candidates, …).
    """

    keys: Float[Tensor, "batch *queries candidates attn"]
    values: Float[Tensor, "batch *queries candidates dim"]
    valid: Bool[Tensor, "batch *own candidates"] | None
    """True = may be attended to; None: all may. Where the candidates are shared it may still differ by query."""
    positions: Int[Tensor, "batch queries candidates"] | None = None
    """source step of each candidate"""
    factor: Float[Tensor, "batch queries candidates"] | None = None
    """what weights are multiplied with after they are normalized"""


class WholeSource(nn.Module):
    """Every step of the source, for every query."""

    class Config(config.Config):
        """All source steps."""

        type: Literal["whole"] = "whole"

    fast = True
    stateless = True
    """no state: the queries of a whole sentence can be answered at once"""
    sums_to_one = True
    """no factor: weights sum to what the normalizer makes them sum to"""

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__()

    def start(self, places: Int[Tensor, "rows"]) -> AttentionState:
        """The state before the first query; `places`, the step that each row starts from: 0 for a decoder's rows."""
        return {}

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        question: Question,
    ) -> tuple[Candidates, AttentionState]:
        return Candidates(keys, values, valid), {}


def last_step(
    keys: Float[Tensor, "batch src_len attn"], valid: Bool[Tensor, "batch src_len"] | None
) -> Int[Tensor, "batch 1"]:
    """Where each sentence ends."""
    if valid is None:
        return torch.full((keys.shape[0], 1), keys.shape[1] - 1, device=keys.device)
    return valid.sum(1)[:, None] - 1


def pick(
    keys: Float[Tensor, "batch src_len attn"],
    values: Float[Tensor, "batch src_len dim"],
    positions: Int[Tensor, "batch queries candidates"],
    inside: Bool[Tensor, "batch queries candidates"],
    factor: Float[Tensor, "batch queries candidates"] | None = None,
) -> Candidates:
    """The steps at `positions`, of which those `inside` may be attended to; nothing else is read."""
    positions = positions.clamp(0, keys.shape[1] - 1)
    rows = torch.arange(keys.shape[0], device=keys.device)[:, None, None]
    return Candidates(keys[rows, positions], values[rows, positions], inside, positions, factor)


def spread(
    weights: Float[Tensor, "batch queries candidates"], candidates: Candidates, src_len: int
) -> Float[Tensor, "batch queries src_len"]:
    """Weights over the source, from weights over candidates."""
    if candidates.positions is None:
        return weights
    return weights.new_zeros(*weights.shape[:2], src_len).scatter_add(2, candidates.positions, weights)
