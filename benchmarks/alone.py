"""A function in a process of its own, with a limit to its time and memory: what it cost, or why it was given up.

The processes are forked from a server that has loaded the libraries and computed nothing, so that the memory of one
measurement is never another's.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

REPEATS, ENOUGH_SECONDS = 5, 1.0


def alone(function: Callable[..., Any], *arguments: Any, seconds: float, gib: float, load: tuple[str, ...] = ()) -> Any:
    """What the function answers, or a string: why it has no answer.

    load    modules besides the function's own that the server loads once, so that no process has to
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, *load])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, gib, function, *arguments))
    process.start()
    sender.close()
    try:
        answer = receiver.recv() if receiver.poll(seconds) else f"takes more than {seconds:g} s"
    except EOFError:
        answer = "killed by the system"
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _child(sender: Connection, gib: float, function: Callable[..., Any], *arguments: Any) -> None:
    torch.set_num_threads(1)
    limit = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        sender.send(function(*arguments))
    except (RuntimeError, MemoryError) as error:
        lacking = isinstance(error, MemoryError) or "allocate memory" in str(error)
        sender.send(f"needs more than {gib:g} GiB" if lacking else RuntimeError(str(error)))


def spent(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of a step, the fastest of up to five, and by how many MiB it raised the process's peak.

    Whatever the step needs only once should have been done before: on a short input.
    """
    before, times = _peak(), list[float]()
    while not times or (len(times) < REPEATS and sum(times) < ENOUGH_SECONDS):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"ms": round(1000 * min(times), 2), "mib": round((_peak() - before) / 1024, 1)}


def _peak() -> int:
    """KiB of memory that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
