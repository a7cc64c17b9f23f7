"""`regard shortlist RUN [KEY=VALUE]…`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Where the training data is now: data.root, data.cache."),
    ] = None,
    common: Annotated[int, typer.Option(min=0, help="Pieces that every sentence may use: the most frequent.")] = 100,
    best: Annotated[int, typer.Option(min=1, help="Pieces that each piece of the source suggests.")] = 50,
) -> None:
    """Learn from a run's training data which words each source word suggests.

    With it `regard predict --shortlist` scores some hundred words of a sentence
    rather than the whole vocabulary. An approximation: compare the scores with
    `regard evaluate RUN --data valid` and the same with --shortlist.
    """
    from rich.console import Console

    from regard.decode.shortlist import FILE
    from regard.predict.shortlist import make_shortlist

    found = make_shortlist(run, common=common, best=best, overrides=overrides or ())
    Console().print(
        f"{run / FILE}: {common:,} common words, and {best:,} for each of {len(found.best):,} source pieces, out of "
        f"{found.target_vocab:,}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
