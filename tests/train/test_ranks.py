"""Several processes: which GPU each has, and how they talk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from regard.errors import RegardError
from regard.train import ranks
from regard.train.ranks import join, own_device

CUDA = torch.device("cuda")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two GPUs; the devices that torch was told to use."""
    found: list[torch.device] = []
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    return found


def place(monkeypatch: pytest.MonkeyPatch, rank: int, size: int, local: int, here: int) -> None:
    """What torchrun tells a process."""
    names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": here}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))


def test_one_process_has_what_the_recipe_says(chosen: list[torch.device]) -> None:
    for name in ("cpu", "cuda", "cuda:1"):
        assert own_device(torch.device(name), 1) == torch.device(name)
    assert own_device(torch.device("cpu"), 8) == torch.device("cpu")
    assert chosen == []


def test_each_process_has_a_gpu_of_its_own(chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(own_device(CUDA, 2)) == "cuda:0"  # rank 0 starts the others
    place(monkeypatch, 1, 2, 1, 2)
    assert str(own_device(CUDA, 2)) == "cuda:1"
    place(monkeypatch, 3, 4, 1, 2)  # on the second of two machines
    assert str(own_device(CUDA, 1)) == "cuda:1"
    assert list(map(str, chosen)) == ["cuda:0", "cuda:1", "cuda:1"]


def test_too_few_gpus_are_one_sentence(chosen: list[torch.device]) -> None:
    message = r"train.processes: 3 processes on this machine need a GPU each, and torch sees 2: set train.processes=2"
    with pytest.raises(RegardError, match=message):
        own_device(CUDA, 3)
    with pytest.raises(RegardError, match=r"train.device: cuda:1 is one GPU, and there are several processes"):
        own_device(torch.device("cuda:1"), 2)
    assert chosen == []


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_small_sums_travel_over_the_cpu(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch, device: str, backend: str
) -> None:
    asked = []

    def begin(name: str, **_: Any) -> None:
        asked.append(name)

    place(monkeypatch, 1, 2, 1, 2)
    fake = SimpleNamespace(init_process_group=begin, destroy_process_group=lambda: None)
    monkeypatch.setattr(ranks, "dist", fake)
    with join(2, Path("recipe.yaml"), Path("run"), torch.device(device)) as found:
        assert (found.rank, found.size) == (1, 2)
    assert asked == [backend]


def test_a_worker_that_dies_before_it_arrives_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    dead = [sys.executable, "-c", "raise SystemExit(1)"]
    monkeypatch.setattr(ranks, "_start_worker", lambda *_: subprocess.Popen(dead))
    with (
        pytest.raises(RegardError, match="another process of this run ended before training began"),
        join(2, Path("recipe.yaml"), Path("run"), torch.device("cpu")),
    ):
        pass
    assert not torch.distributed.is_initialized()
