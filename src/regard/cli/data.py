"""`regard data RECIPE [KEY=VALUE]…`"""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `regard recipes`) or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Any key of the recipe, such as data.max_length=100."),
    ] = None,
) -> None:
    """Prepare a recipe's data (cached for training) and report: sizes, lengths, duplicates, overlap, unknowns."""
    from rich.console import Console

    from regard.data.prepare import prepare
    from regard.data.report import render
    from regard.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or ())
    Console().print(render(prepare(resolved.data, about=resolved.about).report))
