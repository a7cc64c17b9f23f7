"""`regard calibrate RUN [KEY=VALUE]…`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder of task classify.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Where the validation data is now: data.root, data.cache."),
    ] = None,
) -> None:
    """Make a run's probabilities what they say, by its validation data.

    \b
    One number, a temperature, is kept in the run's folder, and every command
    reads it from there. No label changes, only how sure it is said to be.
    """
    from rich.console import Console
    from rich.table import Table

    from regard.predict.calibrate import calibrate
    from regard.train.runfolder import CALIBRATION

    found = calibrate(run, overrides=overrides or ())
    table = Table("", "before", "after")
    table.add_row("−log p of an example, nats", *(f"{value:.4f}" for value in found.nll))
    table.add_row("expected calibration error", *(f"{value:.2f} %" for value in found.error))
    console = Console()
    console.print(table)
    console.print(
        f"{run / CALIBRATION}: temperature {found.temperature:.3f}, from {found.examples:,} examples",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
