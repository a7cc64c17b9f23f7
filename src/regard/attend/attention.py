"""Attention as the composition of scope, score and normalizer, with any number of heads."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.memory import Memory
from regard.attend.normalizers import Softmax
from regard.attend.parts import NORMALIZERS, SCOPES, SCORES
from regard.attend.scope import AttentionState, Candidates, WholeSource
from regard.config import choice
from regard.ops.attention import AttentionLoop
from regard.ops.noise import Noise


@dataclass(frozen=True)
class Attended:
    """One memory, made ready to be attended to: once per batch, one row per sentence, read-only.

    With several heads there is a dimension for them after the sentences'.
    """

    keys: Float[Tensor, "batch *heads src_len attn"]
    values: Float[Tensor, "batch *heads src_len dim"]
    valid: Bool[Tensor, "batch src_len"] | None
    """None where nothing is padded"""
    loop: AttentionLoop | None = None
    """the fast form, for the combination of parts that has one"""

    def select(self, rows: Int[Tensor, "rows"]) -> "Attended":
        valid = None if self.valid is None else self.valid.index_select(0, rows)
        keys, values = self.keys.index_select(0, rows), self.values.index_select(0, rows)
        loop = None if self.loop is None else self.loop.over(*_flat(keys, values, valid))
        return Attended(keys, values, valid, loop)


class Attention(nn.Module):
    """Attend(query, memory) → context, weights.

    Scope: which steps are seen. Score: how well each matches. Normalizer: the weights. The context is the sum
    of values by weight. Several heads (Vaswani et al. 2017, section 3.2.2) project query, keys and values to `dim`
    features in all, attend separately, and project their contexts, side by side, to `dim`; heads live in the batch
    dimension, so no part knows of them, and one score, with weights of its own, serves all heads.

        attention = Attention(Attention.Config(score="dot"), query_dim=64, memory_dim=64)
        attended = attention.prepare(memory)                                   # once per batch
        context, weights, state, aux = attention(query, attended, state)       # query (batch, queries, 64)
    """

    class Config(config.Config):
        """Scope, score, normalizer and heads."""

        score: choice(SCORES) = "additive"  # type: ignore[valid-type]
        """Additive: the best in Britz et al. 2017, section 4.5, and it asks no sizes to be equal."""
        scope: choice(SCOPES) = "whole"  # type: ignore[valid-type]
        """The whole source: sentences are short."""
        normalizer: choice(NORMALIZERS) = "softmax"  # type: ignore[valid-type]
        """Softmax: the convention."""
        heads: int = Field(1, ge=1)
        """One, the convention: a recurrent decoder has a single state to ask with."""
        dim: int = Field(256, ge=1)
        """Size of the hidden layer of additive and concat scores, of scaled_dot's projections, and of all heads
        together; the size of the decoder's state is the convention."""

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.context_dim = memory_dim if config.heads == 1 else config.dim
        size = config.dim // config.heads
        if config.heads > 1:
            self.query = nn.Linear(query_dim, config.dim, bias=False)
            self.key = nn.Linear(memory_dim, config.dim, bias=False)
            self.value = nn.Linear(memory_dim, config.dim, bias=False)
            self.merge = nn.Linear(config.dim, config.dim, bias=False)
            query_dim = memory_dim = size
        self.scope = SCOPES[config.scope.type](config.scope)
        self.score = SCORES[config.score.type](
            config.score, query_dim=query_dim, memory_dim=memory_dim, dim=size
        )
        self.normalizer = NORMALIZERS[config.normalizer.type](config.normalizer)
        self.stateless = self.scope.stateless
        self.usual = type(self.scope) is WholeSource and type(self.normalizer) is Softmax
        """softmax over the whole source, which there are kernels for"""

    def prepare(self, memory: Memory) -> Attended:
        compared = values = memory.values
        if self.heads > 1:  # (batch, heads, src_len, dim/heads)
            compared, values = self._split(self.key(compared)), self._split(self.value(values))
        keys, valid = self.score.keys(compared), memory.src_valid if memory.ragged else None
        loop = None
        if self.usual and getattr(self.score, "vector", None) is not None and AttentionLoop.takes(keys, values):
            keys_flat, values_flat, lengths = _flat(keys, values, valid)
            loop = AttentionLoop(keys_flat, values_flat, self.score.vector, lengths)
        return Attended(keys, values, valid, loop)

    def start(self, rows: int, device: torch.device) -> AttentionState:
        """The state before the first query, one row per hypothesis."""
        return self.scope.start(rows, device)

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        attended: Attended,
        state: AttentionState,
        noise: Noise | None = None,
    ) -> tuple[
        Float[Tensor, "batch queries dim"],
        Float[Tensor, "batch queries src_len"],
        AttentionState,
        dict[str, Tensor],
    ]:
        """Context, weights (the mean over heads), next state, auxiliaries (`heads`: each head's weights)."""
        keys, values, valid = attended.keys, attended.values, attended.valid
        if self.heads > 1:
            query = self._split(self.query(query)).flatten(0, 1)  # heads join the batch
            keys, values = keys.flatten(0, 1), values.flatten(0, 1)
            valid = None if valid is None else valid.repeat_interleave(self.heads, 0)
            queries = query.shape[1]
            state = {name: _repeat_rows(part, queries, self.heads) for name, part in state.items()}
        if attended.loop is not None:
            context, weights = attended.loop(self.score.project(query))
        else:
            candidates, state = self.scope(keys, values, valid, query.shape[1], state)
            weights = self.normalizer(self.score(query, candidates.keys), _per_query(candidates), noise)
            context = _mix(weights, candidates.values)
            weights = _spread(weights, candidates, keys.shape[1])
        if self.heads == 1:
            return context, weights, state, {}
        context = context.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)  # heads side by side
        each = weights.unflatten(0, (-1, self.heads))  # (batch, heads, queries, src_len)
        state = {name: _drop_repeats(part, queries, self.heads) for name, part in state.items()}
        return self.merge(context), each.mean(1), state, {"heads": each}

    def _split(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch heads steps size"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _flat(
    keys: Float[Tensor, "batch *heads src_len attn"],
    values: Float[Tensor, "batch *heads src_len dim"],
    valid: Bool[Tensor, "batch src_len"] | None,
) -> tuple[Float[Tensor, "rows src_len attn"], Float[Tensor, "rows src_len dim"], Int[Tensor, "rows"] | None]:
    """Keys, values and lengths with heads in the batch dimension."""
    lengths = None if valid is None else valid.sum(1)
    if keys.ndim == 4:
        lengths = None if lengths is None else lengths.repeat_interleave(keys.shape[1])
        keys, values = keys.flatten(0, 1), values.flatten(0, 1)
    return keys, values, lengths


