"""What another run is worth where there is little data: `python -m benchmarks.transfer --keep runs/transfer captions`.

A first run, then several seeds of a small one, each from random weights and from the first run's parts:

    captions   a language model of English captions → German to English, learned from 2,000 pairs
    replies    replies in conversations → subject lines, learned from 2,000 e-mails

Both small runs make the same updates. Scores with intervals on validation; with --test on test, which is for the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.many import of_recipe, train
from regard.recipe import Recipe, load_recipe

WAYS = ("from nothing", "from the first run")


@dataclass(frozen=True)
class Case:
    """Shipped recipes and their changes."""

    first: tuple[str, Sequence[str]]
    small: tuple[str, Sequence[str]]
    parts: Sequence[str]
    """`train.init_parts`"""
    metric: str


WORDS = "{tokenizer: word, segment: punctuation, lowercase: true, vocab: 10000, min_frequency: 3"

CASES = {
    "captions": Case(
        first=("write-multi30k-en", ()),
        small=(
            "translate-multi30k-de-en",
            (
                "data.train.percent=[0, 7]",
                "model.decoder.input_feeding=false",
                "train.epochs=20",
                "train.batch_tokens=800",
            ),
        ),
        parts=("decoder.*",),
        metric="bleu",
    ),
    "replies": Case(
        first=(
            "reply-self-dialogue",
            (
                *(f"data.{side}={WORDS}{more}}}" for side, more in (("source", ", turns: 4"), ("target", ""))),
                *("model.encoder={type: birnn, hidden: 192}", "model.embed=192", "model.attention.dim=192"),
                *("model.decoder.hidden=192", "train.updates=1500"),
            ),
        ),
        small=("summarize-aeslc", ("data.train.percent=[0, 14]", "train.epochs=20", "train.batch_tokens=2000")),
        parts=("source_embedding.*", "encoder.*", "decoder.*"),
        metric="rouge1",
    ),
}


def recipes(case: Case, keep: Path, seeds: range) -> tuple[dict[Path, Recipe], dict[str, dict[Path, Recipe]]]:
    """The first run, and for each way the small ones; folder → recipe."""
    first = keep / "first"
    begin = (f"train.init_from={first}", f"train.init_parts=[{', '.join(case.parts)}]")
    name, changes = case.small
    ways = {
        way: {
            keep / f"{way.replace(' ', '-')}-{seed}": load_recipe(
                name, [*changes, *more, f"seed={seed}", "train.threads=1"]
            )
            for seed in seeds
        }
        for way, more in zip(WAYS, ((), begin), strict=True)
    }
    return {first: load_recipe(case.first[0], [*case.first[1], "train.threads=1"])}, ways


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transfer", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--test", action="store_true", help="score on test too: once, for recipes that are done")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    case, keep = CASES[given.case], given.keep / given.case
    first, ways = recipes(case, keep, range(1, given.seeds + 1))
    keep.mkdir(parents=True, exist_ok=True)
    train(first, given.at_once)
    train({run: recipe for runs in ways.values() for run, recipe in runs.items()}, given.at_once)
    splits = ["valid", "test"] if given.test else ["valid"]
    found = {
        way: of_recipe(list(runs), splits, next(iter(runs.values())), metric=case.metric) for way, runs in ways.items()
    }
    report(given, case.metric, found, splits)


def report(given: argparse.Namespace, metric: str, found: dict[str, dict[str, Any]], splits: list[str]) -> None:
    table = Table("", *(f"{split}: {metric}" for split in splits), "of each seed", "minutes each")
    for way, one in found.items():
        each = ", ".join(f"{run[splits[-1]][metric]:.1f}" for run in one["runs"])
        minutes = statistics.mean(run["minutes"] for run in one["runs"])
        table.add_row(way, *(f"{one['single'][split]:.1f}" for split in splits), each, f"{minutes:.1f}")
    Console().print(table)
    if not given.no_write:
        means = {way: one["single"][splits[-1]] for way, one in found.items()}
        summary = f"{given.case}, {splits[-1]} {metric}: {means}"
        print(results.write(f"transfer-{given.case}", "transfer", {"summary": summary, "found": found}))


if __name__ == "__main__":
    main()
