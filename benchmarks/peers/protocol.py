"""The worker's side of a race: JSON lines on stdin, an answer to each on stdout. Standard library only, because it runs
in the peers' environments.

    python -m benchmarks.peers.NAME --data FOLDER --size small [--option KEY=VALUE …]

    → {"ready": {"version": …, "parameters": …, "shape": {…}}}      once the model is built
    ← {"do": "train", "rows": [5, 8, …]}                            one update with these training sentences
    → {"seconds": 0.8, "tokens": 921}                               target pieces, end marks counted, padding not
    ← {"do": "decode", "rows": [0, 1, …], "beam": 5, "batch": 64}   test sentences, STEPS pieces each
    → {"seconds": 9.1, "sentences": 256, "steps": 20}
    ← {"do": "memory"}
    → {"peak_mib": 1172}                                            most memory ever resident
    → {"error": "RuntimeError: …"}                                  instead of an answer; the worker goes on

What a library prints goes to stderr, so that it cannot come between. The end of stdin ends the worker.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import IO, Any, Protocol
from unittest.mock import MagicMock

STEPS = 20
"""Decoder steps per sentence, forced: untrained models would end anywhere."""
DROPOUT, CLIP, LEARNING_RATE = 0.2, 1.0, 1e-3
"""Of all of them: Adam, float32, plain cross-entropy. A rate this small changes speed in no way."""


@dataclass(frozen=True)
class Size:
    """What a peer should be like; where it cannot, its `shape` says what it is instead."""

    embed: int
    encoder: int
    """of each direction"""
    decoder: int
    layers: int
    batch: int
    """sentences of a training batch"""


SIZES = {
    "tiny": Size(embed=16, encoder=32, decoder=32, layers=1, batch=4),
    "small": Size(embed=256, encoder=512, decoder=512, layers=1, batch=64),
    "large": Size(embed=512, encoder=512, decoder=1024, layers=2, batch=128),
}


@dataclass(frozen=True)
class Task:
    """What a worker is started with."""

    data: Path
    size: Size
    options: dict[str, str] = field(default_factory=dict)

    def ids(self, name: str) -> list[list[int]]:
        """Sentences of `train.src`, `train.tgt` or `test.src`: pieces 0 … pieces(side) − 1, without marks."""
        lines = (self.data / name).read_text(encoding="ascii").splitlines()
        return [[int(piece) for piece in line.split()] for line in lines]

    def pieces(self, side: str) -> int:
        """How many pieces `src` or `tgt` has; a worker adds its own marks to them."""
        found: dict[str, int] = json.loads((self.data / "pieces.json").read_text(encoding="ascii"))
        return found[side]


class Worker(Protocol):
    """What a script offers. `train` and `decode` are timed from outside."""

    def facts(self) -> dict[str, Any]:
        """version, parameters, tables (parameters of embeddings that are only looked up), shape (see `resize.py`)"""

    def train(self, rows: Sequence[int]) -> int:
        """One update, collating included; returns the target tokens."""

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        """Translate these test sentences, `batch` at a time, sorted by length first where the library does that (see
        `chunks`); beam 1 is greedy search. Returns the decoder's steps per sentence, which should be STEPS."""


def serve(build: Callable[[Task], Worker], arguments: Sequence[str] | None = None) -> None:
    """Build a worker from the command line and answer until stdin ends."""
    parser = argparse.ArgumentParser(description="A worker of benchmarks.race; see benchmarks/peers/README.md.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    options = dict(option.split("=", 1) for option in given.option)
    sys.argv[1:] = []  # libraries that read the command line themselves shall find nothing
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that the last line printed is the last word
    try:
        worker = build(Task(given.data, SIZES[given.size], options))
        say(replies, {"ready": worker.facts()})
    except Exception as error:
        say(replies, {"error": one_line(error)})
        raise
    for line in sys.stdin:
        try:
            say(replies, answer(worker, json.loads(line)))
        except Exception as error:
            say(replies, {"error": one_line(error)})


def say(replies: IO[str], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked, and time it. Garbage is collected before, so that no side pays for what came earlier."""
    do = request["do"]
    gc.collect()
    began = time.perf_counter()
    if do == "train":
        tokens = worker.train(request["rows"])
        return {"seconds": time.perf_counter() - began, "tokens": tokens}
    if do == "decode":
        steps = worker.decode(request["rows"], request["beam"], request["batch"])
        return {"seconds": time.perf_counter() - began, "sentences": len(request["rows"]), "steps": steps}
    if do == "memory":
        return {"peak_mib": peak_mib()}
    raise ValueError(f"do: {do!r} is not one of train, decode, memory")


def chunks(rows: Sequence[int], batch: int, sort: Callable[[int], int] | None = None) -> Iterator[list[int]]:
    """`batch` of the rows at a time, in the order given or in that of a key."""
    order = list(rows) if sort is None else sorted(rows, key=sort)
    for first in range(0, len(order), batch):
        yield order[first : first + batch]


def peak_mib() -> int:
    """The most memory this process ever had resident, in MiB. Where there is no /proc it may be what the race itself
    had, if that is more, since a new process begins with its parent's mark."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        import resource  # not on every system

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
    return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10)


def one_line(error: BaseException) -> str:
    """The error's type and the first line of what it says; of what a peer has not got, only what it says."""
    said = str(error).strip().splitlines()
    if said and type(error) is NotImplementedError:
        return said[0]
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def parameters(model: Any) -> int:
    """Numbers that training changes in a torch module, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def stand_in(*modules: str) -> None:
    """Let libraries import these modules without their being there: they are for what the race never does, such as
    drawing or scoring, and some are large."""
    for name in modules:
        if name not in sys.modules:
            module = MagicMock(name=name)
            module.__spec__, module.__path__, module.__version__ = ModuleSpec(name, None), [], "0"
            sys.modules[name] = module
