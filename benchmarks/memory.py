"""Memory that a process and its children hold by themselves, watched from outside.

What counts is RssAnon: pages of memory that belong to no file. Memory-mapped data (RssFile) is the disk's cache,
which the system takes back when it needs it. A sampler in another process sees peaks that a thread would miss
while a library holds Python's lock.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import start_python, tail

SAMPLE_SECONDS = 0.02
PROC = Path("/proc")


@dataclass
class Peak:
    """The most a process tree held, in bytes, and when."""

    anonymous: int = 0
    at_seconds: float = 0.0
    seconds: float = 0.0
    """how long it ran"""
    phases: dict[str, int] = field(default_factory=dict)
    """the peak within each phase, where the watcher was told how to name them"""


def rss_anon(status: str) -> int:
    """Bytes from the text of /proc/PID/status; 0 for a process that has ended and has no memory any more."""
    found = re.search(r"^RssAnon:\s*(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def tree(pid: int) -> Iterator[int]:
    """A process and its descendants; not a child that still has its parent's command line, because between fork and
    exec it has its parent's memory too."""
    yield pid
    for children in PROC.glob(f"{pid}/task/*/children"):
        for child in _read(children).split():
            if _read(PROC / child / "cmdline") != _read(PROC / str(pid) / "cmdline"):
                yield from tree(int(child))


def held(pid: int) -> int:
    """Anonymous bytes of a process tree now."""
    return sum(rss_anon(_read(PROC / str(each) / "status")) for each in tree(pid))


def _read(path: Path) -> str:
    """A file of /proc; empty when its process has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def peak_of(
    arguments: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    phase: Callable[[], str] | None = None,
    sample_seconds: float = SAMPLE_SECONDS,
) -> Peak:
    """Run Python with these arguments and watch it until it ends; an exit status other than 0 is an error.

    phase    asked at every sample: which part of its work the process is in
    """
    peak, began = Peak(), time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".txt") as output:
        process: Any = start_python(arguments, output=Path(output.name), environment=environment)
        try:
            while process.poll() is None:
                now, at = held(process.pid), time.monotonic() - began
                if now > peak.anonymous:
                    peak.anonymous, peak.at_seconds = now, round(at, 2)
                if phase is not None:
                    name = phase()
                    peak.phases[name] = max(now, peak.phases.get(name, 0))
                time.sleep(sample_seconds)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}:\n{tail(Path(output.name))}")
    peak.seconds = round(time.monotonic() - began, 2)
    return peak
