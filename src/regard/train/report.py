"""What a trainer tells: to metrics.jsonl, to the display, and, where a loss is no number, to the user."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.data.batches import Indices
from regard.errors import RegardError
from regard.train.checkpoint import newest_update
from regard.train.config import TrainConfig
from regard.train.display import Display, duration, scores
from regard.train.log import EVERY_UPDATE, MetricsLog
from regard.train.machine import memory_mib
from regard.train.schedule import share_done
from regard.train.state import State, Sums


class Reporter:
    """Keeps the clock and the speedometer of a run; changes nothing in it but the sums it has told."""

    def __init__(self, config: TrainConfig, display: Display, batches: int, began: float) -> None:
        self.config, self.display, self.batches = config, display, batches
        self.began = began
        self.log: MetricsLog | None = None  # rank 0 has one
        self._since, self._tokens = time.monotonic(), 0
        self._first: tuple[float, float] | None = None  # time and share done, when first shown

    @property
    def seconds(self) -> float:
        """Wall-clock of the run so far, over all resumes."""
        return time.monotonic() - self.began

    def updated(self, state: State, sums: Sums, *, epoch: int, rate: float, norm: float) -> None:
        """After an update of pass number `epoch`: count it, and tell what is due."""
        self._tokens += sums.tokens
        state.window.add(sums)
        state.pass_sums.add(sums)
        ended = state.batch == 0
        if state.update <= EVERY_UPDATE or state.update % self.config.log_every == 0 or ended:
            report, speed = state.window.report(), self._speed()
            rates = {"learning_rate": rate, "gradient_norm": norm, "tokens_per_second": round(speed)}
            self.write("train", state, epoch=epoch, **report, **rates)
            state.window = Sums()
            self._show(state, report, speed)
        if ended:
            self.write("epoch", state, epoch=epoch, **state.pass_sums.report())
            state.pass_sums = Sums()

    def validated(self, state: State, found: Mapping[str, float], metric: str, *, best: bool, took: float) -> None:
        """After a validation, which is no part of the training speed."""
        self.write("valid", state, epoch=state.epoch, **found, best=best, took_seconds=round(took, 2))
        self.display.best = f"best {metric} {state.best[metric]:.2f}"
        star = " · best so far" if best else ""
        self.display.line(f"update {state.update:,} · validation: {scores(found)} ({duration(took)}){star}")
        self._since, self._tokens = time.monotonic(), 0

    def evaluating(self, state: State) -> None:
        """Training is over."""
        spent, best = duration(state.seconds), f"{state.best_update:,}"
        self.display.line(f"training is over ({state.ended}) after {spent}; evaluating update {best} in full")

    def evaluated(self, state: State, found: Mapping[str, float], *, took: float) -> None:
        """After the final evaluation."""
        values = {"best_update": state.best_update, "took_seconds": round(took, 2)}
        self.write("final", state, epoch=state.epoch, **found, **values)
        approximate = "".join(f"; {what}" for what in self.config.approximations)
        self.display.line(f"final: {scores(found)} ({duration(took)}){approximate}")

    def write(self, kind: str, state: State, **values: Any) -> None:
        """One record of the log."""
        if self.log is not None:
            when = {"seconds": round(self.seconds, 2), "memory_mib": round(memory_mib())}
            self.log.write(kind, update=state.update, **values, **when)

    def _speed(self) -> float:
        """Target tokens per second since the last record or validation."""
        now = time.monotonic()
        speed = self._tokens / max(now - self._since, 1e-9)
        self._since, self._tokens = now, 0
        return speed

    def _show(self, state: State, report: Mapping[str, Any], speed: float) -> None:
        done = share_done(self.config, state.update, state.epoch + state.batch / self.batches)
        began, done_then = self._first = self._first or (self.seconds, done)
        left = (self.seconds - began) / (done - done_then) * (1 - done) if done > done_then else None
        if self.config.minutes is not None:
            limit = max(0.0, 60 * self.config.minutes - self.seconds)
            left = limit if left is None else min(left, limit)
        self.display.update(
            done=done,
            epoch=state.epoch,
            update=state.update,
            loss=report["loss"],
            speed=speed,
            padding=report["padding"]["target"],
            left=left,
        )


def not_finite(
    pairs: Any, group: Sequence[Indices], losses: Sequence[float], norm: float, state: State, run: Path
) -> RegardError:
    """The sentence for a loss or gradient that is not a number: which update, batch and examples."""
    bad = [place for place, loss in enumerate(losses) if not math.isfinite(loss)]
    what = f"the loss is {losses[bad[0]]}" if bad else f"the norm of the gradient is {norm}"
    batches = ", ".join(str(state.batch + place) for place in (bad or range(len(group))))
    indices = [int(i) for place in (bad or range(len(group))) for i in group[place]]
    texts = "; ".join(repr(pairs.source_text(i)[:80]) for i in indices[:3])
    saved = newest_update(run / "checkpoint")
    kept = "no checkpoint was written yet" if saved is None else f"{run} keeps its checkpoint of update {saved}"
    return RegardError(
        f"{what} at update {state.update + 1} (epoch {state.epoch + 1}, batch {batches}, training examples "
        f"{_some(indices)}, such as {texts}); {kept}: look at those examples, or train with a lower "
        f"train.learning_rate or train.clip in another run folder."
    )


def _some(numbers: Sequence[int]) -> str:
    """`3, 17, 20 and 41 more`."""
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
