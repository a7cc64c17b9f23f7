"""Several runs of one recipe side by side: `python -m benchmarks.seeds KEY RUN [RUN …]`.

Finished runs that differ in their seed and in one key of the recipe, such as train.sampled_softmax: for each value of
the key the final validation scores, their mean and standard deviation, and the speed.

    python -m benchmarks.seeds train.sampled_softmax runs/exact-* runs/sampled-*
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.record import make_record
from regard.errors import RegardError
from regard.train.runfolder import Run

KEPT = ("commit", "dirty", "recipe_hash", "seed", "threads", "processes", "updates", "minutes", "best_update")
KEPT += ("target_tokens_per_second", "validation", "first_losses")


def side_by_side(key: str, runs: list[Path]) -> dict[str, Any]:
    """Each run's record, and what they come to for each value of the key."""
    found: dict[str, list[dict[str, Any]]] = {}
    recipes = []
    for path in runs:
        run = Run(path)
        record, _ = make_record(run, {})
        recipe = record["recipe"]
        value: Any = recipe
        for part in key.split("."):
            value = value[part]
        recipes.append({**recipe, "seed": None, "train": {**recipe["train"], key.rpartition(".")[2]: None}})
        found.setdefault(str(value), []).append({name: record[name] for name in KEPT})
    if any(recipe != recipes[0] for recipe in recipes):
        raise RegardError(f"the runs differ in more than their seed and {key}: compare runs of one recipe.")
    metric = Run(runs[0]).info["metric"]
    groups = {}
    for value, records in found.items():
        scores = [record["validation"][metric] for record in records]
        groups[value] = {
            "mean": round(statistics.mean(scores), 2),
            "deviation": round(statistics.stdev(scores), 2) if len(scores) > 1 else None,
            "runs": records,
        }
    return {"key": key, "metric": metric, "recipe": recipes[0], "values": groups}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=__doc__.partition("\n")[0])
    parser.add_argument("key", metavar="KEY", help="the key of the recipe that differs, below train")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    found = side_by_side(given.key, given.runs)
    table = Table(given.key, found["metric"], "mean", "deviation", "tokens/s")
    for value, group in found["values"].items():
        scores = ", ".join(f"{record['validation'][found['metric']]:.2f}" for record in group["runs"])
        speed = statistics.median(record["target_tokens_per_second"] for record in group["runs"])
        table.add_row(value, scores, f"{group['mean']:.2f}", str(group["deviation"]), f"{speed:,.0f}")
    Console().print(table)
    if not given.no_write:
        means = "; ".join(f"{value}: {one['mean']} ± {one['deviation']}" for value, one in found["values"].items())
        print(results.write("seeds", "seeds", {"summary": f"{given.key} {means} {found['metric']}", **found}))


if __name__ == "__main__":
    main()
