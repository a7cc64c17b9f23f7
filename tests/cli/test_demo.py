"""`regard demo` after its training: the words and the picture that it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from regard.cli.demo import _draw_one, _show_words
from regard.predict import load
from regard.predict.evaluate import evaluate, split_examples

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")


def test_one_output_a_word_whatever_the_recipe_says(toy_run: Path, tmp_path: Path) -> None:
    predictor = load(toy_run, device="cpu", overrides=["search.n_best=2"])
    held_out = split_examples(predictor, "test")
    words, _ = predictor.task.examples(held_out.pairs)
    result = evaluate(predictor, held_out)
    with (tmp_path / "shown.txt").open("w", encoding="utf-8") as file:
        _show_words(Console(file=file, width=100), predictor, result, words)
    assert words[0] in (tmp_path / "shown.txt").read_text(encoding="utf-8")
    assert _draw_one(predictor, result, words, tmp_path / "attention.png").is_file()
