"""What each recurrent cell costs beside the LSTM: `python -m benchmarks.cell_cost`.

One layer, one direction: sequences of unlike lengths forwards and backwards, as encoders in training take them, and one
step for each of a beam, as decoders take them without kernels that pack (LSTM and GRU have such). All cells in turn,
several times over; the ratio is of each round to the LSTM of the same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from rich.console import Console
from torch import Tensor

from benchmarks import results
from benchmarks.attention_cost import Measured, compared, table
from regard.cells import CELLS
from regard.cells.cell import Cell

FIRST = "lstm"
STEPS = 20
"""Of decoding, one after the other."""


def train(cell: Cell, x: Tensor, lengths: Tensor) -> float:
    """Seconds of a batch, forwards and backwards."""
    began = time.perf_counter()
    outputs, last = cell.encode(x, lengths)
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


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cell_cost", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64, help="sentences")
    parser.add_argument("--steps", type=int, default=30, help="of the longest; the shortest has half of them")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = compared(list(rounds(given))[1:], FIRST)
    Console().print(table("cell", FIRST, found))
    if not given.no_write:
        sizes = {key: getattr(given, key) for key in ("hidden", "batch", "steps", "beam", "rounds")}
        fastest = min(found, key=lambda name: found[name]["training_ratio"])
        summary = f"lstm {found[FIRST]['training_ms']:.0f} ms a batch in training; {fastest} "
        summary += f"{found[fastest]['training_ratio']:.2f} times that"
        print(results.write("cell-cost", "speed", {"summary": summary, **sizes, "threads": 1, "cost": found}))


if __name__ == "__main__":
    main()
