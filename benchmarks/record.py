"""`python -m benchmarks.record RUN [--scores SCORES.json]`: keep the result of a finished run.

Writes results/DATE-NAME.json and, beside it, the run's log (DATE-NAME.metrics.jsonl), thinned to fit.

SCORES.json is what `regard evaluate RUN --json` printed; give --scores once for each test set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from regard.errors import RegardError
from regard.recipe import Recipe, difference, load_recipe, shipped_recipes
from regard.score import METRICS
from regard.train.log import EVERY_UPDATE
from regard.train.runfolder import Run

THRESHOLDS = {"bleu": (30.0, 33.0, 36.0, 38.0), "wer": (40.0, 36.0, 33.0, 31.0)}
"""Validation scores whose time of passing is recorded."""
LOG_BYTES = 250_000
"""Room for a log in the repository."""

Record = dict[str, Any]


def make_record(run: Run, scores: Mapping[str, Any]) -> tuple[Record, list[Record]]:
    """The result of a finished run, and its log, thinned."""
    log = run.metrics()
    start = next((record for record in log if record["type"] == "start"), None)
    final = next((record for record in log if record["type"] == "final"), None)
    if run.status != "finished" or start is None or final is None:
        raise RegardError(f"{run.path}: {run.status}, and only a finished run has a result: resume it first.")
    recipe = run.recipe
    losses = first_losses(log)
    metric = run.info["metric"]
    thresholds = THRESHOLDS.get(metric, ())
    passed = {str(t): minutes_until(log, metric, t, higher=METRICS[metric].higher_is_better) for t in thresholds}
    summary = ", ".join(f"{name} {value:.2f}" for name, value in scores_of(final).items())
    record = {
        "summary": f"validation: {summary}; {run.info['seconds'] / 60:.1f} minutes",
        **_told_at_start(start),
        "recipe_name": recipe_name(recipe),
        "recipe_hash": recipe.hash(),
        "recipe": recipe.to_dict(),
        **{key: start[key] for key in ("seed", "threads", "processes", "precision", "device")},
        **{key: start[key] for key in ("parameters", "examples", "batches_per_epoch")},
        "updates": run.info["update"],
        "ended": run.info["ended"],
        "minutes": round(run.info["seconds"] / 60, 2),
        "minutes_with_final_evaluation": round(final["seconds"] / 60, 2),
        "interruptions": sum(entry["type"] == "resume" for entry in log),
        "target_tokens_per_second": median_speed(log),
        "padding": next((entry["padding"] for entry in reversed(log) if entry["type"] == "epoch"), None),
        "minutes_until": {"metric": metric, "on": "validation while training", **passed},
        "best_update": final["best_update"],
        "validation": scores_of(final),
        "test": dict(scores),
        "first_losses": losses,
    }
    return record, thin(log)


def _told_at_start(start: Record) -> Record:
    """Commit, versions and machine when the run began."""
    machine = results.facts()["machine"]
    told = {key: start[key] for key in ("processor", "cores", "system")}
    if any(machine[key] != value for key, value in told.items()):  # recorded elsewhere: say only what the log knows
        machine = told
    return {
        **results.split_commit(start["commit"]),
        "versions": {"regard": start["regard"], "python": start["python"], **start["versions"]},
        "machine": machine,
    }


def recipe_name(recipe: Recipe) -> str | None:
    """Which shipped recipe this is, by what determines the result (threads aside)."""
    for path in shipped_recipes():
        if not changes(load_recipe(path), recipe):
            return path.stem
    return None


def changes(before: Recipe, now: Recipe) -> list[str]:
    """`difference`, but for the number of threads, which only a machine decides, and the cache, of which training knows
    nothing."""
    return [each for each in difference(before, now) if not each.startswith(("train.threads ", "model.cache"))]


def first_losses(log: Sequence[Record]) -> list[float]:
    """The loss of each of the first updates."""
    found = [record for record in log if record["type"] == "train" and record["update"] <= EVERY_UPDATE]
    updates = [record["update"] for record in found]
    if updates != list(range(1, len(updates) + 1)):
        raise RegardError(f"metrics.jsonl: its first train records are of the updates {updates}, expected 1, 2, 3, …")
    return [record["loss"] for record in found]


def minutes_until(log: Sequence[Record], metric: str, threshold: float, *, higher: bool) -> float | None:
    """Minutes of wall-clock, validations included, until a validation reached the threshold; None if none did."""
    for record in log:
        value = record.get(metric) if record["type"] == "valid" else None
        if value is not None and (value >= threshold if higher else value <= threshold):
            return round(float(record["seconds"]) / 60, 2)
    return None


def median_speed(log: Sequence[Record]) -> float | None:
    """Target tokens per second, the median of the log's lines after the first updates."""
    found = sorted(r["tokens_per_second"] for r in log if r["type"] == "train" and r["update"] > EVERY_UPDATE)
    return found[len(found) // 2] if found else None


def scores_of(record: Record) -> dict[str, float]:
    """The scores in a `valid` or `final` record."""
    others = {"type", "update", "epoch", "best", "best_update", "took_seconds", "seconds", "memory_mib"}
    return {key: round(value, 4) for key, value in record.items() if key not in others and value is not None}


def thin(log: Sequence[Record], room: int = LOG_BYTES) -> list[Record]:
    """The log within `room` bytes: of `train` records past the first 50 every second, third, …; all others stay."""
    later = [i for i, record in enumerate(log) if record["type"] == "train" and record["update"] > EVERY_UPDATE]
    sizes = [len(line(record)) for record in log]
    left = room - sum(sizes) + sum(sizes[i] for i in later)
    step = next((n for n in range(1, len(later)) if sum(sizes[i] for i in later[n - 1 :: n]) <= left), None)
    dropped = set(later) - set(later[step - 1 :: step] if step else [])
    return [record for i, record in enumerate(log) if i not in dropped]


def line(record: Record) -> str:
    """A record as a line of the kept log; six digits are enough to draw, losses stay whole in the result."""
    rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in record.items()}
    return json.dumps(rounded, ensure_ascii=False) + "\n"


def write_record(run: Run, scores: Mapping[str, Any], name: str | None = None, folder: Path = results.FOLDER) -> Path:
    """Write result and log; returns the result's path."""
    record, log = make_record(run, scores)
    path = results.write(name or record["recipe_name"] or run.path.name, "training", record, folder=folder)
    path.with_suffix(".metrics.jsonl").write_text(
        "".join(line(results.portable(entry)) for entry in log), encoding="utf-8"
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description="Keep the result of a run.")
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--scores", type=Path, action="append", default=[], help="output of regard evaluate --json")
    parser.add_argument("--name", help="of the result; default: the recipe's")
    given = parser.parse_args()
    scores = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in given.scores}
    print(write_record(Run(given.run), scores, given.name))


if __name__ == "__main__":
    main()
