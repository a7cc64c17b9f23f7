"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or several with commas between them: an ensemble.")
]
References = Annotated[
    list[Path] | None,
    typer.Option("--references", metavar="FILE", help="References, line by line; once for each set."),
]
Source = Annotated[Path | None, typer.Option("--source", metavar="FILE", help="Other data: texts, one a line.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Texts at a time: memory and speed, never the result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Default: physical cores.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Approximate: weights of 7 bits, rows of 8; faster.")]
Shortlist = Annotated[
    bool, typer.Option("--shortlist", help="Approximate: words that the source suggests (`regard shortlist`).")
]
SearchKeys = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="search.*, model.cache of the recipe, as search.temperature=0.8."),
]
