"""What each attention can do against length, and what it costs there: `python -m benchmarks.attention_tasks`.

Small models learn to copy and to look up (benchmarks/synthetic.py) from sources of up to 60 steps, and are asked
about sources of up to 2,000. They differ in one part of attention alone: same seed, same examples, same number of
updates. Then an update over a source of each length, alone in a process: milliseconds and memory. Then self-attention
over all that came before, over a window, and over what hashing finds alike: cost, and whether it can repeat what
followed earlier.

What is done is kept in runs/, so that a run that was stopped goes on where it was, if commit and settings are the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import learner, results
from benchmarks.alone import alone
from benchmarks.attention_tasks_picture import draw
from regard.model_config import ModelConfig

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "attention-tasks.png"
KEPT = ROOT / "runs" / "attention-tasks.jsonl"
LENGTHS = [50, 100, 200, 500, 1000, 2000]
SELF_LENGTHS = [1024, 4096, 16384]
LOADED = ("benchmarks.attention_tasks_picture", "rich.table", "torch._dynamo")
"""What a process that measures would load for itself: for this script, and for an optimizer's first step."""
INDUCTION_LENGTHS = [128, 256, 512, 1024]


class Kept:
    """Parts of the result, a line each in a file, as soon as they are known."""

    def __init__(self, path: Path, about: dict[str, Any], say: Callable[[str], None]) -> None:
        self.path, self.about, self.say = path, about, say
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("}")]  # the last may have been cut off
        self.known = {tuple(each["part"]): each["value"] for each in whole if each["about"] == about}

    def get(self, part: tuple[str, ...], find: Callable[[], Any]) -> Any:
        """What is known of a part; found now, if it is not."""
        if part not in self.known:
            began = time.perf_counter()
            self.known[part] = value = find()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"part": part, "about": self.about, "value": value}))
            self.say(f"{time.perf_counter() - began:6.1f} s  {' '.join(part)}: {value}")
        return self.known[part]


def tasks(kept: Kept, chosen: dict[str, ModelConfig], given: argparse.Namespace) -> dict[str, Any]:
    """Every model on every task: what it learned, and what it gets right by length."""
    found: dict[str, Any] = {}
    for task in ("copy", "lookup"):
        found[task] = {}
        for name, config in chosen.items():
            by_mode = kept.get((task, name), lambda t=task, c=config: in_every_mode(t, c, given))
            found[task] |= {name + mode: scores for mode, scores in by_mode.items()}
    return found


def in_every_mode(task: str, config: ModelConfig, given: argparse.Namespace) -> dict[str, Any]:
    """A model that is trained once and asked in each of its modes."""
    model, learned = learner.learn(task, config, given.updates or learner.UPDATES[task])
    return {
        mode: {**learned, **learner.accuracy(model, task, given.lengths, given.seconds)}
        for mode in learner.modes(model)
    }


