"""`train(recipe) -> Run`: from a recipe to a run folder, new or resumed."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from regard.errors import RegardError
from regard.recipe import Recipe, difference, find_recipe, load_recipe
from regard.tasks import TASKS
from regard.train.checkpoint import newest_update
from regard.train.config import TrainConfig
from regard.train.display import Display, scores
from regard.train.files import json_bytes, write_bytes
from regard.train.fingerprint import check_data, data_fingerprint
from regard.train.log import MetricsLog
from regard.train.loop import Trainer
from regard.train.machine import describe, resolve_device, threads_for
from regard.train.optimise import freeze
from regard.train.ranks import Ranks, has_launcher, join, own_device
from regard.train.runfolder import Run
from regard.train.signals import Interrupted, StopRequest, ignore_signals
from regard.train.start import start_from
from regard.train.vectors import check_vectors, use_vectors


def train(
    recipe: Recipe | str | Path,
    run_dir: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Run:
    """Train, or resume where the run folder exists; returns the finished run.

        run = train("demo-cmudict", overrides=["train.minutes=3"])
        run.best                                          # scores of the final evaluation

    recipe      a Recipe, the name of one that Regard ships, or a path to YAML
    run_dir     default: runs/<the recipe's name> below the working directory
    overrides   `key=value`; only with a name or a path

    Ctrl-C and SIGTERM finish the update, save, say how to resume and raise Interrupted (a KeyboardInterrupt);
    before the first update, and when sent again, they stop at once.
    """
    began = time.monotonic()
    if not isinstance(recipe, Recipe):
        name, recipe = find_recipe(recipe).stem, load_recipe(recipe, overrides)
    else:
        assert not overrides, "overrides are for a recipe by name; make another Recipe instead"
        name = f"{recipe.task}-{recipe.hash()[:8]}"
    run = Run(run_dir or Path("runs") / name)
    main = not has_launcher() or os.environ.get("RANK", "0") == "0"
    if not main:
        ignore_signals()
    display = Display(console if main else Console(quiet=True))
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest(display.line)) if main else StopRequest()
        if main:
            stack.enter_context(run.locked(recipe.to_yaml().encode()))
            stack.enter_context(_leaving(run, display))
            if _finished(run, recipe):
                found = scores(run.best)
                display.line(f"{run.path} is finished: {found}. To train anew, choose another run folder.")
                return run
        stack.enter_context(_machine(recipe.train))
        device = own_device(resolve_device(recipe.train.device), recipe.train.processes)
        ranks = stack.enter_context(join(recipe.train.processes, run.path / "recipe.yaml", run.path, device))
        stack.enter_context(display)
        _train(recipe, run, device, display, stop, ranks, began)
    return run


def _finished(run: Run, recipe: Recipe) -> bool:
    """Whether nothing is left to do; begins a new run, and refuses one that was of another recipe."""
    recipe_file = run.path / "recipe.yaml"
    if not run.has_begun:
        run.begin(recipe.to_yaml().encode())
        return False
    changed = difference(run.recipe, recipe)
    if changed:
        raise RegardError(
            f"{run.path}: was begun with another recipe: {'; '.join(changed)}. Choose another run folder, or train "
            f"with the recipe in {recipe_file}."
        )
    if run.status == "finished":
        limit = recipe.train.minutes
        more = run.info.get("ended") == "minutes" and (limit is None or 60 * limit > run.info.get("seconds", 0.0))
        if not more:
            return True
    write_bytes(recipe_file, recipe.to_yaml().encode())
    return False


def _train(
    recipe: Recipe, run: Run, device: torch.device, display: Display, stop: StopRequest, ranks: Ranks, began: float
) -> None:
    """Prepare, build, resume where there is something to resume, and train to the end."""
    config, task = recipe.train, TASKS[recipe.task](recipe)
    resuming = newest_update(run.path / "checkpoint") is not None
    if ranks.main and not resuming:
        _check_start(recipe)
    if not ranks.main:
        ranks.wait()  # rank 0 fills the cache of prepared data, the others read it
    prepared = task.prepare()
    if ranks.main:
        _record_data(run, prepared)
        left_out = _left_out(prepared.report)
        if left_out:
            display.line(f"left out: {left_out}; see {run.path / 'data-report.json'}")
        ranks.wait()
    model = task.build(prepared.tokenizers)
    model.to(device, torch.float64 if config.precision == "float64" else torch.float32)
    start = {} if resuming else _start(model, config, prepared, display)
    freeze(model, config.frozen)
    trainer = Trainer(
        task,
        prepared,
        model,
        config,
        seed=recipe.seed,
        run=run,
        device=device,
        display=display,
        stop=stop,
        ranks=ranks,
        began=began,
    )
    log_bytes = trainer.resume(run.path / "checkpoint")
    if not ranks.main:
        trainer.run_to_end()
        return
    facts = _facts(recipe, model, device, ranks, trainer, start)
    trainer.report.log = MetricsLog(run.path / "metrics.jsonl", log_bytes or 0)
    try:
        if log_bytes is None:
            trainer.report.log.write("start", **facts)
            display.line(_headline(facts))
        else:
            _resume_message(trainer, display, facts)
            trainer.publish()
        final = trainer.run_to_end()
    finally:
        trainer.report.log.close()
    run.write_info(status="finished", final=final, ended=trainer.state.ended, seconds=round(trainer.state.seconds, 1))
    _draw(run, recipe)


def _record_data(run: Run, prepared: Any) -> None:
    """Keep tokenizers and data report with the run; refuse to resume on other data."""
    found = data_fingerprint(prepared)
    check_data(run.info.get("data"), found, run.path)
    for side, tokenizer in prepared.tokenizers.items():
        write_bytes(run.path / f"tokenizer-{side}.json", tokenizer.to_json().encode())
    write_bytes(run.path / "data-report.json", json_bytes(prepared.report))
    run.write_info(data=found, status="training")


def _left_out(report: Mapping[str, Any]) -> str:
    """`train: 2 bad lines, 1 over-long; valid: 1 bad line`, from a data report; empty where nothing was left out."""
    words = {
        **{"bad": "bad line{s}", "too_long": "over-long", "left_out_empty": "empty once cleaned"},
        "not_found": "whose answer is not in the passage",
    }
    parts = []
    for split, counts in report["splits"].items():
        found = [(counts[key], word) for key, word in words.items() if counts.get(key)]
        if found:
            told = (f"{count:,} {word.format(s='s' if count > 1 else '')}" for count, word in found)
            parts.append(f"{split}: {', '.join(told)}")
    return "; ".join(parts)


def _check_start(recipe: Recipe) -> None:
    """Refuse what `_start` could not read, before the work of preparing data."""
    if recipe.train.init_from:
        before = Run(recipe.train.init_from)
        before.weights()
        before.tokenizers()
    for path in (recipe.train.pretrained.source, recipe.train.pretrained.target):
        if path:
            check_vectors(Path(path), recipe.model.embed)


def _start(model: nn.Module, config: TrainConfig, prepared: Any, display: Display) -> dict[str, Any]:
    """Weights from another run, vectors from files; what was taken from them."""
    start: dict[str, Any] = {}
    if config.init_from:
        origin, told = Run(config.init_from), (config.init_parts, config.init_names)
        start["init_from"] = taken = start_from(origin, model, prepared.tokenizers, *told)
        rows = "".join(f", {count} rows of {name}" for name, count in taken["rows"].items())
        new = f"; new: {', '.join(taken['new'])}" if taken["new"] else ""
        display.line(f"from {config.init_from}: {len(taken['copied'])} tensors{rows}{new}")
    for side in ("source", "target"):
        path = getattr(config.pretrained, side)
        if path:
            start[f"vectors_{side}"] = found = use_vectors(model, side, path, prepared.tokenizers[side])
            display.line(f"{path}: vectors for {found['covered']:,} of {found['pieces']:,} {side} pieces")
    return start


def _facts(
    recipe: Recipe, model: nn.Module, device: torch.device, ranks: Ranks, trainer: Trainer, start: dict[str, Any]
) -> dict[str, Any]:
    """What a reader must know to judge the numbers that follow."""
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "recipe": recipe.hash(),
        "seed": recipe.seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "learning": learning,
        "examples": len(trainer.examples),
        "batches_per_epoch": trainer.batches,
        "threads": torch.get_num_threads(),
        "processes": ranks.size,
        "precision": recipe.train.precision,
        "approximate": recipe.train.approximations,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        **start,
        **describe(),
    }


def _headline(facts: dict[str, Any]) -> str:
    at = f" at {facts['commit']}" if facts["commit"] else ""
    machine = f"{facts['device']}, threads {facts['threads']}, processes {facts['processes']}"
    approximate = "".join(f" · approximate: {what}" for what in facts["approximate"])
    return (
        f"{facts['parameters']:,} parameters · {facts['examples']:,} examples in {facts['batches_per_epoch']:,} "
        f"batches · {machine}, {facts['precision']}, seed {facts['seed']} · regard {facts['regard']}{at}{approximate}"
    )


def _resume_message(trainer: Trainer, display: Display, facts: dict[str, Any]) -> None:
    """Say where training goes on, and whether on the machine that it was begun on."""
    began = next((r for r in trainer.run.metrics() if r["type"] == "start"), {})
    same = ("threads", "processes", "device", "processor", "versions")
    differs = {key: facts[key] for key in same if began.get(key) != facts[key]}
    assert trainer.report.log is not None
    trainer.report.log.write("resume", update=trainer.state.update, **differs)
    display.line(f"resuming {trainer.run.path} at update {trainer.state.update:,}")
    if differs:
        was = ", ".join(f"{key} {began.get(key)} → {value}" for key, value in differs.items())
        display.line(f"this is not the machine the run was begun on ({was}): weights will differ by rounding")


@contextlib.contextmanager
def _leaving(run: Run, display: Display) -> Iterator[None]:
    """After any failure remove a run that made no update; after a signal say what was kept and how to go on."""
    try:
        yield
    except Interrupted as interruption:
        run.abandon()
        message = _stopped(run, interruption.saved)
        display.line(message)
        raise Interrupted(interruption.exit_code - 128, message, saved=interruption.saved) from None
    except BaseException:
        run.abandon()
        raise


def _stopped(run: Run, saved: int | None) -> str:
    """What a signal left; marks the run where there is one."""
    if not run.has_updates:
        return "stopped before the first update; nothing was kept"
    if run.status == "training":
        run.write_info(status="interrupted")
    newest = newest_update(run.path / "checkpoint")
    again = f"regard train {shlex.quote(str(run.path / 'recipe.yaml'))} --run {shlex.quote(str(run.path))}"
    if newest is None:
        return f"stopped before the first checkpoint; to begin again: {again}"
    if saved == newest:
        return f"stopped; saved at update {newest:,}; to resume: {again}"
    return f"stopped; resume goes on from update {newest:,}: {again}"


def _draw(run: Run, recipe: Recipe) -> None:
    """The learning curves as a picture."""
    from regard.train.curves import learning_curves

    learning_curves(run.path / "metrics.jsonl", run.path / "curves.png", recipe.about.title or run.path.name)


@contextlib.contextmanager
def _machine(config: TrainConfig) -> Iterator[None]:
    """torch's threads and determinism as the recipe says; afterwards as they were."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads_for(config.threads, config.processes))
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
