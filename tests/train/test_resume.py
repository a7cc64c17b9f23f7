"""A run stopped anywhere and resumed is the run never stopped, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.errors import RegardError
from regard.train.log import read_metrics
from regard.train.loop import Trainer
from regard.train.signals import Interrupted
from regard.train.weights import model_tensors

Make = Callable[..., Trainer]
KEYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9, "accumulate": 2},
    "last": {"average_last": 3, "validate_every": 4},
    "cosine": {"schedule": "cosine", "updates": 50, "epochs": None},
}


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def kill_at(trainer: Trainer, update: int) -> None:
    """Let the trainer die within the update after `update`."""
    step = trainer.optimiser.step

    def dying(*args: Any) -> None:
        step(*args)
        if trainer.state.update == update:
            raise Killed

    trainer.optimiser.step = dying  # type: ignore[method-assign]


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The log without what a clock or the machine says."""
    clock = ("seconds", "took_seconds", "tokens_per_second", "memory_mib")
    return [{k: v for k, v in record.items() if k not in clock} for record in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_killed_run_ends_like_one_never_stopped(tmp_path: Path, trainer: Make, keys: dict[str, Any]) -> None:
    whole = trainer(tmp_path / "whole", **keys)
    scores = whole.run_to_end()
    for update in (0, 3, 7, 8, 20, 25, 39):
        again = trainer(tmp_path / "killed", **keys)
        kill_at(again, update)
        if again.state.update <= update < whole.state.update:
            with pytest.raises(Killed):
                again.run_to_end()
        again.report.log.close()
    again = trainer(tmp_path / "killed", **keys)
    assert 0 < again.state.update < whole.state.update
    assert again.run_to_end() == scores
    for name, value in model_tensors(whole.model).items():
        assert torch.equal(value, model_tensors(again.model)[name]), name
    for name, value in whole.optimiser.tensors().items():
        assert torch.equal(value, again.optimiser.tensors()[name]), name
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "killed")
    assert whole.run.weights().keys() == again.run.weights().keys()
    for name, value in whole.run.weights().items():
        assert torch.equal(value, again.run.weights()[name]), name


def test_request_to_stop_saves_after_the_update(tmp_path: Path, trainer: Make) -> None:
    asked = trainer(tmp_path / "run", save_every=0)
    step = asked.optimiser.step

    def ask(*args: Any) -> None:
        step(*args)
        if asked.state.update == 4:
            asked.stop.number = 15

    asked.optimiser.step = ask  # type: ignore[method-assign]
    with pytest.raises(Interrupted) as caught:
        asked.run_to_end()
    assert caught.value.exit_code == 143
    resumed = trainer(tmp_path / "run", save_every=0)
    assert resumed.state.update == 5
    resumed.run_to_end()
    whole = trainer(tmp_path / "whole")
    whole.run_to_end()
    for name, value in model_tensors(whole.model).items():
        assert torch.equal(value, model_tensors(resumed.model)[name]), name


def test_final_evaluation_is_resumed_too(tmp_path: Path, trainer: Make) -> None:
    first = trainer(tmp_path / "run", epochs=1)
    first.stop.number = None
    first._finish = lambda: {}  # type: ignore[method-assign]  # dies between the last checkpoint and the evaluation
    first.run_to_end()
    second = trainer(tmp_path / "run", epochs=1)
    assert second.state.ended == "epochs"
    assert second.run_to_end()["perplexity"] < 12


def test_time_limit_ends_cleanly_and_changes_no_update(tmp_path: Path, trainer: Make) -> None:
    limited = trainer(tmp_path / "limited", minutes=1.0)
    slow = limited.optimiser.step

    def clock(*args: Any) -> None:
        slow(*args)
        if limited.state.update == 9:
            limited.report.began -= 60

    limited.optimiser.step = clock  # type: ignore[method-assign]
    scores = limited.run_to_end()
    assert limited.state.ended == "minutes" and limited.state.update == 10
    records = read_metrics(tmp_path / "limited" / "metrics.jsonl")
    assert [r["type"] for r in records[-2:]] == ["valid", "final"] and records[-1]["perplexity"] == scores["perplexity"]
    whole = trainer(tmp_path / "whole")
    whole.run_to_end()
    losses = [
        [r["loss"] for r in read_metrics(tmp_path / n / "metrics.jsonl") if r["type"] == "train"]
        for n in ("limited", "whole")
    ]
    assert losses[0] == losses[1][:10] and len(losses[0]) == 10


def limit_at(trainer: Trainer, update: int) -> None:
    """Let the time limit of one minute be over after this update."""
    step = trainer.optimiser.step

    def clock(*args: Any) -> None:
        step(*args)
        if trainer.state.update == update - 1:
            trainer.report.began -= 60

    trainer.optimiser.step = clock  # type: ignore[method-assign]


SCORES = [9.0, 8.0, 8.5, 7.0, 7.5, 7.4, 6.0, 5.0]
"""Of the validations at updates 4, 8, …: patience 2 ends the run at 24, one validation more or less would not."""


@pytest.mark.parametrize("update", [2, 6, 10, 24])
def test_more_time_makes_it_the_run_never_stopped(tmp_path: Path, trainer: Make, copy_task: Any, update: int) -> None:
    keys = {"average_last": 2, "patience": 2, "validate_every": 4, "epochs": 9}
    whole = trainer(tmp_path / "whole", copy_task(values=iter(SCORES)), **keys)
    scores = whole.run_to_end()
    assert (whole.state.ended, whole.state.update, whole.state.best_update) == ("patience", 24, 16)
    limited = trainer(tmp_path / "run", copy_task(values=iter([*SCORES[: update // 4], 1.0])), minutes=1.0, **keys)
    limit_at(limited, update)
    limited.run_to_end()
    limited.run.write_info(status="finished")
    assert limited.state.ended == ("patience" if update == 24 else "minutes") and limited.state.update == update
    best = {"perplexity": 1.0} if update % 4 else {}
    assert best.items() <= limited.run.best.items()  # what the limited run gives is its own best
    again = trainer(tmp_path / "run", copy_task(values=iter(SCORES[update // 4 :])), **keys)
    again.publish()
    assert again.run_to_end() == scores
    assert (again.state.best, again.state.best_update) == (whole.state.best, whole.state.best_update)
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "run")
    for name, value in whole.run.weights().items():
        assert torch.equal(value, again.run.weights()[name]), name


def test_a_limited_run_killed_at_its_end_makes_no_further_update(tmp_path: Path, trainer: Make) -> None:
    first = trainer(tmp_path / "run", minutes=1.0)
    limit_at(first, 10)
    first._finish = lambda: {}  # type: ignore[method-assign]  # dies after the last checkpoint
    first.run_to_end()
    second = trainer(tmp_path / "run", minutes=1.0)
    assert second.run_to_end()["perplexity"] < 12
    assert (second.state.ended, second.state.update, second.run.info["best_update"]) == ("minutes", 10, 10)
    assert [r["type"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl")[-2:]] == ["valid", "final"]


def test_unknown_metric_is_told_before_training(tmp_path: Path, trainer: Make) -> None:
    with pytest.raises(RegardError, match=r"train.metric: this task reports perplexity, accuracy, found 'bleu'"):
        trainer(tmp_path / "run", metric="bleu")
