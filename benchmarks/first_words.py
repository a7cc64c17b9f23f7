"""What it is worth to repeat how a document begins: `python -m benchmarks.first_words`.

ROUGE-1, ROUGE-2 and ROUGE-L F1 of the first eight words of each e-mail as its subject line (AESLC), against the subject
and against those that three people wrote (the nearest counts), with intervals: what a summary has to be better than.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from benchmarks import results
from regard.data.read import read_split
from regard.recipe import load_recipe
from regard.score import METRICS, interval

RECIPE = "summarize-aeslc"
PEOPLE = ["ann0", "ann1", "ann2"]
SPLITS = ("valid", "test")


def scores(recipe: str, split: str, columns: list[str], words: int) -> dict[str, dict[str, Any]]:
    data = load_recipe(recipe, [f"data.target_column=[{','.join(columns)}]"]).data
    examples = list(read_split(getattr(data, split), data))
    outputs = [" ".join(example.source.split()[:words]) for example in examples]
    found = {}
    for name in ("rouge1", "rouge2", "rougel"):
        one = interval(METRICS[name](), METRICS[name]().statistics(outputs, [each.targets for each in examples]))
        print(f"{split}, {', '.join(columns)}: {one}")
        told = asdict(one)
        found[name] = {key: round(told[key], 2) for key in ("value", "low", "high")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_words", description=__doc__.partition("\n")[0])
    parser.add_argument("--words", type=int, default=8)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    against = {"subject": ["subject"], "people": PEOPLE}
    found = {
        split: {name: scores(RECIPE, split, columns, given.words) for name, columns in against.items()}
        for split in SPLITS
    }
    if not given.no_write:
        summary = f"AESLC test, first {given.words} words, ROUGE-1: " + ", ".join(
            f"{name} {each['rouge1']['value']:.1f}" for name, each in found["test"].items()
        )
        print(results.write("first-words", "baseline", {"summary": summary, "words": given.words, "found": found}))


if __name__ == "__main__":
    main()
