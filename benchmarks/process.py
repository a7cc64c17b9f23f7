"""Training in a process of its own, watched from outside through what a run folder says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from regard.recipe import Recipe
from regard.train.log import read_metrics

POLL_SECONDS = 0.02


def start_training(
    recipe: Recipe, run: Path, *, output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`regard train RECIPE --run RUN`, what it prints appended to `output`; waits for nothing."""
    run.parent.mkdir(parents=True, exist_ok=True)
    recipe_file = run.with_name(run.name + ".yaml")
    recipe_file.write_text(recipe.to_yaml(), encoding="utf-8")
    return start_python(
        ["-c", "from regard.cli import main; main()", "train", str(recipe_file), "--run", str(run)],
        output=output,
        environment=environment,
    )


def start_python(
    arguments: list[str], *, output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Another Python with these arguments, from the repository's root."""
    with open(output, "ab") as file:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=Path(__file__).resolve().parents[1],
        )


def wait(process: subprocess.Popen[bytes], until: Callable[[], bool], poll_seconds: float = POLL_SECONDS) -> bool:
    """Wait until `until()` (True) or the end of the process (False), whichever is first."""
    while process.poll() is None:
        if until():
            return True
        time.sleep(poll_seconds)
    return False


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """The log's records of one type so far."""
    return [record for record in read_metrics(run / "metrics.jsonl") if record["type"] == kind]


def tail(path: Path, lines: int = 12) -> str:
    """The end of what a process printed."""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
