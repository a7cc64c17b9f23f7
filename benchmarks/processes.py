"""What a second core gives: `python -m benchmarks.processes [RECIPE]`.

The recipe's own training, by `regard train`, on one process, on two processes and on two threads, one after the other
and all of it several times over, so that a machine that slows down slows all of them. Tokens per second are those of
the run's log, without its first lines; each process has the recipe's batch, and so twice as many tokens an update.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import records, start_training, tail, wait
from regard.errors import RegardError
from regard.recipe import load_recipe
from regard.train.log import EVERY_UPDATE

WAYS = {
    "one process": ["train.processes=1", "train.threads=1"],
    "two processes": ["train.processes=2", "train.threads=1"],
    "one process, two threads": ["train.processes=1", "train.threads=2"],
}


def measure(recipe: str, overrides: Sequence[str], updates: int, folder: Path) -> list[int]:
    """Target tokens per second of each line of the log past the first ones."""
    run, output = folder / "run", folder / "output.txt"
    changes = [f"train.updates={EVERY_UPDATE + updates}", "train.validate_sentences=8", "train.log_every=10"]
    resolved = load_recipe(recipe, [*changes, *overrides])
    process = start_training(resolved, run, output=output)
    if wait(process, lambda: False) or process.returncode:
        raise RegardError(f"training ended with status {process.returncode}:\n{tail(output)}")
    return [each["tokens_per_second"] for each in records(run, "train") if each["update"] > EVERY_UPDATE]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", nargs="?", default="translate-multi30k-en-de")
    parser.add_argument("--updates", type=int, default=40, help="counted in each run (default 40)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    found: dict[str, list[list[int]]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way, overrides in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                found[way].append(measure(given.recipe, overrides, given.updates, Path(folder)))
    medians = {way: statistics.median(speed for run in runs for speed in run) for way, runs in found.items()}
    ratios = {
        way: [
            round(statistics.median(run) / statistics.median(alone), 2)
            for run, alone in zip(runs, found["one process"], strict=True)
        ]
        for way, runs in found.items()
    }
    table = Table("", "target tokens/s", "times one process", "round by round")
    for way, median in medians.items():
        rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios[way])
        table.add_row(way, f"{median:,.0f}", f"{median / medians['one process']:.2f}", rounds)
    Console().print(table)
    if not given.no_write:
        summary = f"two processes {medians['two processes'] / medians['one process']:.2f} × one"
        values = {"summary": summary, "recipe_name": given.recipe, "updates": given.updates}
        print(results.write("processes", "speed", {**values, "tokens_per_second": found, "ratios": ratios}))


if __name__ == "__main__":
    main()
