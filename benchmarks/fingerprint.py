"""`make fingerprint`: do the committed recipes still begin the way their recorded results began?

For every recipe with a result in results/ and its data present, `regard train` runs in a temporary folder until
the first 50 updates are in its log, is asked to stop (SIGTERM), and the 50 losses are compared with the recorded ones.
The recipe is the committed one, unchanged: a run told to make 50 updates would have another learning rate. Threads
and processes are those of the record, as sums round differently otherwise.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.many import FAMILIES, records_of
from benchmarks.process import records, start_training, tail, wait
from benchmarks.record import changes, first_losses
from regard.data.files import find
from regard.errors import RegardError
from regard.recipe import Recipe, load_recipe, shipped_recipes
from regard.train.log import EVERY_UPDATE, read_metrics

TOLERANCE = 1e-4
"""Absolute, in nats per token: 50 small steps on another machine of the same kind stay far below it."""


@dataclass(frozen=True)
class Verdict:
    """What one recipe's comparison came to."""

    recipe: str
    word: str
    detail: str

    @property
    def failed(self) -> bool:
        return self.word in ("differs", "recipe changed", "broken")


def compare(found: Sequence[float], recorded: Sequence[float], tolerance: float = TOLERANCE) -> tuple[str, str]:
    """`same` or `differs`, and a phrase that says how much and where."""
    if len(found) != len(recorded):
        return "differs", f"{len(found)} losses, the record has {len(recorded)}"
    gaps = [abs(a - b) for a, b in zip(found, recorded, strict=True)]
    wrong = [i for i, gap in enumerate(gaps) if not gap <= tolerance]  # a loss that is no number is wrong too
    if wrong:
        i = wrong[0]
        return "differs", f"at update {i + 1}: loss {found[i]:.6f}, recorded {recorded[i]:.6f}; {len(wrong)} in all"
    return "same", f"{len(gaps)} losses, largest difference {max(gaps, default=0.0):.1e}"


def check(name: str, record: dict[str, Any] | None, folder: Path) -> Verdict:
    """Train the beginning of a shipped recipe and compare."""
    if record is None:
        return Verdict(name, "no record", "")
    recipe = load_recipe(name)
    if changed := changes(Recipe.from_dict(record["recipe"]), recipe):
        return Verdict(name, "recipe changed", "; ".join(changed))
    if missing := missing_file(recipe):
        return Verdict(name, "no data", missing)
    machine = {"threads": record["threads"], "processes": record["processes"]}
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=machine)})
    try:
        found = beginning(recipe, folder / name)
    except RegardError as error:
        return Verdict(name, "broken", str(error))
    return Verdict(name, *compare(found, record["first_losses"]))


def missing_file(recipe: Recipe) -> str:
    """The sentence about the first of the recipe's files that is not here; empty if all are."""
    data = recipe.data
    try:
        for split in (data.train, data.valid):
            for name in split.files():
                find(name, data.root)
    except RegardError as error:
        return str(error)
    return ""


def beginning(recipe: Recipe, run: Path) -> list[float]:
    """The losses of a recipe's first updates."""
    output = run.with_name(run.name + ".txt")
    process = start_training(recipe, run, output=output)
    try:
        wait(process, lambda: any(r["update"] >= EVERY_UPDATE for r in records(run, "train")), poll_seconds=0.2)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=600)  # it finishes its update, and a validation if it is in one
    finally:
        process.kill()
        process.wait()
    losses = first_losses(read_metrics(run / "metrics.jsonl"))
    if len(losses) < EVERY_UPDATE and process.returncode not in (0, 128 + signal.SIGTERM):
        raise RegardError(f"exit status {process.returncode} after {len(losses)} updates: {tail(output, 2)}")
    return losses


def newest_records(folder: Path = results.FOLDER) -> dict[str, dict[str, Any]]:
    """The newest training result of each recipe; the first seed's where a result is of many runs."""
    known = {}
    for _, record in results.read_all(folder):
        found = [record] if record["kind"] == "training" else records_of(record) if record["kind"] in FAMILIES else []
        known.update({one["recipe_name"]: one for one in found})
    return known


def verdicts(names: Sequence[str], folder: Path = results.FOLDER) -> Iterator[Verdict]:
    """One recipe after the other."""
    known = newest_records(folder)
    with tempfile.TemporaryDirectory(prefix="regard-fingerprint-") as temporary:
        for name in names:
            yield check(name, known.get(name), Path(temporary))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fingerprint", description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", action="append", help="only this one; may be given again")
    names = parser.parse_args().recipe or [path.stem for path in shipped_recipes()]
    table = Table("recipe", "verdict", "", title=f"First {EVERY_UPDATE} losses against the record, ± {TOLERANCE}")
    failed = False
    for verdict in verdicts(names):
        table.add_row(verdict.recipe, verdict.word, verdict.detail)
        failed |= verdict.failed
    Console().print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
