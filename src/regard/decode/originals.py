"""What copying needs to know of a source: which token each of its steps would be."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.config import POINTERS
from regard.data.tokenizer import UNK
from regard.ops.pointer import Pointed


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
    first: Int[Tensor, "batch src_len"]
    """the first step with the same token"""
    vocab: int

    @classmethod
    def of(cls, ids: Int[Tensor, "batch src_len"], vocab: int) -> "Originals":
        steps = ids.shape[1]
        assert steps <= POINTERS, f"a source of {steps:,} steps, and pointers for {POINTERS:,}"
        first = _first(ids)
        return cls(ids, torch.where(ids < vocab, ids, vocab + first), first, vocab)

    def select(self, rows: Int[Tensor, "rows"]) -> "Originals":
        ids, tokens, first = (part.index_select(0, rows) for part in (self.ids, self.tokens, self.first))
        return Originals(ids, tokens, first, self.vocab)

    def named(self, targets: Int[Tensor, "batch tgt_len"]) -> Int[Tensor, "batch tgt_len"]:
        """Targets in the extended vocabulary: unknown where neither the vocabulary nor the source has one."""
        same = targets[:, :, None] == self.ids[:, None]
        pointed = torch.where(same.any(2), self.vocab + same.to(torch.uint8).argmax(2), UNK)
        return torch.where(targets < self.vocab + self.ids.shape[1], targets, pointed)

    def pointed(self, weights: Float[Tensor, "batch queries src_len"]) -> Pointed:
        """One row a query, a sentence's queries together."""
        tokens, first = (part.repeat_interleave(weights.shape[1], 0) for part in (self.tokens, self.first))
        return Pointed(weights.flatten(0, 1), tokens, first)


def _first(ids: Int[Tensor, "batch src_len"]) -> Int[Tensor, "batch src_len"]:
    """For each step the first one with the same id."""
    ordered, steps = ids.sort(dim=1, stable=True)
    begins = torch.ones_like(ids, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = torch.arange(ids.shape[1], device=ids.device)
    group = torch.where(begins, place, 0).cummax(1).values  # where the ids equal to each begin
    return torch.empty_like(ids).scatter(1, steps, steps.gather(1, group))
