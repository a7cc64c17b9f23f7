"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
LanguageModel = Annotated[
    str | None,
    typer.Option("--language-model", metavar="RUN", help="A run of task write that helps to choose words."),
]
LanguageWeight = Annotated[
    float | None, typer.Option("--language-weight", min=0.0, help="What its log-probabilities count; default 0.1.")
]
SearchKeys = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="search.*, model.cache of the recipe, as search.temperature=0.8."),
]


def language_options(model: str | None, weight: float | None) -> dict[str, Any]:
    """As `regard.load` takes them."""
    from regard.errors import RegardError

    if model is None and weight is not None:
        raise RegardError("--language-weight: of which language model? Name it as --language-model.")
    return {"language_model": model} | ({} if weight is None else {"language_weight": weight})
