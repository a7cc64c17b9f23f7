"""Attention as the composition of scope, score, normalizer and coverage, with any number of heads."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.coverage import Coverage
from regard.attend.memory import Memory
from regard.attend.normalizers import Softmax
from regard.attend.parts import COVERAGES, NORMALIZERS, SCOPES, SCORES
from regard.attend.question import Answer, AttentionState, Question
from regard.attend.scope import Candidates, WholeSource, spread
from regard.config import choice, optional
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

    Scope: which steps are seen. Score: how well each matches, with what is remembered of earlier weights (location,
    coverage) added to the keys. Normalizer: the weights. The context is the sum of values by weight. Several heads
    (Vaswani et al. 2017, section 3.2.2) project query, keys and values to `dim` features in all, attend separately, and
    project their contexts, side by side, to `dim`; heads live in the batch dimension, so no part knows of them, and one
    score, with weights of its own, serves all heads.

        attention = Attention(Attention.Config(score="dot"), query_dim=64, memory_dim=64)
        attended = attention.prepare(memory)                                   # once per batch
        state = attention.start(attended)
        context, weights, state, aux = attention(query, attended, state)       # query (batch, queries, 64)
    """

    class Config(config.Config):
        """Scope, score, normalizer, coverage and heads."""

        score: choice(SCORES) = "additive"  # type: ignore[valid-type]
        """Additive: the best in Britz et al. 2017, section 4.5, and it asks no sizes to be equal."""
        scope: choice(SCOPES) = "whole"  # type: ignore[valid-type]
        """The whole source: sentences are short."""
        normalizer: choice(NORMALIZERS) = "softmax"  # type: ignore[valid-type]
        """Softmax: the convention."""
        coverage: optional(choice(COVERAGES)) = None  # type: ignore[valid-type]
        """None: short outputs seldom repeat themselves. `sum` for summaries (See et al. 2017)."""
        heads: int = Field(1, ge=1)
        """One, the convention: a recurrent decoder has a single state to ask with."""
        dim: int = Field(256, ge=1)
        """Size of the hidden layer of additive and concat scores, of scaled_dot's projections, and of all heads
        together; the size of the decoder's state is the convention."""

        def conflict(self) -> str | None:
            """Why these parts cannot work together, if they cannot."""
            if self.dim % self.heads:
                return (
                    f"attention.dim {self.dim} cannot be split over {self.heads} heads: "
                    "choose a multiple of the number of heads"
                )
            name, scope = self.normalizer.type, self.scope.type
            if getattr(NORMALIZERS[name], "whole_source", False) and SCOPES[scope] is not WholeSource:
                return (
                    f"attention.normalizer {name} moves over the source step by step, and attention.scope {scope} "
                    "hides steps from it: choose scope whole"
                )
            if self.coverage is not None and self.coverage.loss and getattr(NORMALIZERS[name], "samples", False):
                return (
                    f"attention.coverage.loss teaches nothing through attention.normalizer {name}, whose weights are "
                    "samples: set it to 0, or choose hard_gumbel"
                )
            if getattr(SCOPES[scope], "itself", False):
                return (
                    f"attention.scope {scope} finds steps that are alike, for self-attention: set it in the encoder's "
                    "attention, and choose another here"
                )
            return None

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
        self.scope = SCOPES[config.scope.type](config.scope, query_dim=query_dim, dim=size)
        self.normalizer = NORMALIZERS[config.normalizer.type](config.normalizer, query_dim=query_dim)
        score, sizes = SCORES[config.score.type], {"query_dim": query_dim, "memory_dim": memory_dim, "dim": size}
        scores = [score(config.score, **sizes) for _ in range(self.normalizer.scores)]
        self.score: Any = scores[0] if len(scores) == 1 else ScoreStack(scores)
        self.coverage: Coverage | None = None
        if config.coverage is not None:
            self.coverage = COVERAGES[config.coverage.type](config.coverage, key_dim=self.score.key_dim)
        self.recalling: list[Any] = [part for part in (self.score, self.coverage) if getattr(part, "remembers", ())]
        """parts that read earlier weights"""
        self.remembers = {name for part in self.recalling for name in part.remembers}
        self.stateless = self.scope.stateless and self.normalizer.stateless and not self.remembers
        self.usual = (
            type(self.scope) is WholeSource
            and type(self.normalizer) is Softmax
            and self.normalizer.temperature == 1.0
            and not self.remembers
            and vars(type(self.score)).get("fast", False)  # its own word: a subclass may compute something else
        )
        """softmax over the whole source and nothing else, which there are kernels for"""

    def prepare(self, memory: Memory, compared: Float[Tensor, "batch src_len other"] | None = None) -> Attended:
        """Keys and values; `compared`: what is scored in place of the values, where that is something else."""
        values = memory.values
        compared = values if compared is None else compared
        if self.heads > 1:  # (batch, heads, src_len, dim/heads)
            compared, values = self._split(self.key(compared)), self._split(self.value(values))
        keys, valid = self.score.keys(compared), memory.src_valid if memory.ragged else None
        loop = None
        if self.usual and getattr(self.score, "vector", None) is not None and AttentionLoop.takes(keys, values):
            keys_flat, values_flat, lengths = _flat(keys, values, valid)
            loop = AttentionLoop(keys_flat, values_flat, self.score.vector, lengths)
        return Attended(keys, values, valid, loop)

    def start(self, attended: Attended, queries: int = 1) -> AttentionState:
        """Before the first query: rows are sentence × query, followed by heads where there are several."""
        sentences, src_len = attended.values.shape[0], attended.values.shape[-2]
        like = attended.values.new_zeros(sentences * queries * self.heads, src_len)
        places = torch.zeros(len(like), dtype=torch.long, device=like.device)
        state = {**self.scope.start(places), **self.normalizer.start(like)}
        state |= dict.fromkeys(self.remembers, like)
        return {name: self._by_head(part) for name, part in state.items()}

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
        """Context, weights (the mean over heads), next state, auxiliaries.

        Auxiliaries: `heads`, each head's weights (batch, heads, queries, src_len); and what parts report of each query,
        summed over heads, as `Answer.aux` says.
        """
        keys, values, valid = attended.keys, attended.values, attended.valid
        batch, queries = query.shape[:2]
        if self.heads > 1:
            query = self._split(self.query(query)).flatten(0, 1)  # heads join the batch
            keys, values = keys.flatten(0, 1), values.flatten(0, 1)
            valid = None if valid is None else valid.repeat_interleave(self.heads, 0)
            state = {name: _fold(part, queries) for name, part in state.items()}
        aux: dict[str, Tensor] = {}
        if attended.loop is not None:
            context, weights = attended.loop(self.score.project(query))
        else:
            context, weights, state, aux = self.ask(Question(query, state, noise), keys, values, valid)
        if self.heads == 1:
            return context, weights, state, aux
        context = context.unflatten(0, (batch, self.heads)).transpose(1, 2).flatten(2)  # heads side by side
        each = weights.unflatten(0, (batch, self.heads))  # (batch, heads, queries, src_len)
        aux = {name: part.unflatten(0, (batch, self.heads)).sum(1) for name, part in aux.items()}
        state = {name: _unfold(part, batch, self.heads) for name, part in state.items()}
        return self.merge(context), each.mean(1), state, {**aux, "heads": each}

    def ask(
        self, question: Question, keys: Tensor, values: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, AttentionState, dict[str, Tensor]]:
        """One head's road: what `look` found, with weights over the whole source, and what is remembered of them."""
        context, own, candidates, moved, answer = self.look(question, keys, values, valid)
        weights, aux, after = spread(own, candidates, keys.shape[1]), dict(answer.aux), {**moved, **answer.state}
        rows = weights.flatten(0, 1)
        if self.coverage is not None:
            penalty = self.coverage.penalty(rows, question.state).view(weights.shape[:2])
            aux["penalty"] = aux["penalty"] + penalty if "penalty" in aux else penalty
        if "before" in self.remembers:
            after["before"] = rows
        if "total" in self.remembers:
            after["total"] = question.state["total"] + rows
        return context, weights, after, aux

    def look(
        self, question: Question, keys: Tensor, values: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Candidates, AttentionState, Answer]:
        """Scope, score, normalizer, mix: the definition, in which nothing is longer than the scope.

        Returns the context, the candidates' weights, the candidates, the scope's next state, the normalizer's answer.
        """
        candidates, moved = self.scope(keys, values, valid, question)
        scores = self.score(question.query, self._reminded(candidates, question))
        answer = self.normalizer(scores, _per_query(candidates), question)
        weights = answer.weights if candidates.factor is None else answer.weights * candidates.factor
        return _mix(weights, candidates.values), weights, candidates, moved, answer

    def _reminded(self, candidates: Candidates, question: Question) -> Float[Tensor, "batch *queries candidates attn"]:
        """Keys with what is remembered of earlier weights added, which each query has its own of."""
        keys = candidates.keys
        if not self.recalling:
            return keys
        batch, queries = question.query.shape[:2]
        told = reduce(torch.add, (part.recall(question.state) for part in self.recalling))
        told = told.unflatten(0, (batch, queries))
        if candidates.positions is None:
            return keys[:, None] + told
        return keys + told.take_along_dim(candidates.positions[..., None], 2)

    def _split(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch heads steps size"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _by_head(self, state: Tensor) -> Tensor:
        return state if self.heads == 1 else state.unflatten(0, (-1, self.heads))


class ScoreStack(nn.Module):
    """Several scores of one kind, each with weights of its own, over keys that lie side by side."""

    vector = None

    def __init__(self, scores: list[Any]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(scores)
        self.key_dim = sum(part.key_dim for part in scores)
        self.remembers = getattr(scores[0], "remembers", ())

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return torch.cat([part.keys(values) for part in self.parts], -1)  # type: ignore[operator]

    def recall(self, state: AttentionState) -> Float[Tensor, "rows src_len attn"]:
        return torch.cat([part.recall(state) for part in self.parts], -1)  # type: ignore[operator]

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "kinds batch queries src_len"]:
        own = keys.chunk(len(self.parts), -1)
        return torch.stack([part(query, part_keys) for part, part_keys in zip(self.parts, own, strict=True)])


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


def _fold(state: Tensor, queries: int) -> Tensor:
    """(batch × queries, heads, …) → (batch × heads × queries, …)."""
    return state.unflatten(0, (-1, queries)).transpose(1, 2).flatten(0, 2)


def _unfold(state: Tensor, batch: int, heads: int) -> Tensor:
    """The inverse of `_fold`."""
    return state.unflatten(0, (batch, heads, -1)).transpose(1, 2).flatten(0, 1)
