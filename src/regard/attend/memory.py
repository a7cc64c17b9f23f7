"""What an encoder returns and attention reads."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """One source of every sentence of a batch, encoded.

    Of several, a row may lack one: it has no real step there, its length is 0, and nothing else of it is read.
    """

    values: Float[Tensor, "batch src_len dim"]
    src_valid: Bool[Tensor, "batch src_len"]
    """True = real step"""
    lengths: Int[Tensor, "batch"]
    """real steps of each row, on the CPU"""
    summary: Float[Tensor, "batch layers state"]
    """final state of each layer, directions side by side: for the bridge, and for models without attention"""
    source_ids: Int[Tensor, "batch src_len"] | None = None
    """what stood at each step, for copying"""
    levels: Int[Tensor, "batch nesting src_len"] | None = None
    """segment of each step in a hierarchy (sentence, paragraph), the smallest first: where it changes, one ends"""
    grid: tuple[int, int] | None = None
    """height × width, where the steps are regions of an image in row order"""

    owner: Int[Tensor, "batch words"] | None = None
    """where steps are segments: in which of them each word is, -1 on padding"""
    share: Float[Tensor, "batch words"] | None = None
    """where steps are segments, made of words by weight: each word's in its segment"""

    asked: Float[Tensor, "batch src_len question"] | None = None
    """of a passage that has read a question: how much each step looked at each of the question's, which come first"""

    @property
    def ragged(self) -> bool:
        """Whether any row is padded; when none is, attention needs no mask and kernels no packing."""
        return bool((self.lengths != self.values.shape[1]).any())


def valid_steps(lengths: Int[Tensor, "batch"], src_len: int) -> Bool[Tensor, "batch src_len"]:
    """True where a step lies before its row's end."""
    return torch.arange(src_len, device=lengths.device) < lengths[:, None]


def select_memory(memory: Memory, rows: Int[Tensor, "rows"]) -> Memory:
    """The sentences `rows` of a memory, in that order, repeats allowed."""
    picked: dict[str, Any] = {}
    for field in fields(memory):
        value = getattr(memory, field.name)
        picked[field.name] = value[rows.to(value.device)] if isinstance(value, Tensor) else value
    return Memory(**picked)


def present(memories: Sequence[Memory]) -> Bool[Tensor, "batch memories"] | None:
    """Which memories each row has; None where all have all. A row that has none is a mistake of who built the batch."""
    there = torch.stack([memory.lengths > 0 for memory in memories], 1)
    without = (~there.any(1)).nonzero()[:, 0].tolist()
    assert not without, f"rows {without} of the batch have no memory at all: leave them out"
    return None if bool(there.all()) else there.to(memories[0].values.device)


def filled(memory: Memory) -> Memory:
    """With one step of zeros for each row that lacks it, so that there is something to attend to, which is nothing."""
    lacking = memory.lengths == 0
    if not bool(lacking.any()):
        return memory
    assert memory.values.shape[1] > 0, "a memory that no row has still has one step, of padding"
    here = lacking.to(memory.values.device)
    values, src_valid = memory.values.masked_fill(here[:, None, None], 0.0), memory.src_valid.clone()
    src_valid[:, 0] |= here
    return replace(memory, values=values, src_valid=src_valid, lengths=memory.lengths.clamp(min=1))


def summaries(memories: Sequence[Memory]) -> Float[Tensor, "batch summary"]:
    """All summaries side by side, zero for what a row lacks."""
    found = torch.cat([memory.summary.flatten(1) for memory in memories], 1)
    there = present(memories)
    if there is None:
        return found
    sizes = torch.tensor([memory.summary[0].numel() for memory in memories], device=found.device)
    return found.masked_fill(~there.repeat_interleave(sizes, 1), 0.0)
