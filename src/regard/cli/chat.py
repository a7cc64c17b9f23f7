"""`regard chat RUN [KEY=VALUE]…`"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from regard.cli.options import Device, Runs, SearchKeys, Threads

if TYPE_CHECKING:
    from regard.predict.predictor import Predictor

PROMPT = "> "
AGAIN = "/new"


def command(
    run: Runs,
    overrides: SearchKeys = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Talk with a run of task reply. Each line is a turn; the run knows as many turns as it was trained with.

    \b
    /new     forget what was said
    Ctrl-D   end

    Greedy search and sampling are shown as they are written. With search.method=sample another search.seed is another
    conversation. Lines may come from a file: `regard chat RUN < turns.txt` answers each, and no prompt is shown.
    """
    from regard.cli.evaluate import open_run
    from regard.errors import RegardError

    predictor = open_run(run, overrides or [], device, threads)
    turns = predictor.recipe.data.source.turns
    if not predictor.task.converses or turns is None:
        use = "`regard write`" if predictor.task.continues else "`regard predict`"
        raise RegardError(f"{run}: task {predictor.recipe.task} holds no conversations: use {use}.")
    history: deque[str] = deque(maxlen=turns)
    for number, line in enumerate(_lines()):
        said = " ".join(line.split())
        if said == AGAIN:
            history.clear()
        elif said:
            history.append(said)
            history.append(_answer(predictor, list(history), number))


def _lines() -> Iterator[str]:
    """What is typed, after a prompt and with what the terminal's own editing can do, or what is read."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 - its presence is what makes `input` edit
        while True:
            try:
                yield input(PROMPT)
            except EOFError:
                print()
                return
    stream = getattr(sys.stdin, "buffer", None)  # bytes, so that no line is beyond reading
    yield from (line.decode("utf-8", "replace") for line in stream) if stream else sys.stdin


def _answer(predictor: Predictor, history: list[str], number: int) -> str:
    """Written as it is found, and given back."""
    text, reply = "\t".join(history), ""
    if predictor.recipe.search.method == "beam":
        pieces: Iterator[str] = iter(predictor([text], first=number))
    else:
        pieces = predictor.as_written(text, number=number, n_best=1)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        reply += piece
    sys.stdout.write("\n")
    return reply
