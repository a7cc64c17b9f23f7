"""Minutes from raw text to a translator: `python -m benchmarks.time_to_quality [RECIPE …]`.

`regard train RECIPE` as a user starts it, with nothing prepared beforehand; the clock runs from the command to each
validation (greedy, all sentences), vocabulary, data and validations included, and on to the end, where the best weights
are scored with the recipe's beam. Give it the machine alone: a recipe of two processes wants two cores.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import records, start_training, tail, wait
from benchmarks.record import first_losses
from regard.errors import RegardError
from regard.recipe import load_recipe
from regard.train.log import read_metrics

THRESHOLDS = (30.0, 33.0, 36.0, 38.0, 40.0)
RECIPES = ("translate-multi30k-en-de-fast", "translate-multi30k-de-en-fast")


def measure(name: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Train once, and say when which score was there."""
    run, output = folder / "run", folder / "output.txt"
    recipe = load_recipe(name, [f"data.cache={folder / 'cache'}", *overrides])
    began, began_at = time.monotonic(), time.time()
    process = start_training(recipe, run, output=output)
    if wait(process, lambda: False, poll_seconds=0.5) or process.returncode:
        raise RegardError(f"{name}: training ended with status {process.returncode}:\n{tail(output)}")
    minutes = (time.monotonic() - began) / 60
    log = read_metrics(run / "metrics.jsonl")
    (start,), (final,) = ([each for each in log if each["type"] == kind] for kind in ("start", "final"))
    before = minutes - final["seconds"] / 60  # what the run's own clock does not count: starting Python, and ending
    curve = [[round(before + each["seconds"] / 60, 2), round(each["bleu"], 2)] for each in records(run, "valid")]
    beam = [round(minutes, 2), round(final["bleu"], 2)]
    return {
        **{"recipe_name": name, "recipe_hash": recipe.hash(), "recipe": recipe.to_dict(), "overrides": overrides},
        **{key: start[key] for key in ("seed", "threads", "processes", "parameters")},
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began_at)),
        "minutes": beam[0],
        "validation_greedy": curve,
        "validation_beam_at_the_end": beam,
        "minutes_until": {str(score): passed([*curve, beam], score) for score in THRESHOLDS},
        "first_losses": first_losses(log),
    }


def passed(curve: list[list[float]], score: float) -> float | None:
    """The first minute at which a validation had the score."""
    return next((minute for minute, found in curve if found >= score), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"default: {', '.join(RECIPES)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipes")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy the runs there, to evaluate and record them")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    found = []
    for name in given.recipes or RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(name, given.set, Path(folder)))
            if given.keep:
                shutil.copytree(Path(folder) / "run", given.keep / name)
        table = Table("BLEU on validation", *map(str, THRESHOLDS), "the end", title=name, title_justify="left")
        at = ["–" if minute is None else f"{minute:.1f}" for minute in found[-1]["minutes_until"].values()]
        minutes, score = found[-1]["validation_beam_at_the_end"]
        table.add_row("minutes", *at, f"{score:.2f} at {minutes:.1f}")
        Console().print(table)
    if not given.no_write:
        summary = "; ".join(f"{one['recipe_name']}: 36 in {one['minutes_until']['36.0']} min" for one in found)
        print(results.write("time-to-quality", "training-time", {"summary": summary, "trainings": found}))


if __name__ == "__main__":
    main()
