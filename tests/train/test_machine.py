"""The machine: which devices there are, and what other systems lack."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from regard.errors import RegardError
from regard.train import machine, runfolder
from regard.train.machine import memory_mib, resolve_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return monkeypatch


def test_devices_that_there_are(gpus: pytest.MonkeyPatch) -> None:
    assert [str(resolve_device(name)) for name in ("auto", "cpu", "cuda", "cuda:1")] == [
        "cuda",
        "cpu",
        "cuda",
        "cuda:1",
    ]
    gpus.setattr(torch.cuda, "is_available", lambda: False)
    assert str(resolve_device("auto")) == "cpu"


@pytest.mark.parametrize("name", ["mps", "xpu", "vulkan", "meta", "cuda:-1", "cuda:x", "cpu:3", "gpu", ""])
def test_other_devices_are_refused(gpus: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(RegardError, match=rf"train.device: no device '{name}'; use auto, cpu, cuda or cuda:1\."):
        resolve_device(name)


def test_a_gpu_that_is_not_there(gpus: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegardError, match=r"train.device: cuda:2, but torch sees 2 here, the last is cuda:1\."):
        resolve_device("cuda:2")
    gpus.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RegardError, match=r"train.device: cuda:0, but torch sees no GPU here"):
        resolve_device("cuda:0")


def test_memory_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_mib() > 10
    monkeypatch.setattr(machine, "Path", lambda _: Path("/nowhere"))
    assert memory_mib() > 10  # the peak
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory_mib() == 0


def test_on_windows_the_lock_is_one_byte_wherever_the_content_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = []

    def locking(descriptor: int, _mode: int, count: int) -> None:
        locked.append((os.lseek(descriptor, 0, os.SEEK_CUR), count))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    for content in ("", "4711\n"):
        (tmp_path / "lock").write_text(content)
        with runfolder.Run(tmp_path).locked():
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert locked == [(runfolder.LOCKED_BYTE, 1)] * 2