def costs(
    kept: Kept, what: str, cases: dict[str, Callable[[int], Any]], lengths: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Milliseconds (the median of rounds) and MiB (the most) of each case by length, all cases in turn, or why not."""
    found: dict[str, dict[str, Any]] = {name: {} for name in cases}
    for turn in range(rounds):
        for steps in lengths:
            for name, case in cases.items():
                if any(isinstance(each, str) for each in found[name].values()):
                    continue  # a shorter one was too much already
                spent = kept.get((what, str(turn), str(steps), name), lambda c=case, n=steps: c(n))
                if isinstance(spent, str):
                    found[name][str(steps)] = spent
                else:
                    found[name].setdefault(str(steps), []).append(spent)
    return {name: {steps: _middle(spent) for steps, spent in each.items()} for name, each in found.items()}


def _middle(spent: Any) -> Any:
    if isinstance(spent, str):
        return spent
    return {
        "ms": round(statistics.median(each["ms"] for each in spent), 2),
        "mib": max(each["mib"] for each in spent),
        "ms_of_rounds": [each["ms"] for each in spent],
    }


def measure(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """All of the result but what it is called."""
    groups = {group: names for group, names in learner.models().items()}
    every = {name: config for names in groups.values() for name, config in names.items()}
    chosen = {name: config for name, config in every.items() if name in (given.attentions or every)}
    limits = {"seconds": given.seconds, "gib": given.gib}
    how = {**limits, "load": LOADED}
    settings = {
        "updates": {task: given.updates or updates for task, updates in learner.UPDATES.items()},
        "batch": learner.BATCH,
        "training_steps": learner.SPAN,
        "seed": learner.TRAINING,
        "lengths": given.lengths,
        "self_lengths": given.self_lengths,
        "rows_of_cost": given.rows,
        "limits": limits,
        "hidden": learner.HIDDEN,
        "embed": learner.EMBED,
        "threads": 1,
    }
    facts = results.facts()
    about = {**settings, "commit": facts["commit"], "dirty": facts["dirty"]}
    kept = Kept(given.kept, json.loads(json.dumps(about)), say)
    found = tasks(kept, chosen, given)
    updates = {
        name: lambda steps, c=config: alone(learner.update_cost, c, given.rows, steps, **how)
        for name, config in chosen.items()
    }
    layers = {
        name: lambda steps, s=scope: alone(learner.self_cost, s, steps, **how) for name, scope in learner.SELF.items()
    }
    number = settings["updates"]["induction"]
    return {
        **settings,
        "rounds": given.rounds,
        "groups": {group: [name for name in names if name in chosen] for group, names in groups.items()},
        "tasks": found,
        "induction": {
            name: kept.get(("induction", name), lambda s=scope: learner.induce(s, number, INDUCTION_LENGTHS))
            for name, scope in learner.SELF.items()
        },
        "update": costs(kept, "update", updates, given.lengths, given.rounds),
        "self_attention": costs(kept, "self", layers, given.self_lengths, given.rounds),
    }


def show(result: dict[str, Any]) -> None:
    """Tables of all numbers."""
    lengths = [str(steps) for steps in result["lengths"]]
    for title, key in (("share of tokens", "tokens"), ("share of examples without a mistake", "sequences")):
        for task, scores in result["tasks"].items():
            table = Table("attention", "loss", *lengths, title=f"{task}: {title}")
            for name, score in scores.items():
                table.add_row(name, f"{score['loss']:.3f}", *(_number(score[key].get(steps)) for steps in lengths))
            Console().print(table)
    steps = [str(steps) for steps in asked_lengths(result["induction"])]
    table = Table("self-attention", "loss", *steps, title="induction: share of values")
    for name, score in result["induction"].items():
        table.add_row(name, f"{score['loss']:.3f}", *(_number(score["tokens"].get(each)) for each in steps))
    Console().print(table)
    for what, columns in (("update", lengths), ("self_attention", [str(each) for each in result["self_lengths"]])):
        table = Table("attention", *columns, title=f"{what}: ms / MiB")
        for name, spent in result[what].items():
            table.add_row(name, *(_cost(spent.get(each)) for each in columns))
        Console().print(table)


def asked_lengths(scores: dict[str, Any]) -> list[int]:
    """Lengths that any model was asked at."""
    return sorted({int(steps) for score in scores.values() for steps in score["tokens"]})


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cost(spent: Any) -> str:
    return f"{spent['ms']:,.0f} / {spent['mib']:,.0f}" if isinstance(spent, dict) else "–"


def summary(result: dict[str, Any]) -> str:
    """One line: who still copies best at the longest source, and who finds most."""
    said = []
    for task, scores in result["tasks"].items():
        last = str(result["lengths"][-1])
        name = max(scores, key=lambda name: scores[name]["tokens"].get(last, 0.0))
        said.append(f"{task} at {last} steps: {name} {scores[name]['tokens'].get(last, 0.0):.1%}")
    return "; ".join(said)


def options() -> argparse.ArgumentParser:
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention_tasks", description=about)
    names = [name for group in learner.models().values() for name in group]
    parser.add_argument("--updates", type=int, help=f"of every model (default: {learner.UPDATES})")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="source steps")
    parser.add_argument("--attentions", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--self-lengths", type=int, nargs="+", default=SELF_LENGTHS, help="steps of self-attention")
    parser.add_argument("--rows", type=int, default=2, help="sentences of the update that is timed (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each update is timed (default 3)")
    parser.add_argument("--seconds", type=float, default=120.0, help="longer measurements are given up (default 120)")
    parser.add_argument("--gib", type=float, default=8.0, help="as are larger ones (default 8)")
    parser.add_argument("--kept", type=Path, default=KEPT, help="file of what is done already (default: in runs/)")
    parser.add_argument("--folder", type=Path, default=results.FOLDER, help="for the result")
    parser.add_argument("--image", type=Path, default=PICTURE, help="file of the picture (default: in docs/images/)")
    parser.add_argument("--picture", type=Path, metavar="RESULT", help="draw a result that is there, and no more")
    parser.add_argument("--no-write", action="store_true", help="print only")
    return parser


def main() -> None:
    given = options().parse_args()
    if given.picture:
        print(draw(json.loads(given.picture.read_text(encoding="utf-8")), given.image))
        return
    torch.set_num_threads(1)
    result = measure(given, lambda line: print(line, flush=True))
    show(result)
    if not given.no_write:
        told = {"summary": summary(result), **result}
        path = results.write("attention-tasks", "attention", told, folder=given.folder)
        print(path)
        print(draw(json.loads(path.read_text(encoding="utf-8")), given.image))


if __name__ == "__main__":
    main()
