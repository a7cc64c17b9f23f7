"""`regard tune RECIPE KEY=LOW..HIGH…`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SHOWN = 5
"""Best trials that the table has."""


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `regard recipes`) or a YAML file.")],
    space: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUES",
            help="What is searched: KEY=LOW..HIGH or KEY=VALUE,VALUE; KEY=VALUE is the same in all trials.",
        ),
    ],
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="DIR", help="Where the search is kept; default: studies/RECIPE."),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many the study shall have in all.")] = 30,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop after so long; the same command goes on.")
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option("--at-once", min=1, help="Trainings side by side; default: one a core, or one on a GPU."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what is suggested.")] = 1,
) -> None:
    """Search for better settings of a recipe, by validation; go on where the study's folder exists.

    Trials that are behind the others are stopped early. Give trials a length with train.minutes or train.epochs.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from regard.recipe import find_recipe
    from regard.train.signals import StopRequest
    from regard.tune import tune
    from regard.tune.space import shown

    console = Console(highlight=False, soft_wrap=True)
    folder = study or Path("studies") / find_recipe(recipe).stem

    def tell(line: str) -> None:
        console.print(line, markup=False)

    try:
        with StopRequest():
            found = tune(recipe, space, folder, trials=trials, minutes=minutes, at_once=at_once, seed=seed, tell=tell)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on")
        raise
    table = Table("trial", found.metric, "settings")
    for number, value, changes in found.trials[:SHOWN]:
        table.add_row(str(number), f"{value:.4g}", Text(shown(changes)))
    console.print(table)
    more = f"; {found.left} to go: the same command goes on" if found.left else ""
    finished = f"{len(found.trials)} trials finished, {found.stopped} stopped early, {found.failed} failed"
    console.print(f"{finished}{more}\n{found.best}: the best recipe; `regard train {found.best}`", markup=False)
