"""Ctrl-C and SIGTERM: what is kept, and what is said about it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from regard.recipe import Recipe
from regard.train import Run, train
from regard.train.signals import Interrupted, StopRequest

Make = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a second, and is tested elsewhere."""
    monkeypatch.setattr("regard.train.run._draw", lambda *_: None)


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from regard.train import optimise

    step, calls = optimise.Optimiser.step, []

    def interrupting(self: Any, *args: Any) -> None:
        calls.append(1)
        step(self, *args)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optimise.Optimiser, "step", interrupting)
    console = Console(file=StringIO(), width=300)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        train(make(), tmp_path / "run", console=console)
    assert caught.value.exit_code == 130 and signal.getsignal(signal.SIGINT) is before
    path = tmp_path / "run"
    assert "finishing this update, then saving; again to stop at once" in console.file.getvalue()
    assert f"saved at update 3; to resume: regard train {path / 'recipe.yaml'} --run {path}" in console.file.getvalue()
    run = Run(path)
    assert run.status == "interrupted" and run.info["update"] == 3
    train(run.recipe, path, console=Console(quiet=True))
    whole = train(make(), tmp_path / "whole", console=Console(quiet=True)).weights()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in run.weights().items())


def test_a_signal_before_the_first_update_acts_at_once(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regard.train.run._facts", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    console = Console(file=StringIO(), width=300)
    with pytest.raises(Interrupted, match="stopped before the first update; nothing was kept") as caught:
        train(make(), tmp_path / "run", console=console)
    assert caught.value.exit_code == 143
    assert console.file.getvalue().endswith("stopped before the first update; nothing was kept\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("update", "message"),
    [(3, "stopped before the first checkpoint; to begin again: "), (6, "stopped; resume goes on from update 4: ")],
)
def test_a_second_signal_stops_without_saving(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, update: int, message: str
) -> None:
    from regard.train import optimise

    step, calls = optimise.Optimiser.step, []

    def interrupting(self: Any, *args: Any) -> None:
        calls.append(1)
        step(self, *args)
        if len(calls) == update:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optimise.Optimiser, "step", interrupting)
    console = Console(file=StringIO(), width=300)
    with pytest.raises(Interrupted, match=message):
        train(make(), tmp_path / "run", console=console)
    assert console.file.getvalue().count("saved") == 0 and message in console.file.getvalue()
    assert Run(tmp_path / "run").status == "interrupted"


def test_signals_in_quick_succession_leave_the_cleaning_up_alone() -> None:
    with StopRequest() as stop:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same wish
        assert stop.number is None
