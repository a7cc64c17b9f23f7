"""`regard tune` from a bad start, killed on the way, beside settings that people chose: `python -m benchmarks.tuned`.

The start is the recipe with hardly any units, much dropout and a tiny learning rate. It is searched for so many minutes
in all, a trial on each core; after a third of them the search is killed (SIGKILL), and the same command goes on. Then
what was found and the committed recipe are trained for equal minutes, side by side, one core each, with learning rates
that have come to their end by then: as many updates as each makes in that time, by a minute's trial.

    python -m benchmarks.tuned --keep runs/tuned
    python -m benchmarks.tuned --keep runs/tuned --no-search      # the study that is there already
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import records, start_python, start_training, tail, wait
from regard.errors import RegardError
from regard.recipe import Recipe, difference, load_recipe

RECIPE = "transduce-cmudict"
BAD = (
    *("model.embed=16", "model.encoder.hidden=32", "model.encoder.layers=1", "model.attention.dim=32"),
    *("model.decoder.hidden=32", "model.dropout=0.6", "model.output_dropout=0.6"),
    *("train.learning_rate=1e-4", "train.ema=0"),
)
SPACE = (
    *("model.embed=16..192", "model.encoder.hidden=32..320", "model.encoder.layers=1..2"),
    *("model.decoder.hidden=32..320", "model.dropout=0..0.6", "model.output_dropout=0..0.6"),
    *("train.learning_rate=1e-4..2e-2", "train.ema=0,0.99,0.998", "train.batch_tokens=400..3200"),
)
TRIAL = ("train.minutes=3", "train.validate_every=100", "train.validate_sentences=500", "search.method=greedy")
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def search(folder: Path, minutes: float) -> dict[str, Any]:
    """Search from the bad recipe, with a kill after a third of the minutes. Returns when, and what was printed."""
    bad, output = folder / "bad.yaml", folder / "tune.txt"
    bad.write_text(load_recipe(RECIPE, BAD).to_yaml(), encoding="utf-8")
    told = ["--study", str(folder / "study"), "--trials", "1000"]  # time is what ends it
    command = ["-m", "regard", "tune", str(bad), *SPACE, *TRIAL, *told]
    began = time.monotonic()
    first = start_python([*command, "--minutes", f"{minutes:g}"], output=output, environment=ENVIRONMENT)
    if not wait(first, lambda: time.monotonic() - began >= 20 * minutes, poll_seconds=0.5):
        raise RegardError(f"the search ended before it was killed:\n{tail(output)}")
    first.kill()
    first.wait()
    killed = (time.monotonic() - began) / 60
    again = start_python([*command, "--minutes", f"{minutes - killed:g}"], output=output, environment=ENVIRONMENT)
    if again.wait():
        raise RegardError(f"the search did not go on:\n{tail(output)}")
    return {"killed_after_minutes": round(killed, 2), "minutes": round((time.monotonic() - began) / 60, 2)}


def side_by_side(recipes: dict[str, Recipe], folder: Path) -> dict[str, Path]:
    """Train all at once; the runs."""
    runs = {name: folder / name for name in recipes}
    under_way = {
        name: start_training(recipe, runs[name], output=folder / f"{name}.txt", environment=ENVIRONMENT)
        for name, recipe in recipes.items()
    }
    for name, process in under_way.items():
        if process.wait():
            raise RegardError(f"{name}: training ended badly:\n{tail(folder / f'{name}.txt')}")
    return runs


def updates_a_minute(run: Path) -> float:
    """Of what the run trained, validations left out."""
    log = records(run, "train")
    return 60 * (log[-1]["update"] - log[0]["update"]) / (log[-1]["seconds"] - log[0]["seconds"])


def compare(found: Recipe, minutes: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Both recipes, trained for so long: what the settings found and the committed ones come to on validation."""
    own = load_recipe(RECIPE)
    recipes = {
        "committed": own,
        "found": found.model_copy(update={"search": own.search}),
    }
    short = {"epochs": None, "updates": 10**6, "minutes": 1.0, "validate_every": 0, "threads": 1}
    trials = {f"{name}-minute": changed(recipe, **short) for name, recipe in recipes.items()}
    rates = {name: updates_a_minute(run) for name, run in side_by_side(trials, folder).items()}
    whole = {
        name: changed(recipe, **{**short, "updates": round(minutes * rates[f"{name}-minute"]), "minutes": None})
        for name, recipe in recipes.items()
    }
    told = {}
    for name, run in side_by_side(whole, folder).items():
        (final,), (start,) = records(run, "final"), records(run, "start")
        told[name] = {
            **{key: round(final[key], 3) for key in ("wer", "per", "perplexity")},
            **{"updates": final["update"], "minutes": round(records(run, "train")[-1]["seconds"] / 60, 2)},
            **{"parameters": start["parameters"], "recipe": whole[name].to_dict()},
        }
    return told


def changed(recipe: Recipe, **train: Any) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuned", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of searching, in all")
    parser.add_argument("--train", type=float, default=12.0, metavar="MINUTES", help="of the trainings compared")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where study and runs go")
    parser.add_argument("--no-search", action="store_true", help="compare what the study in --keep has found")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    if given.no_search and given.keep is None:
        parser.error("--no-search: name the folder of the study with --keep")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        searched = {} if given.no_search else search(folder, given.minutes)
        printed = (folder / "tune.txt").read_text(encoding="utf-8").splitlines()
        trials = [line for line in printed if line.startswith("trial ")]
        found = load_recipe(folder / "study" / "best.yaml")
        told = compare(found, given.train, folder)
    report(
        given, {**searched, "trials": trials, "trained": told}, difference(load_recipe(RECIPE, [*BAD, *TRIAL]), found)
    )


def report(given: argparse.Namespace, content: dict[str, Any], changes: Any) -> None:
    told = content["trained"]
    table = Table(
        "", "WER", "PER", "updates", "minutes", "parameters", title=f"trained for {given.train:g} minutes each"
    )
    for name, one in told.items():
        numbers = [f"{one['wer']:.2f}", f"{one['per']:.2f}", f"{one['updates']:,}", f"{one['minutes']:.1f}"]
        table.add_row(name, *numbers, f"{one['parameters']:,}")
    Console().print(table)
    wers = ", ".join(f"{name} {one['wer']:.2f}" for name, one in told.items())
    summary = f"validation WER after {given.train:g} minutes of training each: {wers}"
    print(summary)
    if not given.no_write:
        settings = {"recipe_name": RECIPE, "bad": BAD, "space": SPACE, "trial": TRIAL, "found": changes}
        print(results.write("tuned", "tuning", {"summary": summary, **settings, **content}))


if __name__ == "__main__":
    main()
