"""The machine: cores, memory in use, versions; what a log must say for its numbers to mean anything."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import regard
from regard.ops import native


def threads_for(threads: int | None, processes: int) -> int:
    """What `train.threads` means here: itself, else OMP_NUM_THREADS, else physical cores shared by the processes."""
    if threads is not None:
        return threads
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else max(1, physical_cores() // processes)


@cache
def physical_cores() -> int:
    """Physical cores that this process may use: two hyper-threads of one core share its multipliers."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            cores.add(((topology / "physical_package_id").read_text(), (topology / "core_id").read_text()))
        except OSError:
            return len(allowed)
    return len(cores)


def memory_mib() -> float:
    """Memory this process holds now (resident set), in MiB; its peak where the system does not say, 0 on Windows."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def resolve_device(wanted: str) -> torch.device:
    """What `train.device` means here."""
    from regard.errors import RegardError

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cpu":
        return torch.device("cpu")
    named = re.fullmatch(r"cuda(?::(\d{1,3}))?", wanted)
    if not named:
        raise RegardError(f"train.device: no device {wanted!r}; use auto, cpu, cuda or cuda:1.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise RegardError(f"train.device: {wanted}, but torch sees no GPU here; use auto or cpu.")
    if named[1] and int(named[1]) >= count:
        raise RegardError(f"train.device: {wanted}, but torch sees {count} here, the last is cuda:{count - 1}.")
    return torch.device(wanted)


def describe() -> dict[str, Any]:
    """Versions, processor and, in a git checkout, the commit."""
    versions = {}
    for name in ("torch", "numpy", "tokenizers", "sacrebleu"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    if native.version():
        versions["kernels"] = str(native.version())
    return {
        "regard": regard.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": physical_cores(),
    }


def commit() -> str | None:
    """The commit of the checkout that regard runs from, `+` after it when files differ; None outside one."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
