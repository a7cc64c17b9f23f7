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
    common: Annotated[
        int | None, typer.Option(min=0, help="Pieces that every sentence may use: the most frequent; default 100.")
    ] = None,
    best: Annotated[
        int | None, typer.Option(min=1, help="Pieces that each piece of the source suggests; default 50.")
    ] = None,
) -> None:
    """Learn from a run's training data which words each source word suggests.

    With it `regard predict --shortlist` scores some hundred words of a sentence
    rather than the whole vocabulary. An approximation: compare the scores with
    `regard evaluate RUN --data valid` and the same with --shortlist.
    """
    from rich.console import Console

    from regard.decode.shortlist import FILE
    from regard.predict.shortlist import BEST, COMMON, make_shortlist

    common, best = COMMON if common is None else common, BEST if best is None else best
    found = make_shortlist(run, common=common, best=best, overrides=overrides or ())
    without = int((found.best == 0).all(1).sum())
    Console().print(
        f"{run / FILE}: {len(found.common):,} common pieces, and up to {found.best.shape[1]:,} for each of "
        f"{len(found.best) - without:,} source pieces that the training data has, out of {found.target_vocab:,}; "
        f"{without:,} source pieces it has not",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
