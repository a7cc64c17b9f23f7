"""metrics.jsonl: what happened, one JSON object a line, exactly once however often the run was interrupted.

Records: `start` (versions, machine, sizes), `resume`, `train` (each of the first 50 updates, then one every
`train.log_every`), `epoch`, `valid`, `final`. A checkpoint remembers the length of the file; resuming
cuts off what came after.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from regard.train.files import disk_error

EVERY_UPDATE = 50
"""The first updates have a line each: their losses are a run's fingerprint."""


class MetricsLog:
    """Appends records; `length` bytes are kept of an existing file."""

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        try:
            self._file = open(path, "ab")  # noqa: SIM115 - closed by close()
            self._file.truncate(min(length, os.path.getsize(path)))
        except OSError as error:
            raise disk_error(error, path) from error

    def write(self, kind: str, **values: Any) -> None:
        """Append one record; numbers that JSON cannot say (nan, infinity) become null."""
        line = json.dumps({"type": kind, **_plain(values)}, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self.path) from error

    def sync(self) -> int:
        """Wait until the disk has every record; the file's length in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_error(error, self.path) from error
        return os.path.getsize(self.path)

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a last line that is still being written is left out."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    return [json.loads(line) for line in lines[:-1] if line.startswith(b"{") and line.endswith(b"}")]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
