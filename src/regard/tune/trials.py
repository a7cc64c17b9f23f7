"""Trials under way: a process each, and what its run has said so far."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from regard.recipe import Recipe
from regard.train.runfolder import Run

LAST_WORDS = 300
"""Characters of what a failed training printed that are told."""


class Running:
    """One trial of a study, its training under way.

    trial     Optuna's
    folder    `<folder>/<number>` is the run, with the recipe and what was printed beside it
    """

    def __init__(self, trial: Any, recipe: Recipe, folder: Path, changes: list[str]) -> None:
        self.trial, self.changes = trial, changes
        self.run = Run(folder / f"{trial.number:04d}")
        self.output = self.run.path.with_suffix(".txt")
        self.reported = 0
        """validations that were told to the study"""
        self._values: list[float | None] = []
        self._read = 0
        self._asked_to_stop = False
        folder.mkdir(parents=True, exist_ok=True)
        recipe_file = self.run.path.with_suffix(".yaml")
        recipe_file.write_text(recipe.to_yaml(), encoding="utf-8")
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "regard.tune.worker", str(recipe_file), str(self.run.path)],
                stdin=subprocess.PIPE,  # held open: its end tells the worker that we are gone
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(recipe.train.threads or 1)},
                start_new_session=True,  # Ctrl-C is ours to pass on
            )

    def validations(self, metric: str) -> list[float | None]:
        """The metric's values so far; None where one was not finite."""
        path = self.run.path / "metrics.jsonl"
        if path.is_file():
            with open(path, "rb") as log:
                log.seek(self._read)
                lines = log.read()
            whole = lines[: lines.rfind(b"\n") + 1]
            self._read += len(whole)
            records = [json.loads(line) for line in whole.splitlines() if b'"type": "valid"' in line]
            self._values += [record.get(metric) for record in records]
        return self._values

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def value(self, metric: str) -> float | None:
        """The score of the finished training; None where it failed."""
        if self.process.returncode != 0 or self.run.status != "finished":
            return None
        return self.run.best.get(metric)

    def ask_to_stop(self) -> None:
        """Let it save itself. Only once: training takes a second signal for a wish to stop without that."""
        if not self._asked_to_stop and not self.ended:
            self.process.terminate()
        self._asked_to_stop = True

    def stop(self) -> None:
        """Ask it to save itself, and wait until it has ended."""
        self.ask_to_stop()
        try:
            self.process.wait()
        finally:
            with contextlib.suppress(OSError):
                if self.process.stdin is not None:
                    self.process.stdin.close()

    def last_words(self) -> str:
        """How a training that failed has ended: by which signal, or with what it printed last."""
        code = self.process.returncode
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        lines = self.output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][-LAST_WORDS:] if lines else f"exit status {code}"
