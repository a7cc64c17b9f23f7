"""Words with features behind a tab: a run on a made-up language, its answers, and what it is asked by mistake."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.tasks.small import small_recipe

import regard
from regard.predict.evaluate import evaluate, split_examples

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

ENDINGS = {"N;SG": "", "N;PL": "s", "V;PST": "te", "V;SG": "t"}


def forms(count: int, seed: int) -> list[dict[str, Any]]:
    draw, found = random.Random(seed), []
    for _ in range(count):
        lemma, tags = "".join(draw.choices("abde", k=draw.randint(2, 4))), draw.choice(list(ENDINGS))
        found.append({"lemma": lemma, "form": lemma + ENDINGS[tags], "tags": tags})
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    char = {"tokenizer": "char", "vocab": 300}
    data = {"source_column": ["lemma", "tags"], "target_column": "form", "source": {**char, "tags": True}}
    model = {
        "embed": 32,
        "encoder": {"hidden": 32},
        "attention": {"dim": 32},
        "decoder": {"type": "marginal", "order": 1, "monotonic": True, "hidden": 32},
    }
    changes = {
        "task": "transduce",
        "data": {**data, "target": char},
        "model": model,
        "train": {"batch_tokens": 100, "learning_rate": 1e-2, "hallucinated": 1, "epochs": 3, "metric": "perplexity"},
    }
    recipe = small_recipe(folder, {"train": forms(150, 1), "valid": forms(40, 2)}, changes)
    return regard.train(recipe, folder / "run", console=Console(quiet=True)).path


def test_a_run_begins_to_learn_and_is_scored_by_words_and_letters(run: Path) -> None:
    predictor = regard.load(run)
    found = evaluate(predictor, split_examples(predictor, "valid"))
    letters = Counter("".join(line["form"] + "\n" for line in forms(40, 2)))
    total = letters.total()
    guessed = math.exp(-sum(count / total * math.log(count / total) for count in letters.values()))
    assert found.perplexity.value < 0.9 * guessed  # than by how often letters and ends are
    assert set(found.scores) == {"wer", "cer"}


def test_a_word_without_features_is_refused_where_all_had_some(run: Path) -> None:
    predictor = regard.load(run)
    [[asked], [empty], [new]] = predictor.predict(["baba", "", "baba\tV;FUT"])
    assert asked.problem == "no tab, and this run was trained on texts with tags behind one: TEXT, tab, TAGS (--tag)."
    assert empty.problem is None and new.problem is None and new.token_log_probs
