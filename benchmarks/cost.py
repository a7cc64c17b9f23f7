"""What several things cost beside the first of them, measured in turn over rounds and compared within each."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results

Measured = dict[str, tuple[float, float]]
"""Of one round: seconds of each, in training and in decoding."""
Found = dict[str, dict[str, float]]
"""Of each: training_ms, training_ratio, decoding_ms, decoding_ratio."""


def compared(measured: Sequence[Measured], first: str) -> Found:
    """Of each the medians over rounds: milliseconds, and times the first one's of the same round."""
    found = {}
    for name in measured[0]:
        cells: dict[str, float] = {}
        for kind, how in enumerate(("training", "decoding")):
            cells[f"{how}_ms"] = 1000 * statistics.median(each[name][kind] for each in measured)
            cells[f"{how}_ratio"] = statistics.median(each[name][kind] / each[first][kind] for each in measured)
        found[name] = {key: round(cell, 3) for key, cell in cells.items()}
    return found


def main(
    what: str,
    described: str,
    defaults: Mapping[str, int],
    rounds: Callable[[argparse.Namespace], Iterator[Measured]],
    first: str,
    summary: Callable[[Found], str],
) -> None:
    """Measure on one core, print the table, write the result.

    what       of which kind the things are: `attention`, `cell`
    defaults   sizes that may be given, `rounds` among them
    rounds     measures them all, again and again: once to warm up, and `rounds` times
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{what}_cost", description=described.partition("\n")[0])
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = compared(list(rounds(given))[1:], first)
    table = Table(what, "training, ms", f"× {first}", "decoding, ms", f"× {first}")
    for name, cells in found.items():
        table.add_row(name, *(f"{cell:.2f}" for cell in cells.values()))
    Console().print(table)
    if not given.no_write:
        sizes = {name: getattr(given, name) for name in defaults}
        print(results.write(f"{what}-cost", "speed", {"summary": summary(found), **sizes, "threads": 1, "cost": found}))
