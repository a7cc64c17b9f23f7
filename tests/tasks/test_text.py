"""What text tasks share: texts that are too long are passed over and counted; a metric is there or refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from regard.errors import RegardError
from regard.predict import Predictor, load
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe
from regard.tasks import TASKS

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

SMALL = {"hidden": 8}
MODEL = {"embed": 8, "encoder": SMALL, "decoder": SMALL, "attention": {"dim": 8}}


def small_recipe(folder: Path, valid: list[tuple[str, str]], task: str = "transduce", **more: Any) -> Recipe:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcd", k=4)) for _ in range(30)]
    for name, rows in {"train": [(word, " ".join(word)) for word in words], "valid": valid}.items():
        (folder / f"{name}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    data = {
        "root": str(folder),
        "cache": str(folder / "cache"),
        "train": {"table": "train.tsv"},
        "valid": {"table": "valid.tsv"},
        "source": {"tokenizer": "char"},
        "target": {"tokenizer": "word"},
    }
    return Recipe.from_dict({"task": task, "data": data, "model": MODEL, **more})


def test_a_line_of_100_000_words_is_not_validated(tmp_path: Path) -> None:
    long = "a" * 100_000
    recipe = small_recipe(tmp_path, [("ab", "a b"), (long, " ".join(long)), ("abc", " ".join(long)), (long, "a b")])
    task = TASKS[recipe.task](recipe)
    prepared = task.prepare()
    assert prepared.report["splits"]["valid"]["unscored"] == 3
    model = task.build(prepared.tokenizers).eval()
    found = task.validate(model, prepared, full=True)
    alone = small_recipe(tmp_path, [("ab", "a b")])
    expected = task.validate(model, TASKS[alone.task](alone).prepare(prepared.tokenizers), full=True)
    assert (found["perplexity"], found["accuracy"]) == (expected["perplexity"], expected["accuracy"])
    assert found["wer"] > 0
    nothing = small_recipe(tmp_path, [(long, "a b")])
    with pytest.raises(RegardError, match=r"data\.valid: each of its 1 pairs has a side of more than 1,000 tokens"):
        TASKS[nothing.task](nothing).prepare()


def test_validation_evaluation_and_ensembles_pass_over_the_same(toy_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(toy_run, device="cpu", max_source_length=4)
    two = Predictor([*run.members, *run.members], max_source_length=4)
    valid = split_examples(run, "valid")
    results = [evaluate(one, valid) for one in (run, two)]
    lengths = [max(map(len, valid.pairs.ids(i))) for i in range(len(valid.pairs))]
    for result in results:
        assert 0 < result.unscored == sum(length > 4 for length in lengths)
        assert result.perplexity.value == pytest.approx(results[0].perplexity.value, rel=1e-5)
    monkeypatch.setattr("regard.tasks.text.MOST_TOKENS", 4)
    found = run.task.validate(run.members[0].model, run.task.prepare(), full=True)
    assert found["perplexity"] == pytest.approx(results[0].perplexity.value, rel=1e-9)
    assert found["wer"] == results[0].scores["wer"].value


def test_a_metric_without_its_package_is_refused_before_the_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no MeCab")

    monkeypatch.setattr("regard.score.translation.BLEU", absent)
    recipe = small_recipe(tmp_path, [("ab", "a b")], "translate", score={"tokenize": "ja-mecab"})
    (tmp_path / "train.tsv").unlink()
    with pytest.raises(RegardError, match=r"ja-mecab needs a package .*pip install 'sacrebleu\[ja\]'"):
        TASKS[recipe.task](recipe).prepare()
