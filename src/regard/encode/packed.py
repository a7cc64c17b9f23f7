"""The recurrent encoder for decoding: ragged batches without padding, every sentence the same bits in any batch."""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attend.memory import Memory, valid_steps
from regard.cells.cell import Cell
from regard.cells.packed import Linear, PackedCell, pack_cell, packs
from regard.encode.birnn import BiRNN
from regard.ops import native
from regard.ops.packed import PackedLinear


class PackedBiRNN:
    """A `BiRNN` of LSTMs or GRUs whose weights are copied into packed products.

    The same numbers as `BiRNN` gives, to rounding. Rows are put in order of length, so that at every step the sentences
    that are still running are the first ones, and neither padding nor masks are computed.

    linear   Int8Linear: an approximation
    """

    def __init__(self, encoder: BiRNN, linear: Linear = PackedLinear) -> None:
        assert self.takes(encoder), "ask `takes` first"
        self.residual, self.hidden = encoder.config.residual, encoder.config.hidden
        self.layers = [
            [pack_cell(cell, linear, steps=False) for cell in directions] for directions in _layers(encoder)
        ]

    @staticmethod
    def takes(encoder: object) -> bool:
        """Whether there are kernels for this encoder where it is."""
        return (
            type(encoder) is BiRNN  # a subclass may compute something else
            and all(packs(cell) for directions in _layers(encoder) for cell in directions)
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
                found.append(_run(cell, self.hidden, ordered, running, turn if reverse else None))
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


def _run(
    cell: PackedCell,
    hidden: int,
    x: Float[Tensor, "batch steps input"],
    running: list[int],
    turn: Int[Tensor, "batch steps"] | None,
) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
    """One direction of one layer: outputs (zero past a row's end) and the final outputs. Rows by length, longest first;
    `running[t]` of them have a step t, which reads x at `turn`, where that is given, and writes there."""
    rows, steps = x.shape[:2]
    every = torch.arange(rows)
    state = [x.new_zeros(rows, hidden) for _ in cell.state_names]
    outputs = x.new_zeros(rows, steps, hidden)
    gates_x = cell.project(x.flatten(0, 1)).unflatten(0, (rows, steps))
    for t, some in enumerate(running):
        place = (every[:some], turn[:some, t]) if turn is not None else (slice(some), t)
        after = cell.advance(gates_x[place], tuple(part[:some] for part in state))
        for part, new in zip(state, after, strict=True):
            part[:some] = new
        outputs[place] = after[0]
    return outputs, state[0]
