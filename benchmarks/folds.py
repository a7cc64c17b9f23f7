"""Ten-fold cross-validation: `python -m benchmarks.folds --keep runs/folds classify-rt-polarity`.

Fold k is tested on the hundredths 10 k to 10 k + 10 of the sources' hashes, chooses its weights on the next ten, and
learns from the other eighty. The recipe's data is taken whole, whatever parts of it the recipe names: each of its
splits has to name the same files. Accuracy of each fold and their mean on validation; with --test on the folds that
are held out, which is for the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.many import of_recipe, train
from regard.errors import RegardError
from regard.recipe import Recipe, load_recipe

FOLDS = 10
EACH = 100 // FOLDS


def fold(recipe: str, number: int, changes: list[str]) -> Recipe:
    """The recipe of fold 0 … 9."""
    low = number * EACH
    valid = (low + EACH) % 100
    learned = (low + 2 * EACH) % 100, low or 100
    parts = {"test": (low, low + EACH), "valid": (valid, valid + EACH), "train": learned}
    percents = [f"data.{split}.percent=[{a}, {b}]" for split, (a, b) in parts.items()]
    found = load_recipe(recipe, [*changes, *percents, "train.threads=1"])
    files = [split and split.files() for split in (found.data.train, found.data.valid, found.data.test)]
    if files[0] != files[1] or files[0] != files[2]:
        raise RegardError(f"{recipe}: its splits name different files, so there is nothing to fold.")
    return found


def summary(found: Mapping[str, dict[str, Any]], split: str, metric: str) -> dict[str, float]:
    """Mean and standard deviation over folds."""
    values = [one["single"][split] for one in found.values()]
    return {metric: round(statistics.mean(values), 2), "deviation": round(statistics.stdev(values), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="where the runs go")
    parser.add_argument("--metric", default="accuracy")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--test", action="store_true", help="score what is held out too: once, for a recipe that is done"
    )
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipes = {f"fold {k}": fold(given.recipe, k, given.set) for k in range(FOLDS)}
    runs = {name: given.keep / f"{given.recipe}-{name.replace(' ', '-')}" for name in recipes}
    given.keep.mkdir(parents=True, exist_ok=True)
    train({runs[name]: recipe for name, recipe in recipes.items()}, given.at_once)
    splits = ["valid", "test"] if given.test else ["valid"]
    found = {name: of_recipe([runs[name]], splits, recipe, given.metric) for name, recipe in recipes.items()}
    table = Table("", *splits, "minutes")
    for name, one in found.items():
        scores = [f"{one['single'][split]:.1f}" for split in splits]
        table.add_row(name, *scores, f"{one['runs'][0]['minutes']:.1f}")
    Console().print(table)
    means = {split: summary(found, split, given.metric) for split in splits}
    print(f"means over {FOLDS} folds: {means}")
    if not given.no_write:
        told = f"{given.recipe}, {FOLDS} folds: {means[splits[-1]]}"
        content = {"summary": told, "set": given.set, "means": means, "found": found}
        print(results.write(f"folds-{given.recipe}", "folds", content))


if __name__ == "__main__":
    main()
