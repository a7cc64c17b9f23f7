"""`regard push RUN NAME`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="owner/name on the hub, or ./folder.")],
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE", help="Of `regard evaluate RUN --json FILE`, for the card."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it; default: only you.")] = False,
) -> None:
    """Share a run with its model card, on the Hugging Face hub or in a folder.

    \b
    Weights, tokenizers, recipe, log and scores go; checkpoints and the data
    report, which quotes your data, do not. `regard.from_hub(NAME)` reads it.
    """
    from regard.export import push_to_hub

    print(push_to_hub(run, name, scores=scores, private=not public))
