"""Ways of looking at several memories at once: text and image, speech and lips, history and document."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from regard import config
from regard.attend.additive import AdditiveScore
from regard.attend.attention import Attention
from regard.attend.combination import Combination, Gathered, Looked, steps_of
from regard.attend.memory import Memory, filled, present
from regard.attend.normalizers import only_valid
from regard.attend.parts import NORMALIZERS, SCORES
from regard.attend.question import AttentionState
from regard.ops.noise import Noise


class Concat(Combination):
    """Each memory by itself, the contexts side by side.

        c_i = [c_i¹; …; c_iᴺ],  c_iᵏ = attendᵏ(s_i)

    Zoph & Knight 2016, "Multi-source neural translation", whose decoder sees all contexts at once; the baseline of
    Libovický & Helcl 2017, section 3. Weights sum to one over each memory; one that a row lacks has a context of zeros.
    With one memory it is plain attention.

        both = Concat(Concat.Config(), Attention.Config(), query_dim=64, memory_dims=[64, 32])
        gathered = both.prepare([text, image])                                 # once per batch
        state = both.start(gathered)
        looked, state = both(query, gathered, state)     # query (batch, queries, 64), two contexts (batch, queries, …)
    """

    class Config(config.Config):
        """Each memory by itself, contexts side by side."""

        type: Literal["concat"] = "concat"

    def __init__(
        self, config: Config, attention: Attention.Config | None, *, query_dim: int, memory_dims: Sequence[int]
    ) -> None:
        super().__init__(attention, query_dim=query_dim, memory_dims=memory_dims)
        self.context_dim = sum(part.context_dim for part in self)

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        gathered: Gathered,
        state: AttentionState,
        noise: Noise | None = None,
    ) -> tuple[Looked, AttentionState]:
        return self.look(query, gathered, state, noise)


class Flat(Combination):
    """The steps of all memories as those of one, with projections of each memory's own.

        e_ijᵏ = v · tanh(W s_i + U_aᵏ h_jᵏ),  αᵢ = normalize(e_i over all j and k),  c_i = Σ_k Σ_j α_ijᵏ U_cᵏ h_jᵏ

    Libovický & Helcl 2017, section 3.1, without the sentinel; v and W are shared, the common space of U_c has the
    query's size. Unlike the paper any score and normalizer will do, and an additive score has a bias. A score that
    needs one size for both compares the query with U_cᵏ h_jᵏ (the paper's shared projections, U_a = U_c); several heads
    have their own projections, of every memory, in place of U_c. Weights sum to one over all memories together.

    U_a and U_c are one matrix each, with columns for each memory: a step of one has zeros in the columns of the others.

        both = Flat(Flat.Config(), Attention.Config(), query_dim=64, memory_dims=[64, 32])
        gathered = both.prepare([text, image])                                 # once per batch
        state = both.start(gathered)
        looked, state = both(query, gathered, state)     # query (batch, queries, 64), one context (batch, queries, 64)
    """

    class Config(config.Config):
        """One distribution over the steps of all memories."""

        type: Literal["flat"] = "flat"

    @staticmethod
    def conflict(attention: Attention.Config) -> str | None:
        """Steps of several memories are in no order, so that nothing may depend on it."""
        score, normalizer, scope = attention.score.type, attention.normalizer.type, attention.scope.type
        if scope != "whole":
            what = f"attention.scope {scope} picks"
        elif getattr(NORMALIZERS[normalizer], "whole_source", False):
            what = f"attention.normalizer {normalizer} moves over"
        elif getattr(SCORES[score], "remembers", ()):
            what = f"attention.score {score} compares"
        else:
            return None
        return f"combine flat reads memories as one, and {what} steps by their order: choose concat or hierarchical"

    def __init__(
        self, config: Config, attention: Attention.Config, *, query_dim: int, memory_dims: Sequence[int]
    ) -> None:
        heads, total = attention.heads, sum(memory_dims)
        self_compared = heads == 1 and getattr(SCORES[attention.score.type], "same_size", False)
        super().__init__(attention, query_dim=query_dim, memory_dims=[query_dim if self_compared else total])
        self.memory_dims, self.total, self.self_compared = tuple(memory_dims), total, self_compared
        self.project = None if heads > 1 else nn.Linear(total, query_dim, bias=False)
        self.context_dim = attention.dim if heads > 1 else query_dim

    def prepare(self, memories: Sequence[Memory]) -> Gathered:
        present(memories)  # a row has at least one
        placed, before = [], 0
        for memory, dim in zip(memories, self.memory_dims, strict=True):
            placed.append(F.pad(filled(memory).values, (before, self.total - before - dim)))
            before += dim
        states = torch.cat(placed, 1)  # (batch, all steps, all dims)
        joined = Memory(
            values=states if self.project is None else self.project(states),
            src_valid=torch.cat([memory.src_valid for memory in memories], 1),
            lengths=torch.stack([memory.lengths for memory in memories]).sum(0),
            summary=memories[0].summary,
        )
        (part,) = self
        attended = part.prepare(joined, None if self.self_compared else states)
        if attended.valid is not None:  # kernels count real steps from the left, and here padding lies between
            attended = replace(attended, loop=None)
        return Gathered((attended,), steps_of(memories))

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        gathered: Gathered,
        state: AttentionState,
        noise: Noise | None = None,
    ) -> tuple[Looked, AttentionState]:
        looked, after = self.look(query, gathered, state, noise)
        return replace(looked, weights=list(looked.weights[0].split(gathered.steps, -1))), after


class Hierarchical(Combination):
    """Each memory by itself, then attention over their contexts.

        e_iᵏ = v · tanh(W s_i + U_bᵏ c_iᵏ),  βᵢ = softmax(e_i),  c_i = Σ_k β_iᵏ U_cᵏ c_iᵏ,  c_iᵏ = attendᵏ(s_i)

    Libovický & Helcl 2017, section 3.2, equations 10 to 12, without the sentinel; the common space of U_c has the
    query's size. Unlike the paper there is a bias inside the tanh. The weights that are told are α_ijᵏ β_iᵏ, what a
    step counts in the context: where each α sums to one, so do all of them together, and a memory's sum is β_iᵏ, which
    the paper's figure 2 shows. What attention remembers of earlier weights are its own, α.

        both = Hierarchical(Hierarchical.Config(), Attention.Config(), query_dim=64, memory_dims=[64, 32])
        gathered = both.prepare([text, image])                                 # once per batch
        state = both.start(gathered)
        looked, state = both(query, gathered, state)     # query (batch, queries, 64), one context (batch, queries, 64)
    """

    class Config(config.Config):
        """A second attention over the memories' contexts."""

        type: Literal["hierarchical"] = "hierarchical"

    def __init__(
        self, config: Config, attention: Attention.Config, *, query_dim: int, memory_dims: Sequence[int]
    ) -> None:
        super().__init__(attention, query_dim=query_dim, memory_dims=memory_dims)
        self.sizes = [part.context_dim for part in self]
        sizes = {"query_dim": query_dim, "memory_dim": sum(self.sizes), "dim": attention.dim}
        self.score = AdditiveScore(AdditiveScore.Config(), **sizes)
        self.project = nn.Linear(sum(self.sizes), query_dim, bias=False)
        self.context_dim = query_dim

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        gathered: Gathered,
        state: AttentionState,
        noise: Noise | None = None,
    ) -> tuple[Looked, AttentionState]:
        looked, after = self.look(query, gathered, state, noise)
        pairs = zip(looked.contexts, self.score.key_weight.split(self.sizes, 1), strict=True)
        keys = torch.stack([F.linear(context, weight, self.score.key_bias) for context, weight in pairs], 2)
        valid = None if gathered.present is None else gathered.present[:, None]
        shares = only_valid(self.score(query, keys), valid).softmax(-1).split(1, -1)  # of each memory
        contexts, weights = (
            [tensor * share for tensor, share in zip(part, shares, strict=True)]
            for part in (looked.contexts, looked.weights)
        )
        return Looked([self.project(torch.cat(contexts, -1))], weights, looked.aux), after


COMBINATIONS: dict[str, Any] = {"concat": Concat, "flat": Flat, "hierarchical": Hierarchical}
"""What `model.combine` in a recipe may name."""


def combined(
    config: config.Config | None, attention: Attention.Config | None, *, query_dim: int, memory_dims: Sequence[int]
) -> Combination:
    """What `config` names, None is concat; of one memory, or without attention, there is nothing to combine."""
    if config is None or attention is None or len(memory_dims) < 2:
        return Concat(Concat.Config(), attention, query_dim=query_dim, memory_dims=memory_dims)
    return COMBINATIONS[cast(Any, config).type](config, attention, query_dim=query_dim, memory_dims=memory_dims)
