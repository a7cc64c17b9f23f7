"""An environment for each peer, made when it is first needed: its Python packages, pinned, in a folder of its own.

torch and numpy lie once in an environment `torch` that all others look into: one torch for every racer, and 6 GB less.
It also comes first, since left to themselves some peers would bring another torch, with gigabytes for a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TORCH = ("torch==2.13.0", "numpy==2.4.6")
PLACE = Path("~/.cache/regard/peers")
"""Where the environments are, unless told otherwise."""
LONGEST = 3600
"""Seconds for one step."""


@dataclass(frozen=True)
class Needs:
    """What a peer's environment holds besides torch."""

    plain: tuple[str, ...] = ()
    """installed first, with all that they need"""
    bare: tuple[str, ...] = ()
    """installed without what they say they need, because that is wrong, or far more than is used"""
    build: bool = False
    """`bare` is built here, with `plain`'s tools and our torch"""
    environment: tuple[str, ...] = ()
    """variables that are 1 while it is installed"""


class InstallFailed(Exception):
    """One sentence why there is no environment."""


def ensure(name: str, needs: Needs, root: Path, tell: Callable[[str], None] = print) -> Path:
    """The interpreter of NAME's environment, which is made, or completed where its pins have changed."""
    root = root.expanduser()
    shared = _ensure("torch", list(TORCH), None, root, tell)
    return shared if name == "torch" else _ensure(name, needs, shared, root, tell)


def _ensure(name: str, needs: Needs | list[str], shared: Path | None, root: Path, tell: Callable[[str], None]) -> Path:
    place = root / name
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = place / "installed.json"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = json.dumps(
        {"python": version, "torch": TORCH, "needs": needs if isinstance(needs, list) else asdict(needs)}
    )
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    tell(f"{name}: making its environment (once)")
    place.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    run(name, [sys.executable, "-m", "venv", "--without-pip", str(place)])
    if shared is not None:
        (packages_of(name, python) / "torch.pth").write_text(f"{packages_of(name, shared)}\n", encoding="utf-8")
    for arguments in commands(needs):
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *arguments]
        run(name, pip, () if isinstance(needs, list) else needs.environment)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def packages_of(name: str, python: Path) -> Path:
    """Where an environment's packages are."""
    return Path(run(name, [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())


def commands(needs: Needs | list[str]) -> list[list[str]]:
    """What pip is asked to install, in order. torch stands in each line that could replace it."""
    if isinstance(needs, list):
        return [needs]
    found = [[*TORCH, *needs.plain]] if needs.plain else []
    if needs.bare:
        found.append(["--no-deps", *(["--no-build-isolation"] if needs.build else []), *needs.bare])
    return found


def run(name: str, command: list[str], variables: Sequence[str] = ()) -> str:
    """Run a step of an installation; the reason where it fails is the first error that it prints."""
    environment = {**os.environ, **dict.fromkeys(("PIP_DISABLE_PIP_VERSION_CHECK", *variables), "1")}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONGEST, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"{name} was not installed: {error}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.upper().startswith("ERROR")] or lines[-1:] or ["no reason given"]
        raise InstallFailed(f"{name} was not installed: {errors[0].removeprefix('ERROR: ')}")
    return done.stdout
