"""`train(recipe)` on a real task: the folder it leaves, resuming, refusing, several processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from rich.console import Console

import regard
from regard.errors import RegardError
from regard.recipe import Recipe
from regard.tasks import TASKS
from regard.train import Run, train
from regard.train.run import _left_out, _record_data

Make = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def _no_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a second: one test does it."""
    if request.function is not test_a_run_is_complete:
        monkeypatch.setattr("regard.train.run._draw", lambda *_: None)


def quiet() -> Console:
    return Console(file=StringIO(), width=300)


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def equal_weights(one: Run, other: Run) -> bool:
    a, b = one.weights(), other.weights()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_run_is_complete(tmp_path: Path, make: Make) -> None:
    console = quiet()
    run = regard.train(make(), tmp_path / "run", console=console)
    assert sorted(os.listdir(run.path)) == [
        "checkpoint", "curves.png", "data-report.json", "lock", "metrics.jsonl", "recipe.yaml", "run.json",
        "tokenizer-source.json", "tokenizer-target.json", "weights.safetensors",
    ]  # fmt: skip
    assert run.status == "finished" and {"wer", "cer", "perplexity", "accuracy"} <= run.best.keys()
    assert run.recipe == make() and run.tokenizers()["source"].size > 260
    start, *_, final = run.metrics()
    assert start["type"] == "start" and start["parameters"] > 1000 and start["threads"] == 1 and start["seed"] == 1
    assert final["type"] == "final" and final["wer"] == run.best["wer"]
    text = said(console)
    assert "parameters ·" in text and "validation: wer" in text and "final: wer" in text


def test_a_finished_run_is_left_alone(tmp_path: Path, make: Make) -> None:
    run = train(make(train={"epochs": 1}), tmp_path / "run", console=quiet())
    before = {
        name: (run.path / name).stat().st_mtime_ns for name in ("run.json", "weights.safetensors", "metrics.jsonl")
    }
    console = quiet()
    train(make(train={"epochs": 1}), tmp_path / "run", console=console)
    assert "is finished" in said(console)
    assert before == {name: (run.path / name).stat().st_mtime_ns for name in before}


def test_another_recipe_is_refused_and_says_what_changed(tmp_path: Path, make: Make) -> None:
    train(make(train={"epochs": 1}), tmp_path / "run", console=quiet())
    with pytest.raises(RegardError, match=r"another recipe: train.epochs was 1, is 2; train.clip was 1.0, is 0.5\."):
        train(make(train={"clip": 0.5}), tmp_path / "run", console=quiet())


def test_a_start_killed_while_preparing_binds_nobody(tmp_path: Path, make: Make) -> None:
    first, file = make(train={"epochs": 1, "clip": 0.5}), tmp_path / "train.tsv"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(first.to_yaml())
    begin(first, tmp_path / "run")
    file.write_text(file.read_text() + "to\tot\n")
    other = make(train={"epochs": 1})
    run = train(other, tmp_path / "run", console=quiet())
    assert run.recipe == other and run.status == "finished"


@pytest.mark.parametrize(
    ("name", "was", "now", "message"),
    [
        ("train", "to\tot", "to\tto", "the training data is not what"),  # same lengths, same letters
        ("train", "to\tot", "to\tot\nto\tot", "the training data is not what"),
        ("valid", "to\tot", "to\tto", "the validation data is not what"),
        ("valid", "to\tot", "to \tot", "the validation data is not what"),  # cleaned, its ids are the same
    ],
)
def test_other_data_is_refused(tmp_path: Path, make: Make, name: str, was: str, now: str, message: str) -> None:
    recipe, file = make(), tmp_path / f"{name}.tsv"
    file.write_text(f"{was}\n{file.read_text()}")
    begin(recipe, tmp_path / "run")
    begin(recipe, tmp_path / "run")
    file.write_text(file.read_text().replace(was, now, 1))
    with pytest.raises(RegardError, match=message):
        begin(recipe, tmp_path / "run")


