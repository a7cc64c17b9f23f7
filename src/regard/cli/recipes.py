"""`regard recipes [NAME]`: what is shipped, where its data comes from, and whether that data is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from regard.errors import RegardError

if TYPE_CHECKING:
    from regard.data.config import DataConfig


def command(
    name: Annotated[str | None, typer.Argument(help="A recipe's name or file, to print its text.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Print it as resolved, every key written.")] = False,
    root: Annotated[
        str | None, typer.Option("--root", metavar="DIR", help="The data root; default: the environment's REGARD_DATA.")
    ] = None,
) -> None:
    """The recipes that Regard ships: task, data, source, licence, and whether the files are under the data root."""
    from regard.recipe import find_recipe, load_recipe

    if name is None:
        _table(root)
    else:
        text = load_recipe(name).to_yaml() if full else find_recipe(name).read_text(encoding="utf-8")
        print(text, end="")


def _table(root: str | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from regard.recipe import load_recipe, shipped_recipes

    table = Table(show_lines=True)
    table.add_column("recipe (task)", no_wrap=True)
    table.add_column("data: what, where from, licence", overflow="fold")
    table.add_column("here")
    for path in shipped_recipes():
        recipe = load_recipe(path, [] if root is None else [f"data.root={root!r}"])
        about, absent = recipe.about, missing_files(recipe.data)
        said = f"{about.title}\nfrom {about.source}\nlicence: {about.license}"
        said += f"\nnot here: {absent[0]}" if absent else ""
        name = f"{path.stem}\n({recipe.task})"
        table.add_row(name, Text(said), "no" if absent else "yes")  # Text: no word in it is markup
    Console().print(table)


def missing_files(data: DataConfig) -> list[str]:
    """Those of a recipe's files that are not where the data root says; names on the hub are not looked for."""
    splits = [split for split in (data.train, data.valid, data.test) if split is not None]
    names = [name for split in splits for name in split.files()]
    return [name for name in dict.fromkeys(names) if not _exists(name, data.root)]


def _exists(name: str, root: str | None) -> bool:
    from regard.data.files import find

    try:
        return find(name, root).exists()
    except RegardError:
        return False
