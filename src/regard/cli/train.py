"""`regard train RECIPE [KEY=VALUE]…`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `regard recipes`) or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Any key of the recipe, such as train.epochs=5."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The run's folder; default: runs/RECIPE."),
    ] = None,
) -> None:
    """Train a recipe; where its run folder exists, resume it."""
    from regard.train.run import train

    train(recipe, run, overrides=overrides or ())
