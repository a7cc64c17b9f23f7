"""What an update costs with changes of a recipe: `python -m benchmarks.update_cost RECIPE "r_drop=train.r_drop=5"`.

Each way is a name and, after `=`, overrides with spaces between; the recipe as it is comes first. All ways learn from
the same batches of the recipe's data in turn, one thread, in one process; each ratio is of one batch.

    python -m benchmarks.update_cost write-ptb "wide=model.decoder.hidden=512" "deep=model.decoder.layers=4"
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from regard.data.batches import Batch, BatchPlan, Examples
from regard.model import Seq2Seq, parameter_count
from regard.ops.noise import Noise
from regard.recipe import load_recipe
from regard.tasks import TASKS
from regard.train.optimise import Optimiser

AS_IT_IS = "as it is"
WARM_UP = 2
"""updates that are not counted"""


@dataclass
class Way:
    """A recipe with changes, ready to learn."""

    task: Any
    model: Seq2Seq
    optimiser: Optimiser
    rate: float
    examples: Examples

    @classmethod
    def of(cls, recipe: str, changes: list[str]) -> Way:
        resolved = load_recipe(recipe, ["train.threads=1", *changes])
        task = TASKS[resolved.task](resolved)
        prepared = task.prepare()
        model = task.build(prepared.tokenizers)
        examples = task.training(prepared, resolved.seed)
        return cls(task, model, Optimiser(model, resolved.train), resolved.train.learning_rate, examples)

    def seconds(self, batch: Batch, update: int) -> float:
        """Of one update."""
        began = time.perf_counter()
        sums = self.task.loss(self.model, batch, Noise(1, update))
        (sums.loss / sums.tokens).backward()
        self.optimiser.step(self.rate, self.optimiser.norm())
        return time.perf_counter() - began


def measured(ways: dict[str, Way], updates: int) -> dict[str, list[float]]:
    """Seconds of every update of every way, each batch by all of them in turn."""
    first = ways[AS_IT_IS]
    lengths = first.examples.source_lengths, first.examples.target_lengths
    plan = BatchPlan(*lengths, tokens=first.task.recipe.train.batch_tokens, seed=1)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for update, indices in zip(range(WARM_UP + updates), plan.epoch(0), strict=False):
        for name, way in ways.items():
            batch = way.examples.in_epoch(0).batch(indices)
            seconds = way.seconds(batch, update)
            if update >= WARM_UP:
                found[name].append(seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("ways", nargs="+", metavar="NAME=KEY=VALUE …", help="a name, and overrides")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    changes = {AS_IT_IS: "", **dict(way.split("=", 1) for way in given.ways)}
    ways = {name: Way.of(given.recipe, text.split()) for name, text in changes.items()}
    times = measured(ways, given.updates)
    table = Table("way", "parameters", "update, ms", f"× {AS_IT_IS}", title=given.recipe)
    cost = {}
    for name, seconds in times.items():
        ratio = statistics.median(one / plain for one, plain in zip(seconds, times[AS_IT_IS], strict=True))
        size, ms = parameter_count(ways[name].model), 1000 * statistics.median(seconds)
        cost[name] = {"changes": changes[name], "parameters": size, "ms": round(ms, 1), "ratio": round(ratio, 3)}
        table.add_row(name, f"{size:,}", f"{ms:.0f}", f"{ratio:.2f}")
    Console().print(table)
    if not given.no_write:
        summary = f"{given.recipe}, an update: " + ", ".join(
            f"{name} × {one['ratio']:.2f}" for name, one in cost.items()
        )
        content = {
            "summary": summary,
            "recipe_name": given.recipe,
            "updates": given.updates,
            "threads": 1,
            "cost": cost,
        }
        print(results.write(f"update-cost-{given.recipe}", "speed", content))


if __name__ == "__main__":
    main()
