"""What a second core gives: `python -m benchmarks.processes [RECIPE]`.

The recipe's own training, by `regard train`, on one process, on two processes and on two threads, one after the other
and all of it several times over, so that a machine that slows down slows all of them. Tokens per second are those of
the run's log, without its first lines; each process has the recipe's batch, and so twice as many tokens an update.

Two trainings side by side, which know nothing of each other, are what the machine has to give: cores share their
clock, cache and memory. Two processes of one training cannot be faster.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import records, start_training, tail, wait
from regard.errors import RegardError
from regard.recipe import load_recipe
from regard.train.log import EVERY_UPDATE

ALONE = ["train.processes=1", "train.threads=1"]
WAYS = {
    "one process": (1, ALONE),
    "two processes": (1, ["train.processes=2", "train.threads=1"]),
    "one process, two threads": (1, ["train.processes=1", "train.threads=2"]),
    "two trainings side by side": (2, ALONE),
}
"""how many trainings at once, and what they change in the recipe"""


def measure(recipe: str, way: str, updates: int, folder: Path) -> list[int]:
    """Target tokens per second of each line of the log past the first ones; of trainings at once, the sums."""
    trainings, overrides = WAYS[way]
    changes = [f"train.updates={EVERY_UPDATE + updates}", "train.validate_sentences=8", "train.log_every=10"]
    resolved = load_recipe(recipe, [*changes, *overrides])
    runs = [folder / str(number) / "run" for number in range(trainings)]
    outputs = [folder / f"output-{number}.txt" for number in range(trainings)]
    processes = [start_training(resolved, run, output=output) for run, output in zip(runs, outputs, strict=True)]
    for process, output in zip(processes, outputs, strict=True):
        if wait(process, lambda: False) or process.returncode:
            raise RegardError(f"training ended with status {process.returncode}:\n{tail(output)}")
    logs = [[each for each in records(run, "train") if each["update"] > EVERY_UPDATE] for run in runs]
    return [sum(each["tokens_per_second"] for each in lines) for lines in zip(*logs, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", nargs="?", default="translate-multi30k-en-de")
    parser.add_argument("--updates", type=int, default=40, help="counted in each run (default 40)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    found: dict[str, list[list[int]]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way, speeds in found.items():
            with tempfile.TemporaryDirectory() as folder:
                speeds.append(measure(given.recipe, way, given.updates, Path(folder)))
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
        shares = {way: f"{median / medians['one process']:.2f}" for way, median in medians.items()}
        summary = f"two processes {shares['two processes']} × one, two trainings side by side "
        summary += shares["two trainings side by side"]
        values = {"summary": summary, "recipe_name": given.recipe, "updates": given.updates}
        print(results.write("processes", "speed", {**values, "tokens_per_second": found, "ratios": ratios}))


if __name__ == "__main__":
    main()
