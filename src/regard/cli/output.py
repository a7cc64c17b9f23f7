"""Where commands write: results to standard output or to a file that is whole or absent, progress to people."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from regard.errors import RegardError


@contextlib.contextmanager
def writing(path: Path | None) -> Iterator[IO[str]]:
    """A text file under a temporary name, renamed when all went well; None: standard output. `.gz` is packed.

    UTF-8 with LF at line ends, on every system. A device such as /dev/null is written to as it is.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        return
    if path.is_dir():
        raise RegardError(f"{path}: a folder, expected the name of a file to write.")
    if not path.parent.is_dir():
        raise RegardError(f"{path}: the folder {path.parent} does not exist; make it first.")
    if path.exists() and not path.is_file():
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _sigterm_raises(), _opened(temporary, packed=path.suffix == ".gz") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (str(temporary), None):
            raise
        raise RegardError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, so that the temporary file goes away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _opened(path: Path, *, packed: bool) -> IO[str]:
    if packed:
        return cast(IO[str], gzip.open(path, "wt", encoding="utf-8", newline="\n"))
    return open(path, "w", encoding="utf-8", newline="\n")


@contextlib.contextmanager
def counter(what: str, *, total: int | None = None, shown: bool = True) -> Iterator[Callable[[int], None] | None]:
    """A live count of sentences on standard error, if that is a terminal; yields what to call with how many more.

    shown   False where results go to the same terminal
    """
    if not sys.stderr.isatty() or (not shown and sys.stdout.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [TextColumn(what), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("sentences")]
    speed = TaskProgressColumn(show_speed=True)
    console = Console(stderr=True)
    with Progress(*columns, speed, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
