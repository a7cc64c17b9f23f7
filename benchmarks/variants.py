"""Models that differ in one part, side by side: `python -m benchmarks.variants attentions`.

Each is the same recipe but for what its name says (a cell stands in encoder and decoder), trained for the same minutes
on one core, as many at a time as there are cores, with parameters within 5 % of the first. A constant learning rate and
averaged weights, so that a score at any moment is what the model was worth then. Batches are the same for all, so equal
updates are equal tokens.

    python -m benchmarks.variants attentions --minutes 10 --keep runs/attentions
    python -m benchmarks.variants attentions --keep runs/attentions       # finished runs there are not trained again
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import records, start_training, tail
from benchmarks.record import first_losses
from regard.errors import RegardError
from regard.model import parameter_count
from regard.predict import load
from regard.recipe import Recipe, load_recipe
from regard.tasks import TASKS
from regard.train.log import read_metrics

RECIPE = "translate-multi30k-en-de-fast"
COMMON = [
    "model.encoder.hidden=128",  # so that the memory has the decoder's size, which `dot` needs
    *("train.processes=1", "train.threads=1", "train.batch_tokens=1200", "train.sampled_softmax=0"),
    *("train.epochs=100", "train.schedule=constant", "train.validate_every=200", "train.validate_sentences=300"),
]
TOLERANCE = 0.05
SENTENCES, ROUNDS = 300, 3
"""decoded for the time that it takes, so many times"""


def sized(decoder: int, *changes: str) -> list[str]:
    """A decoder of this size, an encoder whose two directions make as much, and what else differs."""
    return [*changes, f"model.encoder.hidden={decoder // 2}", f"model.decoder.hidden={decoder}"]


def of_cell(cell: str, decoder: int) -> list[str]:
    """One cell in encoder and decoder."""
    return sized(decoder, f"model.encoder.cell={cell}", f"model.decoder.cell={cell}")


VARIANTS: dict[str, dict[str, list[str]]] = {
    "attentions": {
        "additive": [],
        "none": ["model.attention=none", "model.encoder.hidden=152"],
        "dot": ["model.attention.score=dot"],
        "general": ["model.attention.score=general"],
        "scaled_dot": ["model.attention.score=scaled_dot"],
        "scaled_dot-4-heads": ["model.attention.score=scaled_dot", "model.attention.heads=4"],
        "local_p": ["model.attention.scope=local_p"],
        "sparsemax": ["model.attention.normalizer=sparsemax"],
        "entmax15": ["model.attention.normalizer=entmax15"],
        "hard": ["model.attention.normalizer=hard"],
        "coverage": ["model.attention.coverage=sum"],
    },
    "cells": {
        "lstm": [],
        "gru": of_cell("gru", 304),
        "rnn": of_cell("rnn", 448),
        "layer_norm_lstm": of_cell("layer_norm_lstm", 256),
        "layer_norm_gru": of_cell("layer_norm_gru", 304),
        "projected_lstm": of_cell("{type: projected_lstm, memory: 256}", 176),
        "zoneout_lstm": of_cell("zoneout_lstm", 256),
        "slstm": of_cell("slstm", 256),
        "mlstm": of_cell("mlstm", 320),
        "deep_transition": of_cell("deep_transition", 256),
        "mingru": of_cell("mingru", 416),
        "minlstm": of_cell("minlstm", 368),
        "sru": of_cell("sru", 320),
        "ssru": of_cell("ssru", 416),
        "intra": of_cell("intra", 208),
        "attentive": of_cell("attentive", 208),
    },
    "decoders": {
        "luong": [],
        "bahdanau": sized(240, "model.decoder.attend=before"),
        "no-feeding": sized(288, "model.decoder.input_feeding=false"),
        "residual-3": sized(176, "model.decoder.layers=3", "model.decoder.residual=true"),
        "attentive-top": sized(192, "model.decoder.layers=2", "model.decoder.top=attentive"),
        "gnmt": sized(176, "model.decoder={type: deep, layers: 3, residual: true, output_context: false}"),
        "rnmt": sized(
            144,
            "model.decoder={type: deep, layers: 3, residual: true, cell: layer_norm_lstm}",
            "model.attention.heads=4",
        ),
        "deep-no-feeding": sized(176, "model.decoder={type: deep, layers: 3, residual: true, context_feeding: false}"),
    },
}


def check_sizes(recipes: dict[str, Recipe]) -> dict[str, int]:
    """Parameters of each, which must be about those of the first."""
    sizes: dict[str, int] = {}
    for name, recipe in recipes.items():
        task = TASKS[recipe.task](recipe)
        sizes[name] = parameter_count(task.build(task.prepare().tokenizers))
        first = next(iter(sizes.values()))
        if abs(sizes[name] / first - 1.0) > TOLERANCE:
            raise RegardError(f"{name} has {sizes[name]:,} parameters, the first {first:,}: change its sizes.")
    return sizes


def train(recipes: dict[str, Recipe], folder: Path, at_once: int) -> None:
    """All of them, so many at a time; a run that has ended is left as it is."""
    missing = [name for name in recipes if not ended(folder / name)]
    for first in range(0, len(missing), at_once):
        names = missing[first : first + at_once]
        print(f"{time.strftime('%H:%M')} training {', '.join(names)}", flush=True)
        environment = {"OMP_NUM_THREADS": "1"}
        running = {
            name: start_training(recipes[name], folder / name, output=folder / f"{name}.txt", environment=environment)
            for name in names
        }
        for name, process in running.items():
            if process.wait():
                raise RegardError(f"{name}: training ended badly:\n{tail(folder / f'{name}.txt')}")


def ended(run: Path) -> bool:
    return (run / "metrics.jsonl").is_file() and bool(records(run, "final"))


def decode_seconds(runs: dict[str, Path], sources: list[str]) -> dict[str, float]:
    """Of all sources with the recipe's search, one thread; in turn, the median of some rounds."""
    predictors = {name: load(path) for name, path in runs.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            predictor(sources)
            found[name].append(time.perf_counter() - began)
    return {name: round(statistics.median(each), 2) for name, each in found.items()}


def row(run: Path, equal_updates: int) -> dict[str, Any]:
    """What one run came to."""
    log = read_metrics(run / "metrics.jsonl")
    (start,), (final,) = ([each for each in log if each["type"] == kind] for kind in ("start", "final"))
    trained = [each for each in log if each["type"] == "train"]
    curve = {each["update"]: round(each["bleu"], 2) for each in records(run, "valid")}
    return {
        "bleu": round(final["bleu"], 2),
        "perplexity": round(final["perplexity"], 3),
        "updates": final["update"],
        "bleu_at_equal_tokens": curve[equal_updates],
        "tokens_per_second": round(statistics.median(each["tokens_per_second"] for each in trained)),
        "greedy_curve": curve,
        "commit": start["commit"],
        "seed": start["seed"],
        "first_losses": first_losses(log),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.variants", description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=VARIANTS, help="what differs")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of them, besides the first")
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of all of them, such as seed=2"
    )
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the runs go, and are found again")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    variants = VARIANTS[given.kind]
    names = [name for name in variants if not given.only or name in (next(iter(variants)), *given.only)]
    common = [*COMMON, f"train.minutes={given.minutes:g}", *given.set]
    recipes = {name: load_recipe(given.recipe, [*common, *variants[name]]) for name in names}
    sizes = check_sizes(recipes)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        train(recipes, folder, given.at_once)
        runs = {name: folder / name for name in names}
        equal = max(set.intersection(*({each["update"] for each in records(run, "valid")} for run in runs.values())))
        valid = TASKS[recipes[names[0]].task](recipes[names[0]]).prepare().valid
        seconds = decode_seconds(runs, [valid.source_text(i) for i in range(min(SENTENCES, len(valid)))])
        found = {name: {"parameters": sizes[name], **row(run, equal)} for name, run in runs.items()}
    report(given, equal, found, seconds, recipes)


def report(
    given: argparse.Namespace,
    equal: int,
    found: dict[str, dict[str, Any]],
    seconds: dict[str, float],
    recipes: dict[str, Recipe],
) -> None:
    after = f"after {given.minutes:g} min"
    table = Table(
        given.kind, f"BLEU {after}", f"at {equal:,} updates", "tokens/s", f"{SENTENCES} decoded, s", "parameters"
    )
    for name, one in found.items():
        one |= {"decode_seconds": seconds[name], "recipe_hash": recipes[name].hash()}
        cells = [f"{one['bleu']:.2f}", f"{one['bleu_at_equal_tokens']:.2f}", f"{one['tokens_per_second']:,}"]
        table.add_row(name, *cells, f"{seconds[name]:.1f}", f"{one['parameters']:,}")
    Console().print(table)
    if not given.no_write:
        summary = f"{given.kind} {after}: " + ", ".join(f"{name} {one['bleu']}" for name, one in found.items())
        content = {
            "summary": summary,
            "minutes": given.minutes,
            "equal_updates": equal,
            "common": COMMON,
            "found": found,
        }
        print(results.write(f"variants-{given.kind}", "variants", {**content, "set": given.set}))


if __name__ == "__main__":
    main()
