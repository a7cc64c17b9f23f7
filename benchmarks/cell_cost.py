"""What each recurrent cell costs beside the LSTM: `python -m benchmarks.cell_cost`.

One layer, one direction, each cell with its default settings: sequences of unlike lengths forwards and backwards, as
encoders in training take them, and one step for each of a beam, as decoders take them without kernels that pack (LSTM
and GRU have such). All cells in turn, several times over; the ratio is of each round to the LSTM of the same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import cost
from benchmarks.cost import Found, Measured
from regard.cells import CELLS
from regard.cells.cell import Cell
from regard.ops.noise import Noise

FIRST = "lstm"
SIZES = {"hidden": 256, "batch": 64, "steps": 30, "beam": 5, "rounds": 9}
"""Sentences in a batch, steps of the longest; the shortest has half of them."""
STEPS = 20
"""Of decoding, one after the other."""


def train(cell: Cell, x: Tensor, lengths: Tensor) -> float:
    """Seconds of a batch, forwards and backwards."""
    began = time.perf_counter()
    outputs, last = cell.encode(x, lengths, Noise(1, 1))
    (outputs.sum() + last.sum()).backward()
    return time.perf_counter() - began


@torch.inference_mode()
def decode(cell: Cell, x: Tensor) -> float:
    """Seconds of a step of all rows."""
    began = time.perf_counter()
    state = cell.start(x[:, 0], len(x))
    for t in range(STEPS):
        state = cell.step(x[:, t], state)
    return (time.perf_counter() - began) / STEPS


def rounds(given: argparse.Namespace) -> Iterator[Measured]:
    """Every cell's seconds, training and decoding; the first round warms up."""
    torch.manual_seed(1)
    size = given.hidden
    cells = {name: kind(kind.Config(), input_size=size, hidden=size) for name, kind in CELLS.items()}
    lengths = torch.randint(given.steps // 2, given.steps + 1, (given.batch,)).sort(descending=True).values
    x = torch.randn(given.batch, int(lengths[0]), size, requires_grad=True)
    beam = torch.randn(given.batch * given.beam, STEPS, size)
    for _ in range(given.rounds + 1):
        yield {name: (train(cell, x, lengths), decode(cell, beam)) for name, cell in cells.items()}


def summary(found: Found) -> str:
    fastest = min(found, key=lambda name: found[name]["training_ratio"])
    return (
        f"lstm {found[FIRST]['training_ms']:.0f} ms a batch in training; "
        f"{fastest} {found[fastest]['training_ratio']:.2f} times that"
    )


if __name__ == "__main__":
    cost.main("cell", __doc__ or "", SIZES, rounds, FIRST, summary)
