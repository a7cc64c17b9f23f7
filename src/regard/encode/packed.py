"""The recurrent encoder for decoding: ragged batches without padding, every sentence the same bits in any batch."""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attend.memory import Memory, valid_steps
from regard.cells.cell import Cell
from regard.cells.lstm import LSTM
from regard.encode.birnn import BiRNN
from regard.ops import native
from regard.ops.gates import lstm_gates
from regard.ops.int8 import Int8Linear
from regard.ops.packed import PackedLinear


class PackedBiRNN:
    """A `BiRNN` of LSTMs whose weights are copied into packed products.

    The same numbers as `BiRNN` gives, to rounding. Rows are put in order of length, so that at every step the sentences
    that are still running are the first ones, and neither padding nor masks are computed.

    linear   Int8Linear: an approximation
    """

    def __init__(self, encoder: BiRNN, linear: type[PackedLinear | Int8Linear] = PackedLinear) -> None:
        assert self.takes(encoder), "ask `takes` first"
        self.residual, self.hidden = encoder.config.residual, encoder.config.hidden
        self.layers = [
            [_PackedLSTM(cast(LSTM, cell), linear) for cell in directions] for directions in _layers(encoder)
        ]

    @staticmethod
    def takes(encoder: object) -> bool:
        """Whether there are kernels for this encoder where it is."""
        return (
            type(encoder) is BiRNN  # a subclass may compute something else
            and all(type(cell) is LSTM for directions in _layers(encoder) for cell in directions)
            and encoder.config.hidden % native.LANES == 0
            and native.usable(*encoder.parameters(), multiple=1)
        )

    def __call__(self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"]) -> Memory:
        """`lengths` on the CPU, each at least 1."""
        order = lengths.argsort(descending=True, stable=True)
        back = order.argsort()
        steps = int(lengths.max())
        running = [int((lengths > t).sum()) for t in range(steps)]
        ordered, long = x.index_select(0, order), lengths[order]
        position = torch.arange(steps)
        turn = (long[:, None] - 1 - position).clamp_min(0)  # backwards: step t reads the sentence's last but t
        finals = []
        for depth, directions in enumerate(self.layers):
            found = []
            for cell, reverse in zip(directions, (False, True), strict=False):
                found.append(cell.run(ordered, running, turn if reverse else None))
            outputs = torch.cat([each for each, _ in found], -1)
            ordered = ordered + outputs if self.residual and depth > 0 else outputs
            finals.append(torch.cat([final for _, final in found], -1))
        return Memory(
            values=ordered.index_select(0, back),
            src_valid=valid_steps(lengths, steps),
            lengths=lengths,
            summary=torch.stack(finals, 1).index_select(0, back),
        )


def _layers(encoder: BiRNN) -> list[list[Cell]]:
    return [list(cast("Iterable[Cell]", directions)) for directions in encoder.layers]


class _PackedLSTM:
    """One direction of one layer."""

    def __init__(self, cell: LSTM, linear: type[PackedLinear | Int8Linear]) -> None:
        self.hidden = cell.hidden
        self.inputs = linear(cell.input_weight, bias=cell.input_bias)
        self.recurrent = linear(cell.recurrent_weight)

    def run(
        self, x: Float[Tensor, "batch steps input"], running: list[int], turn: Int[Tensor, "batch steps"] | None
    ) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
        """Outputs (zero past a row's end) and the final outputs. Rows by length, longest first; `running[t]` of them
        have a step t, which reads x at `turn`, where that is given, and writes there."""
        rows, steps = x.shape[:2]
        every = torch.arange(rows)
        h = x.new_zeros(rows, self.hidden)
        c, outputs = torch.zeros_like(h), x.new_zeros(rows, steps, self.hidden)
        gates_x = self.inputs(x.flatten(0, 1)).unflatten(0, (rows, steps))
        for t, some in enumerate(running):
            place = (every[:some], turn[:some, t]) if turn is not None else (slice(some), t)
            gates = self.recurrent(h[:some], gates_x[place])
            h[:some], c[:some] = lstm_gates(gates, c[:some])
            outputs[place] = h[:some]
        return outputs, h
