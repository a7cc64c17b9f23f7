"""`regard write RUN [TEXT] [KEY=VALUE]…`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from regard.cli.options import Device, Runs, SearchKeys, Threads


def command(
    run: Runs,
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="How the text begins; default: with nothing.")] = "",
    overrides: SearchKeys = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Go on from a text, letter by letter as it is written: a sample, another one for each search.seed.

    \b
    search.max_length    tokens in all, the beginning included
    search.temperature   below 1 more careful, above 1 bolder
    search.top_k, search.top_p, search.method=greedy, search.no_repeat_ngram
    """
    from regard.cli.evaluate import open_run
    from regard.errors import RegardError

    if "=" in text and text.startswith(("search.", "model.cache=", "model.cache.")):
        text, overrides = "", [text, *(overrides or [])]
    if words := [each for each in overrides or [] if "=" not in each]:
        raise RegardError(f"{' '.join(words)}: a text is one argument, so put quotes around it.")
    predictor = open_run(run, overrides or [], device, threads)
    if not predictor.task.continues:
        raise RegardError(f"{run}: task {predictor.recipe.task} answers texts: use `regard predict`.")
    method = predictor.recipe.search.method
    pieces = predictor.as_written(text, method="greedy" if method == "greedy" else "sample", n_best=1)
    sys.stdout.write(text)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
