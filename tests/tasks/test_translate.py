"""One model for several languages: which one is told behind a tab."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.tasks.small import small_recipe

import regard
from regard.cli import main
from regard.errors import RegardError
from regard.predict.documents import Documents

LANGUAGES = {"de": str.upper, "fr": lambda word: word * 2}


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Sentences of words of a letter, in two languages: in capitals, and with every word doubled."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        words = draw.choices("abcdef", k=draw.randint(1, 4))
        language = draw.choice(list(LANGUAGES))
        target = " ".join(LANGUAGES[language](word) for word in words)
        found.append({"source": " ".join(words), "target": target, "language": language})
    return found


def recipe(folder: Path, kind: str, **more: Any) -> regard.Recipe:
    text = {"tokenizer": kind, "vocab": 320}
    changes = {
        "task": "translate",
        "data": {
            "source_column": ["source", "language"],
            "target_column": "target",
            "source": {**text, "tags": True},
            "target": text,
            "shared_vocabulary": False,
        },
        "model": {
            "embed": 24,
            "encoder": {"hidden": 24},
            "attention": {"dim": 24},
            "decoder": {"hidden": 48},
            "tie": "none",
        },
        "train": {"batch_tokens": 100, "learning_rate": 0.01, "ema": 0.9},
    }
    return small_recipe(folder, {"train": rows(600, 1), "valid": rows(60, 2), "test": rows(60, 3)}, changes, **more)


@pytest.fixture(scope="module", params=["bpe", "word"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, no_shape_checks_in_module: None
) -> Path:
    folder = tmp_path_factory.mktemp("languages")
    return regard.train(recipe(folder, request.param), folder / "run", console=Console(quiet=True)).path


def test_a_sentence_is_translated_into_the_language_that_is_asked_for(run: Path) -> None:
    predictor = regard.load(run)
    asked = rows(60, 4)
    for language, spelled in LANGUAGES.items():
        found = predictor([f"{one['source']}\t{language}" for one in asked])
        right = [" ".join(spelled(word) for word in one["source"].split()) for one in asked]
        assert sum(a == b for a, b in zip(found, right, strict=True)) > 50


def test_what_it_has_never_heard_of_is_refused(run: Path) -> None:
    predictor = regard.load(run)
    [[missing], [strange], [empty]] = predictor.predict(["a b", "a b\tnl", ""])
    assert missing.problem == "no tab, and this run was trained on texts with tags behind one: TEXT, tab, TAGS (--tag)."
    assert strange.problem == "no text of the training data had the tag 'nl'."
    assert empty.problem is None
    with pytest.raises(RegardError, match="this run's have tags"):
        Documents(predictor, markup=True)


def test_command_line(run: Path, toy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(*arguments: object) -> tuple[str, str]:
        with pytest.raises(SystemExit):
            main([*map(str, arguments)])
        told = capsys.readouterr()
        return told.out, told.err

    assert say("predict", run, "a b", "", "c", "--tag", "de")[0].splitlines() == ["A B", "", "C"]
    assert say("predict", run, "a b", "--tag", "fr")[0] == say("predict", run, "a b\tfr")[0] == "aa bb\n"
    assert "trained on texts without tags" in say("predict", toy_run, "abc", "--tag", "de")[1]
    assert "BLEU" in say("evaluate", run)[0].upper()


def test_pieces_are_learned_beside_tags(tmp_path: Path) -> None:
    """BPE dropout cuts words anew and leaves tags whole."""
    again = recipe(tmp_path, "bpe", train={"bpe_dropout": 0.3, "updates": 3, "epochs": None})
    run = regard.train(again, tmp_path / "run", console=Console(quiet=True))
    tokenizer = run.tokenizers()["source"]
    assert tokenizer.pieces(tokenizer.encode(["a b\tde"])[0]) == ["▁a", "▁b", "de"]
