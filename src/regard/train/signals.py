"""Ctrl-C and SIGTERM: at once where nothing can be lost, else a request to finish the update, save, and stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 1.0
"""A signal so soon after one that interrupted is the same wish: it must not break the cleaning up."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal. The command line exits with `exit_code` (130 or 143).

    saved   the update after which training saved itself for this stop; None when it stopped at once
    """

    def __init__(self, number: int, message: str, *, saved: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
        self.saved = saved


class StopRequest:
    """Within the block a signal interrupts at once, but between `after_update()` and `at_once()`, while updates are
    made: there the first one sets `number` and tells so, and only a second one interrupts.

    Outside the main thread signals cannot be caught, and nothing changes.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.number: int | None = None
        self._tell = tell
        self._telling: threading.Thread | None = None
        self._immediate = True
        self._interrupted = float("-inf")
        self._before: dict[int, Any] = {}

    def after_update(self) -> None:
        """From now on a signal waits for the end of the update."""
        self._immediate = False

    def at_once(self) -> None:
        """From now on nothing unsaved can be lost, so that a signal need not wait; one that came acts now."""
        self._immediate = True
        if self.number is not None:
            raise Interrupted(self.number, "stopped by a signal")

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._telling:
            self._telling.join()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._immediate or self.number is not None:
            if time.monotonic() - self._interrupted < AGAIN_SECONDS:
                return
            self._interrupted = time.monotonic()
            raise Interrupted(number, "stopped by a signal")
        self.number = number
        if self._tell:
            # Not here: the signal may have come within a print, which cannot be entered twice by one thread.
            text = ("finishing this update, then saving; again to stop at once",)
            self._telling = threading.Thread(target=self._tell, args=text, daemon=True)
            self._telling.start()


def ignore_signals() -> None:
    """For ranks other than 0, which go on until rank 0 says stop: Ctrl-C reaches all processes of a terminal."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