def begin(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Prepare the data and record it, as a training does before it builds a model; what run.json then says."""
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    run.write_info(status="training")
    _record_data(run, TASKS[recipe.task](recipe).prepare())
    return run.info


def test_examples_left_out_are_told(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, path, console = make(), tmp_path / "run", quiet()
    monkeypatch.setattr("regard.train.run._facts", lambda *_: 1 / 0)  # what follows is not this test's
    file = tmp_path / "train.tsv"
    file.write_text(f"a\nb\n{'no' * 400}\tno\n{file.read_text()}")
    with pytest.raises(ZeroDivisionError):
        train(recipe, path, console=console)
    assert said(console) == f"left out: train: 2 bad lines, 1 over-long; see {path / 'data-report.json'}\n"


def test_what_was_left_out_of_each_split() -> None:
    none = {"bad": 0, "too_long": 0, "left_out_empty": 0, "examples": 9}
    some = {**none, "bad": 1, "left_out_empty": 2000}
    assert _left_out({"splits": {"train": none, "valid": none}}) == ""
    told = "train: 1 bad line, 2,000 empty once cleaned; test: 1 bad line"
    assert _left_out({"splits": {"train": some, "valid": none, "test": {**none, "bad": 1}}}) == told


def test_a_folder_of_something_else_is_refused(tmp_path: Path, make: Make) -> None:
    with pytest.raises(RegardError, match=r"holds '.*' and is no run"):
        train(make(), tmp_path, console=quiet())
    assert not (tmp_path / "run.json").exists()


def test_a_recipe_in_the_run_folder_is_never_lost(tmp_path: Path, make: Make) -> None:
    """A recipe that its user wrote there is refused; the very file that a run would write may stay."""
    recipe, folder = make(), tmp_path / "exp"
    folder.mkdir()
    file = folder / "recipe.yaml"
    mine = "# mine\n" + recipe.to_yaml()
    file.write_text(mine)
    with pytest.raises(RegardError, match=r"holds 'recipe.yaml' and is no run"):
        train(file, folder, console=quiet())
    assert os.listdir(folder) == ["recipe.yaml"] and file.read_text() == mine
    file.write_bytes(recipe.to_yaml().encode())
    (tmp_path / "train.tsv").rename(tmp_path / "away.tsv")
    with pytest.raises(RegardError, match="no such file"):
        train(file, folder, console=quiet())
    assert os.listdir(folder) == ["recipe.yaml"]


def test_an_empty_folder_of_the_user_stays(tmp_path: Path, make: Make) -> None:
    recipe = make()
    (tmp_path / "train.tsv").rename(tmp_path / "away.tsv")
    (tmp_path / "mine").mkdir()
    with pytest.raises(RegardError, match="no such file"):
        train(recipe, tmp_path / "mine", console=quiet())
    assert os.listdir(tmp_path / "mine") == []


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path: Path, make: Make) -> None:
    recipe = make()
    (tmp_path / "train.tsv").rename(tmp_path / "away.tsv")
    with pytest.raises(RegardError, match="no such file"):
        train(recipe, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".keep").touch()
    with pytest.raises(RegardError, match="no such file"):
        train(recipe, tmp_path / "mine", console=quiet())
    assert os.listdir(tmp_path / "mine") == [".keep"]


@pytest.mark.slow
def test_more_minutes_go_on_where_the_limit_was(tmp_path: Path, make: Make) -> None:
    limited = train(make(train={"minutes": 1e-6}), tmp_path / "run", console=quiet())
    assert limited.status == "finished" and limited.info["ended"] == "minutes" and limited.info["update"] == 1
    console = quiet()
    train(make(), tmp_path / "run", console=console)
    assert "resuming" in said(console)
    whole = train(make(), tmp_path / "whole", console=quiet())
    assert limited.info["ended"] == "epochs" and equal_weights(limited, whole)


@pytest.mark.slow
def test_fine_tuning(tmp_path: Path, make: Make) -> None:
    old = train(make(), tmp_path / "old", console=quiet())
    console = quiet()
    again = {"init_from": str(old.path), "epochs": 1, "frozen": ["encoder.*"]}
    new = train(make(train=again), tmp_path / "new", console=console)
    assert "tensors, " in said(console) and "rows of source_embedding.weight" in said(console)
    one, other = old.weights(), new.weights()
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed and not any(name.startswith("encoder.") for name in changed)
    start = new.metrics()[0]
    assert start["learning"] < start["parameters"] and start["init_from"]["new"] == []


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"init_from": "nowhere"}, "nowhere: no such run folder"),
        ({"pretrained": {"target": "nowhere.vec"}}, "nowhere.vec: cannot be read"),
    ],
)
def test_a_start_that_cannot_be_read_is_refused_before_data_is_prepared(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, start: dict[str, Any], message: str
) -> None:
    prepared: list[str] = []
    monkeypatch.setattr("regard.tasks.text.prepare", lambda *_, **__: prepared.append("too early"))
    with pytest.raises(RegardError, match=message):
        train(make(train=start), tmp_path / "run", console=quiet())
    assert not prepared and not (tmp_path / "run").exists()


BREEDER = """
import os, sys
import regard.train.run
import torch._dynamo  # torch's optimisers import it when they are made, for two seconds
from rich.console import Console
from regard.recipe import load_recipe
regard.train.run._draw = lambda *_: None
for line in sys.stdin:  # each line starts a process that trains, and costs no imports
    child = os.fork()
    if child == 0:
        regard.train.run.train(load_recipe(sys.argv[1]), sys.argv[2], console=Console(quiet=True))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.slow
def test_kill_minus_nine_at_random_moments(tmp_path: Path, make: Make) -> None:
    """Moments drawn by time, so anywhere: preparing, updating, writing, evaluating."""
    recipe = make(train={"epochs": 6, "save_every": 2, "validate_every": 5, "ema": 0.9})
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    whole = train(recipe, tmp_path / "whole", console=quiet())
    run, kills, status, random = Run(tmp_path / "killed"), 0, "", Random(1)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", BREEDER, str(file), str(run.path)], text=True, **pipes) as breeder:
        assert breeder.stdin is not None and breeder.stdout is not None
        while status != "0":
            before = update_of(run)
            breeder.stdin.write("\n")
            breeder.stdin.flush()
            child = int(breeder.stdout.readline())
            while kills < 10 and update_of(run) <= before and run.status != "finished":
                time.sleep(0.001)
            if kills < 10 and run.status != "finished":
                time.sleep(random.random() * 0.2)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    kills += 1
            status = breeder.stdout.readline().strip()
            assert status in ("0", "9")
        breeder.stdin.close()
    assert kills >= 5
    assert run.status == "finished" and equal_weights(run, whole)
    updates = [record["update"] for record in run.metrics() if record["type"] == "train"]
    assert updates == [record["update"] for record in whole.metrics() if record["type"] == "train"]


def update_of(run: Run) -> int:
    """Of its newest checkpoint."""
    return int(run.info.get("update", 0)) if (run.path / "run.json").is_file() else 0


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_twice_the_batches(tmp_path: Path, make: Make) -> None:
    one = train(make(train={"accumulate": 2, "precision": "float64"}), tmp_path / "one", console=quiet())
    two = train(make(train={"processes": 2, "precision": "float64"}), tmp_path / "two", console=quiet())
    assert two.metrics()[0]["processes"] == 2
    losses = [[r["loss"] for r in run.metrics() if r["type"] == "train"] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    for name, value in one.weights().items():
        torch.testing.assert_close(two.weights()[name], value, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_a_dead_worker_ends_the_run_with_a_sentence(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regard.train import optimise, ranks

    workers: list[subprocess.Popen[bytes]] = []
    begin, step = ranks._start_worker, optimise.Optimiser.step

    def starting(*args: Any) -> subprocess.Popen[bytes]:
        workers.append(begin(*args))
        return workers[-1]

    def stepping(self: Any, *args: Any) -> None:
        step(self, *args)
        workers[0].kill()

    monkeypatch.setattr(ranks, "_start_worker", starting)
    monkeypatch.setattr(optimise.Optimiser, "step", stepping)
    with pytest.raises(RegardError, match=r"train.processes: another process of this run ended"):
        train(make(train={"processes": 2}), tmp_path / "run", console=quiet())
    assert not torch.distributed.is_initialized()
