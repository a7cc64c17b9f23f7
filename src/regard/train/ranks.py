"""Several processes that share each update's batches: sums over torch.distributed, and starting the others.

Rank r takes every `size`-th batch of an update. Gradients are summed in one flat buffer, and since the loss was
divided by the count of tokens of all ranks, n processes do what one does with `train.accumulate` n times as
large, to rounding. Only rank 0 writes files and talks.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from regard.errors import RegardError

PATIENCE = timedelta(hours=6)
"""How long ranks wait for each other: rank 0 alone validates and, at the end, decodes with a wide beam."""


START = timedelta(minutes=5)
"""How long a worker waits for rank 0 to be reached."""

OUR_PORT = "REGARD_STORE_PORT"
"""Environment variable of workers: where rank 0 listens."""


class PeerLost(RegardError):
    """Another process of the run has ended."""


class Ranks:
    """This process's place among `size`; with one process every call does nothing."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over ranks."""
        if self.size == 1:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.reshape(-1) for g in grads])
        self._guard(flat)
        offset = 0
        for parameter in parameters:
            parameter.grad = flat[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    def sum(self, values: Tensor) -> Tensor:
        """Sum a small tensor over ranks, in place."""
        if self.size > 1:
            self._guard(values)
        return values

    def decide(self, *values: bool) -> tuple[bool, ...]:
        """What rank 0 says."""
        if self.size == 1:
            return values
        return tuple(map(bool, self.sum(torch.tensor([value and self.main for value in values]).int()).tolist()))

    def wait(self) -> None:
        """Until every rank is here."""
        self.decide(True)

    def _guard(self, values: Tensor) -> None:
        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise PeerLost(
                f"train.processes: another process of this run ended ({reason[:120]}); its message is above. Train "
                f"again to resume."
            ) from None


@contextlib.contextmanager
def join(processes: int, recipe: Path, run: Path, device: torch.device) -> Iterator[Ranks]:
    """Become one of `processes` ranks: those that torchrun started, or, as rank 0, with workers started here.

    recipe, run   given to the workers, which read the recipe again
    """
    # What rank 0 decides travels as a CPU tensor, also where gradients are on GPUs.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if has_launcher():
        store = None
        if OUR_PORT in os.environ:
            store = dist.TCPStore("127.0.0.1", int(os.environ[OUR_PORT]), is_master=False, timeout=START)
            store.set(f"arrived {os.environ['RANK']}", "")
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        try:
            yield Ranks(rank, size)
        finally:
            dist.destroy_process_group()
    elif processes == 1:
        yield Ranks()
    else:
        store = dist.TCPStore("127.0.0.1", 0, processes, is_master=True, wait_for_workers=False)
        workers = [_start_worker(rank, processes, store.port, recipe, run) for rank in range(1, processes)]
        try:
            _meet(store, workers)
            dist.init_process_group(backend, store=store, rank=0, world_size=processes, timeout=PATIENCE)
            yield Ranks(0, processes)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
            _end(workers)


def own_device(device: torch.device, processes: int) -> torch.device:
    """The device of this process: with several processes on GPUs each has its own, by its place on this machine."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes)) if has_launcher() else processes
    if device.type != "cuda" or (here == 1 and not has_launcher()):
        return device
    count = torch.cuda.device_count()
    if device.index is not None:
        raise RegardError(f"train.device: {device} is one GPU, and there are several processes: set it to cuda.")
    if here > count:
        raise RegardError(
            f"train.processes: {here} processes on this machine need a GPU each, and torch sees {count}: set "
            f"train.processes={count}, or train.device=cpu."
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if has_launcher() else 0)
    torch.cuda.set_device(device)
    return device


def has_launcher() -> bool:
    """Whether torchrun, or rank 0 of a run, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def _start_worker(rank: int, size: int, port: int, recipe: Path, run: Path) -> subprocess.Popen[bytes]:
    """The same program once more; it fails where rank 0 is gone, so that no process is left over."""
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "WORLD_SIZE": str(size),
        OUR_PORT: str(port),
    }
    command = [sys.executable, "-m", "regard.train.worker", str(recipe), str(run)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def _meet(store: dist.Store, workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until all workers are there. torch itself would wait for a dead one, deaf to signals, for `PATIENCE`."""
    arrived = [f"arrived {rank}" for rank in range(1, len(workers) + 1)]
    while not store.check(arrived):
        if any(worker.poll() is not None for worker in workers):
            raise PeerLost(
                "train.processes: another process of this run ended before training began; its message is above. Train "
                "again, or with train.processes=1."
            )
        time.sleep(0.02)


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Workers end by themselves with rank 0; those that do not in 10 seconds are killed."""
    for worker in workers:
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
