"""Progress for people: a live line at a terminal, a sparse line otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from regard.train.machine import memory_mib

QUIET_SECONDS = 60.0
"""Without a terminal, time between lines of progress: enough to see life in a log file, few enough to read."""


class Display:
    """Says what training does; knows nothing of how.

    display = Display(console)
    with display:
        display.update(done=0.25, epoch=3, update=120, loss=2.31, speed=4100.0)
        display.line("validation: BLEU 31.2")
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.best = ""
        self._live: Progress | None = None
        self._bar: TaskID | None = None
        self._last = time.monotonic() - QUIET_SECONDS
        if self.console.is_terminal and not self.console.quiet:
            self._live = Progress(
                BarColumn(bar_width=20),
                TextColumn("{task.percentage:3.0f}%"),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self.console,
                refresh_per_second=4,
            )

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
            self._bar = self._live.add_task("starting", total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def update(
        self,
        *,
        done: float,
        epoch: int,
        update: int,
        loss: float,
        speed: float,
        padding: float,
        left: float | None,
    ) -> None:
        """Progress after an update: `done` from 0 to 1, `speed` in target tokens/s, `left` in seconds."""
        if not self._live and time.monotonic() - self._last < QUIET_SECONDS:
            return
        self._last = time.monotonic()
        parts = [
            f"epoch {epoch + 1}",
            f"update {update:,}",
            f"loss {loss:.3f}",
            *([self.best] if self.best else []),
            f"{speed:,.0f} tokens/s",
            f"padding {padding:.1%}",
            f"{memory_mib():,.0f} MiB",
            *([f"{duration(left)} left"] if left is not None else []),
        ]
        text = " · ".join(parts)
        if self._live and self._bar is not None:
            self._live.update(self._bar, completed=done, description=text)
        else:
            self.line(f"{done:4.0%} · {text}")


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`.

    >>> duration(200)
    '3 min 20 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def scores(values: Mapping[str, float]) -> str:
    """`bleu 31.20 · perplexity 9.83`."""
    return " · ".join(f"{name} {value:.2f}" for name, value in values.items())
