"""Checkpoints and run folders: whole or absent, checked when read, safe from a full disk and a second writer."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.errors import RegardError
from regard.train import files
from regard.train.checkpoint import load_checkpoint, save_checkpoint
from regard.train.loop import Trainer
from regard.train.runfolder import Run

Make = Callable[..., Trainer]
TENSORS = {"a": torch.arange(6.0).view(2, 3), "step": torch.tensor(3.0)}


def test_saves_and_loads_exactly(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", 12, TENSORS, {"state": {"x": 0.1 + 0.2}})
    found = load_checkpoint(tmp_path / "c")
    assert found is not None
    tensors, state = found
    assert state["state"]["x"] == 0.1 + 0.2 and state["update"] == 12
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_keeps_the_newest(tmp_path: Path) -> None:
    for update in (5, 10, 15):
        save_checkpoint(tmp_path / "c", update, TENSORS, {}, keep=2)
    assert sorted(os.listdir(tmp_path / "c")) == ["00000010", "00000015"]
    assert load_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("spoil", ["truncate", "flip", "swap", "json", "version", "pickle"])
def test_damage_is_one_sentence(tmp_path: Path, spoil: str) -> None:
    path = save_checkpoint(tmp_path / "c", 5, TENSORS, {})
    weights, record = path / "state.safetensors", path / "state.json"
    content = weights.read_bytes()
    if spoil == "truncate":
        weights.write_bytes(content[:-8])
    elif spoil == "flip":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif spoil == "swap":
        other = save_checkpoint(tmp_path / "d", 6, {"a": TENSORS["a"] + 1}, {})
        weights.write_bytes((other / "state.safetensors").read_bytes())
    elif spoil == "json":
        record.write_text(record.read_text()[:20])
    elif spoil == "version":
        record.write_text(json.dumps({**json.loads(record.read_text()), "format": 99}))
    else:
        weights.write_bytes(pickle.dumps(print))
    with pytest.raises(RegardError, match=r"00000005.*remove the folder") as caught:
        load_checkpoint(tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "c", 5, TENSORS, {})
    writes = 0

    def full(descriptor: int) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegardError, match=r"no space left on the disk; what was complete is kept"):
        save_checkpoint(tmp_path / "c", 10, TENSORS, {})
    monkeypatch.undo()
    assert os.listdir(tmp_path / "c") == ["00000005"]
    assert load_checkpoint(tmp_path / "c") is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_log_on_a_full_disk() -> None:
    from regard.train.log import MetricsLog

    log = MetricsLog.__new__(MetricsLog)
    log.path = Path("/dev/full")
    log._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(RegardError, match="no space left"):
        log.write("train", loss=1.0)
    log.close()


def test_a_full_disk_in_training_resumes_from_before(
    tmp_path: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trainer(tmp_path / "run", save_every=3)
    write = files.write_synced

    def full(path: Path, content: bytes) -> None:
        if first.state.update >= 6:
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_synced", full)
    with pytest.raises(RegardError, match="no space left"):
        first.run_to_end()
    monkeypatch.undo()
    assert trainer(tmp_path / "run").state.update == 3
    assert not [n for n in os.listdir(tmp_path / "run" / "checkpoint") if n.endswith(".tmp")]


def test_leftovers_of_a_killed_writer_go_with_the_next_lock(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with run.locked():
        run.write_info(status="training")
        save_checkpoint(run.path / "checkpoint", 5, TENSORS, {})
    (run.path / "checkpoint" / ".00000010.77.tmp").mkdir()
    (run.path / ".run.json.77.tmp").write_text("{")
    (run.path / ".notes.77.tmp").write_text("not ours")
    with run.locked():
        assert os.listdir(run.path / "checkpoint") == ["00000005"]
        assert sorted(os.listdir(run.path)) == [".notes.77.tmp", "checkpoint", "lock", "run.json"]


@pytest.mark.parametrize("name", ["thesis.doc", "lock", "recipe.yaml", "checkpoint"])
def test_a_refused_folder_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / ".draft.tmp").write_text("mine too")
    with pytest.raises(RegardError, match=rf"holds '{name}' and is no run"), Run(tmp_path).locked(b"task: translate"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([".draft.tmp", name])
    assert (tmp_path / name).read_text() == "mine"


def test_what_a_killed_start_left_becomes_a_run(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711\n")
    (tmp_path / "recipe.yaml").write_bytes(b"task: translate")
    (tmp_path / ".run.json.4711.tmp").touch()
    with Run(tmp_path).locked(b"task: translate"):
        assert sorted(os.listdir(tmp_path)) == ["lock", "recipe.yaml"]


@pytest.mark.slow
def test_a_second_writer_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from regard.train.runfolder import Run\n"
        f"with Run({str(tmp_path / 'run')!r}).locked():\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        refusal = rf"another process is training this run \(process {holder.pid}\)"
        with pytest.raises(RegardError, match=refusal), Run(tmp_path / "run").locked():
            pass
        holder.kill()
    with Run(tmp_path / "run").locked():
        pass


def a_run(path: Path) -> Run:
    run = Run(path)
    path.mkdir()
    run.write_info(status="training")
    run.write_weights(TENSORS, best={"bleu": 31.0}, best_update=5)
    return run


def test_weights_come_back(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    assert torch.equal(run.weights()["a"], TENSORS["a"])
    assert run.best == {"bleu": 31.0} and run.status == "training"
    assert repr(run) == f"Run('{tmp_path}/run', status='training')"


def test_weights_are_readable_whenever_writing_them_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at each of the three steps of replacing them, twice over: a reader finds the old or the new ones."""
    from regard.train import runfolder

    run = a_run(tmp_path / "run")
    write = files.write_bytes
    for number in range(2, 8):
        new = {"a": TENSORS["a"] + number}
        for step in range(3):
            done = 0

            def dying(path: Path, content: bytes, step: int = step) -> None:
                nonlocal done
                if done == step:
                    raise KeyboardInterrupt
                done += 1
                write(path, content)

            monkeypatch.setattr(runfolder, "write_bytes", dying)
            with pytest.raises(KeyboardInterrupt):
                run.write_weights(new)
            assert run.weights()["a"][0, 0].item() in (0.0, number - 1, number)
        monkeypatch.undo()
        run.write_weights(new)
        assert len(run.info["weights_sha256"]) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "weights.safetensors").unlink(), "the file is missing"),
        (lambda p: os.truncate(p / "weights.safetensors", 40), "truncated or changed"),
        (lambda p: (p / "run.json").unlink(), "no run.json"),
        (lambda p: (p / "run.json").write_text("[1]"), "a JSON object was expected"),
        (lambda p: (p / "run.json").write_text('{"format": 2}'), "format 2, and this Regard reads up to 1"),
        (lambda p: (p / "run.json").write_text('{"format": 1}'), "no weights yet"),
        (lambda p: (p / "run.json").write_text("{}"), "no format version"),
    ],
)
def test_a_damaged_run_is_one_sentence(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    run = a_run(tmp_path / "run")
    spoil(run.path)
    with pytest.raises(RegardError, match=message):
        run.weights()
    with pytest.raises(RegardError, match="no such run folder"):
        Run(tmp_path / "nothing").weights()
