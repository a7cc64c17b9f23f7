"""Words to sounds in many languages: `python -m benchmarks.g2p --keep runs/g2p low`.

SIGMORPHON 2021 task 1: the recipe of each language (soft attention) and its `-hard` one (exact hard monotonic), with
several seeds, as many trainings at a time as there are cores. Then the word error rate of each run, and of all seeds
of a recipe as one ensemble, with intervals, on validation; with --test on test, which is for the end. Runs that are in
the folder and finished are not trained again, so that a list of languages can be done bit by bit.

    python -m benchmarks.g2p --keep runs/g2p low --seeds 5
    python -m benchmarks.g2p --keep runs/g2p low medium --seeds 5 --test      # scores, recorded
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import start_training, tail
from benchmarks.record import first_losses
from regard.errors import RegardError
from regard.predict import load
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe, load_recipe
from regard.train.runfolder import Run

TRACKS = {"low": ["ady", "gre", "ice", "ita"], "medium": ["dut", "fre", "geo", "hun", "jpn_hira", "kor"]}
KINDS = {"soft": "", "hard": "-hard"}
POLL_SECONDS = 1.0


def recipe_name(language: str, kind: str) -> str:
    return f"transduce-sigmorphon2021-{language}{KINDS[kind]}"


def finished(run: Path) -> bool:
    return run.is_dir() and Run(run).status == "finished"


def train(wanted: dict[Path, Recipe], at_once: int) -> None:
    """All runs that are missing, a new one whenever a core is free."""
    waiting = [run for run in wanted if not finished(run)]
    running: dict[Path, Any] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            run = waiting.pop(0)
            print(f"{time.strftime('%H:%M:%S')} {run.name}", flush=True)
            output, environment = run.with_suffix(".txt"), {"OMP_NUM_THREADS": "1"}
            running[run] = start_training(wanted[run], run, output=output, environment=environment)
        time.sleep(POLL_SECONDS)
        for run, process in list(running.items()):
            if process.poll() is not None:
                del running[run]
                if process.returncode:
                    raise RegardError(f"{run.name}: training ended badly:\n{tail(run.with_suffix('.txt'))}")


def score(runs: list[Path], split: str) -> dict[str, Any]:
    """Word error rate with its interval, of one run or of several as an ensemble."""
    predictor = load(runs)
    found = evaluate(predictor, split_examples(predictor, split)).scores["wer"]
    return {"wer": round(found.value, 2), "low": round(found.low, 2), "high": round(found.high, 2)}


def of_recipe(runs: list[Path], splits: list[str]) -> dict[str, Any]:
    """Every seed's scores, and the ensemble's."""
    singles = []
    for path in runs:
        run = Run(path)
        log = run.metrics()
        start = next(record for record in log if record["type"] == "start")
        told = {key: start[key] for key in ("seed", "commit", "threads", "parameters")}
        told |= {"minutes": round(run.info["seconds"] / 60, 2), "best_update": run.info["best_update"]}
        losses = {"first_losses": first_losses(log)}
        singles.append({**told, **{split: score([path], split) for split in splits}, **losses})
    means = {split: round(statistics.mean(one[split]["wer"] for one in singles), 2) for split in splits}
    together = {split: score(runs, split) for split in splits} if len(runs) > 1 else {}
    recipe = Run(runs[0]).recipe
    return {
        "recipe_hash": recipe.hash(),
        "recipe": recipe.to_dict(),
        "single": means,
        "ensemble": together,
        "runs": singles,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.g2p", description=__doc__.partition("\n")[0])
    parser.add_argument("languages", nargs="+", help=f"languages or tracks: {', '.join(TRACKS)}")
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="where the runs go")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipes")
    parser.add_argument("--test", action="store_true", help="score on test too: once, for recipes that are done")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    languages = [each for one in given.languages for each in TRACKS.get(one, [one])]
    seeds, splits = range(1, given.seeds + 1), ["valid", "test"] if given.test else ["valid"]
    names = [(language, kind) for language in languages for kind in given.kinds]
    runs = {name: [given.keep / f"{recipe_name(*name)}-{seed}" for seed in seeds] for name in names}
    wanted = {
        run: load_recipe(recipe_name(*name), [f"seed={seed}", "train.threads=1", *given.set])
        for name in names
        for seed, run in zip(seeds, runs[name], strict=True)
    }
    given.keep.mkdir(parents=True, exist_ok=True)
    train(wanted, given.at_once)
    report(given, {name: of_recipe(runs[name], splits) for name in names}, splits)


def report(given: argparse.Namespace, found: dict[tuple[str, str], dict[str, Any]], splits: list[str]) -> None:
    split = splits[-1]
    table = Table("language", "attention", f"{split}: mean of {given.seeds}", "ensemble", "95 %", "minutes each")
    for (language, kind), one in found.items():
        both = one["ensemble"].get(split)
        minutes = statistics.mean(run["minutes"] for run in one["runs"])
        cells = [f"{both['wer']:.1f}", f"{both['low']:.1f}–{both['high']:.1f}"] if both else ["–", "–"]
        table.add_row(language, kind, f"{one['single'][split]:.1f}", *cells, f"{minutes:.1f}")
    Console().print(table)
    means = {}
    for kind in given.kinds:
        own = [one for (_, other), one in found.items() if other == kind]
        means[kind] = {"single": round(statistics.mean(one["single"][split] for one in own), 2)}
        if given.seeds > 1:
            means[kind]["ensemble"] = round(statistics.mean(one["ensemble"][split]["wer"] for one in own), 2)
    print(f"means over {len(found) // len(given.kinds)} languages, {split}: {means}")
    if not given.no_write:
        summary = f"{' '.join(given.languages)}, {split} WER: {means}"
        content = {"summary": summary, "seeds": given.seeds, "set": given.set, "means": means}
        print(results.write("g2p", "g2p", {**content, "found": {" ".join(name): one for name, one in found.items()}}))


if __name__ == "__main__":
    main()
