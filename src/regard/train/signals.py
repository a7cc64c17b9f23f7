"""Ctrl-C and SIGTERM as a request: finish the update, save, say how to resume."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved itself. The command line exits with `exit_code` (130 or 143)."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopRequest:
    """Within the block, the first signal only sets `number`; a second one, or any after `at_once()`, interrupts.

    Outside the main thread signals cannot be caught, and nothing changes.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._immediate = False
        self._before: dict[int, Any] = {}

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

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._immediate or self.number is not None:
            raise Interrupted(number, "stopped by a signal")
        self.number = number
