"""What copying needs to know of a source: which token each of its steps would be."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.config import POINTERS
from regard.data.tokenizer import UNK


@dataclass(frozen=True)
class Pointed:
    """Where attention points while rows are written."""

    weights: Float[Tensor, "rows src_len"]
    tokens: Int[Tensor, "rows src_len"]
    """what copying each step would write, in the extended vocabulary"""

    def rows(self, some: slice | Int[Tensor, "some"]) -> "Pointed":
        return Pointed(self.weights[some], self.tokens[some])


@dataclass(frozen=True)
class Originals:
    """What stood at each step of every source.

    A sentence's vocabulary is extended by its source (See, Liu & Manning 2017, section 2.2): token `vocab` + j is what
    stands at step j, for the first step that has it, where the vocabulary lacks it.
    """

    ids: Int[Tensor, "batch src_len"]
    """as read; what the vocabulary lacks has an id of its own, beyond all pointers (`data.source.unknown: hash`)"""
    tokens: Int[Tensor, "batch src_len"]
    """what copying each step would write: the same wherever the source repeats itself"""
    vocab: int

    @classmethod
    def of(cls, ids: Int[Tensor, "batch src_len"], vocab: int) -> "Originals":
        steps = ids.shape[1]
        assert steps <= POINTERS, f"a source of {steps:,} steps, and pointers for {POINTERS:,}"
        return cls(ids, torch.where(ids < vocab, ids, vocab + _first(ids)), vocab)

    def select(self, rows: Int[Tensor, "rows"]) -> "Originals":
        return Originals(self.ids.index_select(0, rows), self.tokens.index_select(0, rows), self.vocab)

    def named(self, targets: Int[Tensor, "batch tgt_len"]) -> Int[Tensor, "batch tgt_len"]:
        """Targets in the extended vocabulary: unknown where neither the vocabulary nor the source has one."""
        same = targets[:, :, None] == self.ids[:, None]
        pointed = torch.where(same.any(2), self.vocab + same.to(torch.uint8).argmax(2), UNK)
        return torch.where(targets < self.vocab + self.ids.shape[1], targets, pointed)

    def pointed(self, weights: Float[Tensor, "batch queries src_len"]) -> Pointed:
        """One row a query, a sentence's queries together."""
        tokens = self.tokens.repeat_interleave(weights.shape[1], 0)
        return Pointed(weights.flatten(0, 1), tokens)


def _first(ids: Int[Tensor, "batch src_len"]) -> Int[Tensor, "batch src_len"]:
    """For each step the first one with the same id."""
    ordered, steps = ids.sort(dim=1, stable=True)
    begins = torch.ones_like(ids, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = torch.arange(ids.shape[1], device=ids.device)
    group = torch.where(begins, place, 0).cummax(1).values  # where the ids equal to each begin
    return torch.empty_like(ids).scatter(1, steps, steps.gather(1, group))
