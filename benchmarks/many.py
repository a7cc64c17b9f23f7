"""Many trainings of one family, several seeds of each, as many at a time as there are cores; then word error rates.

What a family's script needs to say is which recipes there are: `benchmarks/g2p.py`, `benchmarks/inflection.py`. Runs
that are in the folder and finished are not trained again, so that a list can be done bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import start_training, tail
from benchmarks.record import first_losses, recipe_name, scores_of
from regard.errors import RegardError
from regard.predict import load
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe, difference, load_recipe
from regard.train.runfolder import Run

POLL_SECONDS = 1.0
FAMILIES = ("g2p", "inflection", "folds")
"""Results that are of many runs."""
Name = tuple[str, str]
"""Language, and which of its recipes."""


def options(prog: str, doc: str, groups: Mapping[str, Sequence[str]], kinds: Sequence[str]) -> argparse.Namespace:
    """What is asked for on the command line; `languages` are told one by one, without the names of groups."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{prog}", description=doc.partition("\n")[0])
    parser.add_argument("languages", nargs="+", help=f"languages, or all of: {', '.join(groups)}")
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="where the runs go")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--seeds", default="5", metavar="N", help="of each kind, or KIND=N,…")
    parser.add_argument("--mix", metavar="KIND=N,…", help="one more ensemble: the first N seeds of each of these kinds")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipes")
    parser.add_argument("--test", action="store_true", help="score on test too: once, for recipes that are done")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    given.mix = _counts(given.mix, kinds) if given.mix else {}
    given.seeds = dict.fromkeys(kinds, int(given.seeds)) if given.seeds.isdigit() else _counts(given.seeds, kinds)
    given.kinds = [kind for kind in given.kinds if kind in given.seeds]
    if lacking := [kind for kind in given.mix if kind not in given.kinds]:
        parser.error(f"--mix: {', '.join(lacking)} is not among the kinds asked for")
    given.asked = " ".join(given.languages)
    given.languages = [each for one in given.languages for each in groups.get(one, [one])]
    return given


def _counts(text: str, kinds: Sequence[str]) -> dict[str, int]:
    """`soft=3,hard=2`"""
    found = {}
    for part in text.split(","):
        kind, _, count = part.partition("=")
        if kind not in kinds or not count.isdigit() or int(count) < 1:
            raise SystemExit(f"{part}: expected KIND=N with a kind of {', '.join(kinds)}")
        found[kind] = int(count)
    return found


def train_and_score(prog: str, given: argparse.Namespace, recipes: Mapping[Name, tuple[str, Sequence[str]]]) -> None:
    """The trainings that are missing, then every run's score and each recipe's ensemble.

    recipes   for each name a shipped recipe and its changes
    """
    torch.set_num_threads(1)
    splits = ["valid", "test"] if given.test else ["valid"]
    seeds = {kind: range(1, max(given.seeds[kind], given.mix.get(kind, 0)) + 1) for kind in given.kinds}
    runs = {name: [given.keep / f"{'-'.join(name)}-{seed}" for seed in seeds[name[1]]] for name in recipes}
    wanted = {
        run: load_recipe(recipe, [*changes, f"seed={seed}", "train.threads=1", *given.set])
        for name, (recipe, changes) in recipes.items()
        for seed, run in zip(seeds[name[1]], runs[name], strict=True)
    }
    given.keep.mkdir(parents=True, exist_ok=True)
    train(wanted, given.at_once)
    mixed = {}
    for language in given.languages if given.mix else []:
        together = [run for kind, count in given.mix.items() for run in runs[language, kind][:count]]
        mixed[language] = {split: score(together, split, wanted[together[0]]) for split in splits}
    found = {name: of_recipe(runs[name][: given.seeds[name[1]]], splits, wanted[runs[name][0]]) for name in recipes}
    report(prog, given, found, mixed, splits)


def train(wanted: Mapping[Path, Recipe], at_once: int) -> None:
    """All runs that are missing, a new one whenever a core is free."""
    waiting = [run for run, recipe in wanted.items() if not finished(run, recipe)]
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


def finished(run: Path, recipe: Recipe) -> bool:
    """Whether it is there. One of another recipe is refused, but for its search: runs are scored with today's."""
    if not run.is_dir() or Run(run).status != "finished":
        return False
    changed = [each for each in difference(Run(run).recipe, recipe) if not each.startswith("search.")]
    if changed:
        raise RegardError(f"{run} is a run of another recipe ({'; '.join(changed)}): move it away.")
    return True


