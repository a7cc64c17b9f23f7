"""Trials under way: a process each, and what its run has said so far."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from regard.recipe import Recipe
from regard.train.log import read_metrics
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

    def validations(self, metric: str) -> list[float]:
        """The metric's values so far."""
        records = read_metrics(self.run.path / "metrics.jsonl")
        return [record[metric] for record in records if record["type"] == "valid" and record.get(metric) is not None]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def value(self, metric: str) -> float | None:
        """The score of the finished training; None where it failed."""
        if self.process.returncode != 0 or self.run.status != "finished":
            return None
        return self.run.best.get(metric)

    def stop(self) -> None:
        """Ask it to save itself and stop, and wait until it has."""
        if not self.ended:
            self.process.terminate()
        try:
            self.process.wait()
        finally:
            with contextlib.suppress(OSError):
                if self.process.stdin is not None:
                    self.process.stdin.close()

    def last_words(self) -> str:
        """The end of what a training that failed has printed."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][-LAST_WORDS:] if lines else f"exit status {self.process.returncode}"
