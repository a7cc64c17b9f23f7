"""Cells for decoding: their weights copied into packed products, every row the same bits in any batch."""

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from regard.cells.cell import Cell, CellState
from regard.cells.gru import GRU
from regard.cells.lstm import LSTM
from regard.ops import native
from regard.ops.int8 import Int8Linear
from regard.ops.packed import PackedLinear

Linear: TypeAlias = type[PackedLinear] | type[Int8Linear]
"""What multiplies: exactly, or with whole numbers."""


class PackedLSTM:
    """An `LSTM`. For a loop over single steps the two products of its gates are one; for sequences they are two, so
    that the input's is done beforehand."""

    state_names = LSTM.state_names

    def __init__(self, cell: LSTM, linear: Linear, *, steps: bool) -> None:
        if steps:
            self._both = linear(cell.input_weight, cell.recurrent_weight, bias=cell.input_bias)
        else:
            self.project = linear(cell.input_weight, bias=cell.input_bias)
            self._recurrent = linear(cell.recurrent_weight)

    def step(self, x: Float[Tensor, "rows input"], state: CellState) -> CellState:
        h, c = state
        return _lstm(self._both(torch.cat([x, h], 1)), c)

    def advance(self, gates: Float[Tensor, "rows gates"], state: CellState) -> CellState:
        """One step from projected input."""
        h, c = state
        return _lstm(self._recurrent(h, gates), c)


def _lstm(gates: Float[Tensor, "rows gates"], c: Float[Tensor, "rows hidden"]) -> CellState:
    """`lstm_gates` without a way back; the gates are overwritten."""
    c = c.contiguous()  # a first state may be a part of a wider row
    h, after = torch.empty_like(c), torch.empty_like(c)
    native.call("lstm_forward", *c.shape, gates, c, gates, h, after, None)
    return h, after


class PackedGRU:
    """A `GRU`. Its reset gate lies between the two products, so they stay two."""

    state_names = GRU.state_names

    def __init__(self, cell: GRU, linear: Linear, *, steps: bool) -> None:
        self.project = linear(cell.input_weight, bias=cell.input_bias)
        self._recurrent = linear(cell.recurrent_weight, bias=cell.recurrent_bias)

    def step(self, x: Float[Tensor, "rows input"], state: CellState) -> CellState:
        return self.advance(self.project(x), state)

    def advance(self, gates: Float[Tensor, "rows gates"], state: CellState) -> CellState:
        """One step from projected input."""
        (h,) = state
        h, from_h, after = h.contiguous(), self._recurrent(h), torch.empty_like(h)
        native.call("gru_forward", *h.shape, gates.contiguous(), from_h, h, after)
        return (after,)


PackedCell: TypeAlias = PackedLSTM | PackedGRU
PACKED: dict[type[Cell], type[PackedLSTM] | type[PackedGRU]] = {LSTM: PackedLSTM, GRU: PackedGRU}
"""The cells that have such a form. Exactly these: a subclass may compute something else."""


def pack_cell(cell: Cell, linear: Linear, *, steps: bool) -> PackedCell:
    """steps   it then has `step`; otherwise `project` and `advance`, for sequences"""
    return PACKED[type(cell)](cell, linear, steps=steps)  # type: ignore[arg-type]  # the dict pairs them


def packs(cell: Cell) -> bool:
    """Whether it has such a form."""
    return type(cell) in PACKED and cell.hidden % native.LANES == 0