def score(runs: list[Path], split: str, recipe: Recipe, metric: str = "wer") -> dict[str, Any]:
    """A metric with its interval, of one run or of several as an ensemble, by the recipe's search of today."""
    then, today = (one.search.model_dump(mode="json") for one in (Run(runs[0]).recipe, recipe))
    changed = [f"search.{key}={json.dumps(value)}" for key, value in today.items() if value != then[key]]
    predictor = load(runs, overrides=changed)
    found = evaluate(predictor, split_examples(predictor, split)).scores[metric]
    return {metric: round(found.value, 2), "low": round(found.low, 2), "high": round(found.high, 2)}


def of_recipe(runs: list[Path], splits: list[str], recipe: Recipe, metric: str = "wer") -> dict[str, Any]:
    """Every seed's scores, and the ensemble's.

    recipe    of the first seed, as it is today: that of the runs, but for the search
    """
    singles = []
    for path in runs:
        run = Run(path)
        log = run.metrics()
        start = next(record for record in log if record["type"] == "start")
        told = {key: start[key] for key in ("seed", "commit", "threads", "processes", "parameters")}
        told |= {"minutes": round(run.info["seconds"] / 60, 2), "best_update": run.info["best_update"]}
        valid = [{"update": record["update"], **scores_of(record)} for record in log if record["type"] == "valid"]
        kept = {"first_losses": first_losses(log), "validations": valid}
        singles.append({**told, **{split: score([path], split, recipe, metric) for split in splits}, **kept})
    means = {split: round(statistics.mean(one[split][metric] for one in singles), 2) for split in splits}
    together = {split: score(runs, split, recipe, metric) for split in splits} if len(runs) > 1 else {}
    return {
        "recipe_name": recipe_name(recipe),
        "recipe_hash": recipe.hash(),
        "recipe": recipe.to_dict(),
        "single": means,
        "ensemble": together,
        "runs": singles,
    }


def records_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each recipe of a family's result, that the package has, what a record of its first seed's training says."""
    named = [one for one in result["found"].values() if one.get("recipe_name")]
    return [{**one["runs"][0], **{key: one[key] for key in ("recipe_name", "recipe")}} for one in named]


def report(
    prog: str,
    given: argparse.Namespace,
    found: Mapping[Name, dict[str, Any]],
    mixed: Mapping[str, dict[str, Any]],
    splits: list[str],
) -> None:
    split = splits[-1]
    table = Table("language", "recipe", f"{split}: mean WER", "ensemble", "95 %", "minutes each")
    for (language, kind), one in found.items():
        both = one["ensemble"].get(split)
        minutes = statistics.mean(run["minutes"] for run in one["runs"])
        kind += f", {len(one['runs'])} seeds" if len(one["runs"]) > 1 else ""
        cells = [f"{both['wer']:.1f}", f"{both['low']:.1f}–{both['high']:.1f}"] if both else ["–", "–"]
        table.add_row(language, kind, f"{one['single'][split]:.1f}", *cells, f"{minutes:.1f}")
    for language, scores in mixed.items():
        one = scores[split]
        table.add_row(language, "mix", "–", f"{one['wer']:.1f}", f"{one['low']:.1f}–{one['high']:.1f}", "–")
    Console().print(table)
    means: dict[str, dict[str, float]] = {}
    for kind in given.kinds:
        own = [one for (_, other), one in found.items() if other == kind]
        means[kind] = {"single": round(statistics.mean(one["single"][split] for one in own), 2)}
        if given.seeds[kind] > 1:
            means[kind]["ensemble"] = round(statistics.mean(one["ensemble"][split]["wer"] for one in own), 2)
    if mixed:
        means["mix"] = {"ensemble": round(statistics.mean(one[split]["wer"] for one in mixed.values()), 2)}
    print(f"means over {len(found) // len(given.kinds)} languages, {split}: {means}")
    if not given.no_write:
        summary = f"{given.asked}, {split} WER: {means}"
        content = {"summary": summary, "seeds": given.seeds, "set": given.set, "mix": given.mix, "means": means}
        content["mixed"] = dict(mixed)
        print(results.write(prog, prog, {**content, "found": {" ".join(name): one for name, one in found.items()}}))
