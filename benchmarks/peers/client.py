"""The race's side of a worker: start it, ask, and turn whatever goes wrong into one sentence."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, cast

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 900.0
"""No single answer takes so long; a worker that is silent for longer counts as hung."""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB", "TF", "RAYON")} | {
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}


class PeerFailed(Exception):
    """One sentence why a racer cannot go on."""


class Client:
    """A worker process.

    with Client("fairseq", [python, "-m", "benchmarks.peers.fairseq", …]) as worker:
        worker.facts["parameters"]
        worker.ask(do="train", rows=[1, 2, 3])["seconds"]
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.name, self.patience_seconds = name, patience_seconds
        self._said = tempfile.TemporaryFile()  # noqa: SIM115, lives as long as the worker
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**inherited, **ONE_THREAD, **(environment or {})},
                cwd=REPOSITORY,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._said.close()
            raise PeerFailed(f"{name} could not be started: {error}") from None
        try:
            self.facts = cast("dict[str, Any]", self._receive("start")["ready"])
        except BaseException:
            self.close()
            raise

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended(request["do"]) from None
        return self._receive(request["do"])

    def _receive(self, during: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self.patience_seconds)[0]:
            raise PeerFailed(f"{self.name} did not answer within {self.patience_seconds:g} seconds ({during}).")
        line = self._process.stdout.readline()
        if not line:
            raise self._ended(during)
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            raise PeerFailed(f"{self.name} answered {line.strip()[:80]!r}, no JSON ({during}).") from None
        if "error" in message:
            raise PeerFailed(f"{self.name} failed ({during}): {message['error']}")
        return message

    def _ended(self, during: str) -> PeerFailed:
        """The worker is gone: say how, with the last line that it printed."""
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines else ""
        return PeerFailed(f"{self.name} ended with status {status} ({during}){last}")

    def close(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._said):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
