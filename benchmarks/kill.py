"""Kill -9 at random moments, resume each time: `python -m benchmarks.kill`.

One run is never stopped. A second one of the same recipe is killed ten times, at moments that a seed draws from its
whole life: while it imports, prepares, trains, validates, writes a checkpoint. Then it is left to finish. Weights,
scores and log must be those of the first, bit for bit; of the log, all but what a clock or the machine says.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import results
from benchmarks.process import records, start_training, tail, wait
from regard.recipe import Recipe, load_recipe
from regard.train.runfolder import Run

OVERRIDES = (
    "train.epochs=null",
    "train.updates=400",
    "train.save_every=15",
    "train.validate_every=70",
    "train.validate_sentences=100",
    "train.ema=0",
    "train.average_last=2",
    "train.log_every=5",
    "data.train.percent=[0, 20]",
    "data.valid.percent=[90, 91]",
    "model.embed=96",
    "model.encoder.hidden=96",
    "model.decoder.hidden=96",
    "model.attention.dim=96",
    "search.method=greedy",
)
"""A recipe of CMUdict that takes some two minutes on one core and meets every kind of moment often."""
CLOCK = ("seconds", "took_seconds", "tokens_per_second", "memory_mib")


def finish(recipe: Recipe, run: Path, *, kill_after: float | None = None) -> bool:
    """Train, or resume; True if the run finished, False if it was killed after so many seconds."""
    output = run.with_name(run.name + ".txt")
    process = start_training(recipe, run, output=output)
    end = None if kill_after is None else time.monotonic() + kill_after
    try:
        if wait(process, lambda: end is not None and time.monotonic() >= end, poll_seconds=0.005):
            process.kill()
            process.wait()
            return False
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}:\n{tail(output)}")
    return True


def moments(count: int, seconds: float, seed: int) -> list[float]:
    """When to kill, in seconds after each start: together about the life of an unstopped run."""
    draw = random.Random(seed)
    return [draw.uniform(0.0, 2.0 * seconds / (count + 1)) for _ in range(count)]


def position(run: Path) -> int:
    """The update of the newest checkpoint, or 0."""
    folder = run / "checkpoint"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def timeless(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A log without what a clock or the machine says, and without the marks of resuming."""
    kept = [record for record in log if record["type"] != "resume"]
    return [{key: value for key, value in record.items() if key not in CLOCK} for record in kept]


def log_problems(whole: Sequence[dict[str, Any]], again: Sequence[dict[str, Any]]) -> list[str]:
    """How the log of a resumed run differs from that of one never stopped."""
    found = []
    for kind in ("train", "epoch", "valid", "final"):
        one, two = ([r["update"] for r in log if r["type"] == kind] for log in (whole, again))
        if missing := sorted(set(one) - set(two)):
            found.append(f"{kind} records missing for updates {missing[:5]}")
        if extra := sorted(set(two) - set(one)):
            found.append(f"{kind} records that should not be, for updates {extra[:5]}")
        if double := sorted({update for update in two if two.count(update) > 1 and one.count(update) == 1}):
            found.append(f"{kind} records twice for updates {double[:5]}")
    if not found and timeless(whole) != timeless(again):
        pairs = zip(timeless(whole), timeless(again), strict=False)
        different = next((pair for pair in pairs if pair[0] != pair[1]), (None, None))
        found.append(f"records differ: {different[0]} and {different[1]}")
    return found


def weight_problems(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are not equal bit for bit."""
    names = sorted(set(one) ^ set(two))
    problems = [f"{name} is in one of the runs only" for name in names]
    for name in sorted(set(one) & set(two)):
        a, b = one[name], two[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            problems.append(f"{name} has another type or shape")
        elif not torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)):
            problems.append(f"{name} differs in {int((a != b).sum())} of {a.numel()} numbers")
    return problems


def compare(whole: Run, again: Run) -> list[str]:
    """All that is not the same in two finished runs."""
    problems = weight_problems(whole.weights(), again.weights())
    problems += log_problems(whole.metrics(), again.metrics())
    for key in ("final", "best", "best_update", "update", "weights_sha256"):
        if whole.info.get(key) != again.info.get(key):
            problems.append(f"run.json: {key} is {whole.info.get(key)} and {again.info.get(key)}")
    leftovers = [path.name for path in again.path.rglob(".*.tmp")]
    return problems + ([f"left behind: {', '.join(leftovers)}"] if leftovers else [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recipe", default="demo-cmudict", help="a dictionary recipe (default demo-cmudict)")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="over those that make the run small")
    given = parser.parse_args()
    recipe = load_recipe(given.recipe, [*OVERRIDES, f"train.threads={given.threads}", *given.overrides])
    with tempfile.TemporaryDirectory(prefix="regard-kill-") as temporary:
        whole, again = Path(temporary) / "whole", Path(temporary) / "killed"
        began = time.monotonic()
        finish(recipe, whole)
        seconds = time.monotonic() - began
        print(f"never stopped: {seconds:.0f} s, {len(records(whole, 'train'))} train records", flush=True)
        kills = []
        for number, moment in enumerate(moments(given.kills, seconds, given.seed), 1):
            if finish(recipe, again, kill_after=moment):
                print("it finished before all kills were done", flush=True)
                break
            kills.append({"after_seconds": round(moment, 3), "checkpoint": position(again)})
            print(f"kill {number}: after {moment:6.2f} s, newest checkpoint {kills[-1]['checkpoint']}", flush=True)
        finish(recipe, again)
        problems = compare(Run(whole), Run(again))
    for problem in problems:
        print(f"DIFFERS: {problem}")
    enough = len(kills) == given.kills
    summary = f"{len(kills)} kills -9, resumed: " + ("equal bit for bit" if not problems else "NOT equal")
    print(summary)
    if not given.no_write:
        values = {"summary": summary, "recipe": recipe.to_dict(), "recipe_hash": recipe.hash(), "seed": given.seed}
        values |= {"threads": given.threads, "seconds": round(seconds, 1), "kills": kills, "problems": problems}
        print(results.write("kill", "resume", values))
    return int(bool(problems) or not enough)


if __name__ == "__main__":
    sys.exit(main())
