"""What int8 and shortlists cost and give: `python -m benchmarks.approximate RUN [RUN …]`.

Trained runs decode their validation data, or another split, exactly, with a shortlist, with int8 weights, and with
both, on one thread, in turn. Scores say what is lost; seconds what is gained. The shortlist is learned here, on a copy
of the run.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from regard.predict import load
from regard.predict.evaluate import evaluate, split_examples
from regard.predict.shortlist import BEST, COMMON, make_shortlist

FORMS = {
    "exact": {},
    "shortlist": {"shortlist": True},
    "int8": {"int8": True},
    "int8, shortlist": {"int8": True, "shortlist": True},
}


def measure(run: Path, splits: list[str], rounds: int) -> dict[str, Any]:
    """For each split and form the score, and the seconds of each round."""
    forms = {name: load(run, threads=1, **options) for name, options in FORMS.items()}
    metric = forms["exact"].task.default_metric
    found: dict[str, Any] = {"run": run.name, "metric": metric}
    for split in splits:
        data, told = split_examples(forms["exact"], split), {}
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(rounds):
            for name, predictor in forms.items():
                result = evaluate(predictor, data)
                seconds[name].append(round(result.seconds, 3))
                told[name] = result.scores[metric]
        found[split] = {
            name: {
                "score": round(told[name].value, 2),
                "lost": round(told["exact"].value - told[name].value, 2),
                "interval": [round(told[name].low, 2), round(told[name].high, 2)],
                "seconds": seconds[name],
                "times as fast": round(
                    statistics.median(a / b for a, b in zip(seconds["exact"], seconds[name], strict=True)), 2
                ),
            }
            for name in forms
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", action="append", choices=("valid", "test"), help="default: valid")
    parser.add_argument("--rounds", type=int, default=3, help="times that each decodes (default 3)")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    found, splits = [], given.data or ["valid"]
    for run in given.runs:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(run, Path(folder) / run.name))
            make_shortlist(copy)
            found.append(measure(copy, splits, given.rounds))
        table = Table("", *(f"{split} {what}" for split in splits for what in ("score", "lost", "speed")))
        for name in FORMS:
            cells = [found[-1][split][name] for split in splits]
            table.add_row(name, *(str(cell[key]) for cell in cells for key in ("score", "lost", "times as fast")))
        Console().print(run.name, table)
    if not given.no_write:
        both = [one[split]["int8, shortlist"] for one in found for split in splits]
        summary = f"int8 and shortlist: at most {max(each['lost'] for each in both)} lost"
        values = {"summary": summary, "threads": 1, "common": COMMON, "best": BEST, "runs": found}
        print(results.write("approximate", "speed", values))


if __name__ == "__main__":
    main()
