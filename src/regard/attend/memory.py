"""What an encoder returns and attention reads."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """One source of every sentence of a batch, encoded."""

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
