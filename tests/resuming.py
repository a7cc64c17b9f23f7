"""A training that is stopped and goes on ends where it would have."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import regard
from regard.recipe import Recipe
from regard.train.log import read_metrics
from regard.train.loop import Trainer
from regard.train.signals import Interrupted

LINES = [
    "the lower tower, the lowest flower",
    "a newer and wider river",
    "slower showers < powers.",
    "lower newest",
] * 3


def small_recipe(folder: Path, task: str = "translate", **train: object) -> Recipe:
    """Twelve lines by BPE, whose translation ends in another letter."""
    for name, lines in (("train", LINES), ("valid", LINES[:2])):
        for side in ("a", "b"):
            (folder / f"{name}.{side}").write_text("\n".join(line + side for line in lines) + "\n")
    split = {
        name: {"source": str(folder / f"{name}.a"), "target": str(folder / f"{name}.b")} for name in ("train", "valid")
    }
    text = {"tokenizer": "bpe", "vocab": 300}
    return Recipe.from_dict(
        {
            "task": task,
            "data": {**split, "source": text, "target": text, "cache": str(folder / "cache")},
            "model": {"embed": 8, "encoder": {"hidden": 8}, "decoder": {"hidden": 8}, "attention": {"dim": 8}},
            "train": {"epochs": 4, "batch_tokens": 120, "threads": 1, "log_every": 1, **train},
        }
    )


def check_resumes(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[float, int]]:
    """Stopped in the third epoch and resumed, it has the weights and the log of a run that was not;
    returns loss and tokens of every update."""
    whole = regard.train(recipe, folder / "whole")
    stopped: list[int] = []
    after = Trainer._after_update

    def stop(trainer: Trainer) -> bool:
        if trainer.state.epoch == 2 and trainer.state.batch == 1:
            trainer.stop.number = signal.SIGTERM
            stopped.append(trainer.state.update)
        return after(trainer)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Trainer, "_after_update", stop)
        regard.train(recipe, folder / "parts")
    parts = regard.train(recipe, folder / "parts")
    assert stopped and parts.info["weights_sha256"] == whole.info["weights_sha256"]
    logs = [read_metrics(folder / name / "metrics.jsonl") for name in ("whole", "parts")]
    seen = [{line["update"]: (line["loss"], line["tokens"]) for line in log if line["type"] == "train"} for log in logs]
    assert seen[0] == seen[1]
    return seen[0]