def _per_query(candidates: Candidates) -> Tensor | None:
    valid = candidates.valid
    return valid[:, None] if valid is not None and valid.ndim == 2 else valid


def _mix(
    weights: Float[Tensor, "batch queries steps"], values: Float[Tensor, "batch *queries steps dim"]
) -> Float[Tensor, "batch queries dim"]:
    return weights @ values if values.ndim == 3 else (weights[:, :, None] @ values)[:, :, 0]


def _spread(
    weights: Float[Tensor, "batch queries candidates"], candidates: Candidates, src_len: int
) -> Float[Tensor, "batch queries src_len"]:
    """Weights over the source, from weights over candidates."""
    if candidates.positions is None:
        return weights
    return weights.new_zeros(*weights.shape[:2], src_len).scatter_add(2, candidates.positions, weights)


def _repeat_rows(state: Tensor, queries: int, heads: int) -> Tensor:
    """(batch × queries, …) → (batch × heads × queries, …)."""
    return state.unflatten(0, (-1, queries)).repeat_interleave(heads, 0).flatten(0, 1)


def _drop_repeats(state: Tensor, queries: int, heads: int) -> Tensor:
    """The inverse of `_repeat_rows`, for state that is the same in every head."""
    return state.unflatten(0, (-1, queries))[::heads].flatten(0, 1)
