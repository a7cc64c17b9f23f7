"""A language model beside a run: what it is worth, what is refused, and vocabularies that are taken from a run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import regard
from regard.cli import main
from regard.data.tokenizer import EOS
from regard.errors import RegardError
from regard.predict import Predictor, load


def writer(folder: Path, **data: Any) -> dict[str, Any]:
    """A recipe for a language model of words spelled backwards that have no A, with what it reads."""
    draw = random.Random(2)
    lines = [" ".join(draw.choices("BCDEFGH", k=draw.randint(1, 6))) for _ in range(600)]
    (folder / "text.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return {
        "task": "write",
        "data": {
            "root": str(folder),
            "cache": str(folder / "cache"),
            **{split: {"text": "text.txt"} for split in ("train", "valid")},
            "target": {"tokenizer": "word"},
            **data,
        },
        "model": {
            "embed": 16,
            "encoder": "none",
            "attention": "none",
            "decoder": {"hidden": 32, "input_feeding": False},
            "dropout": 0.0,
        },
        "train": {"epochs": 4, "batch_tokens": 200, "window": 20, "warmup": 10, "learning_rate": 0.01, "threads": 1},
    }


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory, toy_run: Path, no_shape_checks_in_module: None) -> Path:
    folder = tmp_path_factory.mktemp("language")
    recipe = regard.Recipe.from_dict(writer(folder, vocabulary_from=str(toy_run)))
    return regard.train(recipe, folder / "run", console=Console(quiet=True)).path


def test_what_is_found_is_worth_what_both_say(
    predictor: Predictor, toy_run: Path, language: Path, words: list[str]
) -> None:
    both = load(toy_run, language_model=language, language_weight=0.7, device="cpu")
    model = load(language, device="cpu").members[0].model
    nothing = model.teller.prepare([model.encode(torch.full((1, 1), EOS), torch.ones(1, dtype=torch.int64))])
    found = [one for [one] in both.predict(words) if one.ids]
    own = predictor.score([word for word in words if word], [one.text for one in found])
    assert len(found) == len(own) and {one.text for one in found} != {*predictor(words)} - {""}
    for one, alone in zip(found, own, strict=True):
        before, after = torch.tensor([[EOS, *one.ids]]), torch.tensor([[*one.ids, EOS]])  # a line after another's end
        liked, _, _ = model.teller.read_told(before, after, model.teller.start(nothing), nothing)
        assert one.log_prob == pytest.approx(alone.log_prob + 0.7 * float(liked.sum()), rel=1e-4)


def test_it_says_what_is_likely(predictor: Predictor, toy_run: Path, language: Path) -> None:
    """It has never read an A."""
    texts = ["abcdef", "aaaa", "ehga"]
    assert all("A" in text for text in predictor(texts))
    strong = load(toy_run, language_model=language, language_weight=4.0, device="cpu")
    assert not any("A" in text for text in strong(texts))
    assert load(toy_run, language_model=language, language_weight=0.0, device="cpu")(texts) == predictor(texts)


def test_an_ensemble_and_token_by_token(toy_run: Path, language: Path, words: list[str]) -> None:
    one, two = (load(runs, language_model=language, device="cpu") for runs in (toy_run, [toy_run, toy_run]))
    assert one(words) == two(words)
    assert "".join(one.as_written("abcd", method="greedy")) == one(["abcd"], method="greedy")[0]
    with pytest.raises(RegardError, match="without the language model"):
        one.score(["abc"], ["C B A"])


def test_what_cannot_help(toy_run: Path, language: Path, tmp_path: Path) -> None:
    with pytest.raises(RegardError, match="a language model is a run of task write, and this one's is transduce"):
        load(toy_run, language_model=toy_run)
    with pytest.raises(RegardError, match="task write writes nothing that a language model could help"):
        load(language, language_model=language)
    with pytest.raises(RegardError, match="language_weight: -1; expected 0 or more"):
        load(toy_run, language_model=language, language_weight=-1.0)
    recipe = regard.Recipe.from_dict(writer(tmp_path) | {"train": {"updates": 1, "epochs": None}})
    other = regard.train(recipe, tmp_path / "run", console=Console(quiet=True)).path
    with pytest.raises(RegardError, match=f"train it with data.vocabulary_from={toy_run}"):
        load(toy_run, language_model=other)


def test_vocabularies_of_a_run(toy_run: Path, language: Path, tmp_path: Path) -> None:
    theirs, ours = (regard.Run(path).tokenizers()["target"].to_json() for path in (toy_run, language))
    assert ours == theirs
    unlike = regard.Recipe.from_dict(writer(tmp_path, vocabulary_from=str(toy_run), target={"tokenizer": "bpe"}))
    with pytest.raises(RegardError, match=r"data\.target\.tokenizer is word there and bpe here"):
        regard.train(unlike, tmp_path / "run", console=Console(quiet=True))
    missing = regard.Recipe.from_dict(writer(tmp_path, vocabulary_from=str(tmp_path / "none")))
    with pytest.raises(RegardError, match=r"tokenizer-target\.json"):
        regard.train(missing, tmp_path / "run-2", console=Console(quiet=True))


def test_command_line(toy_run: Path, language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(*arguments: object) -> str:
        with pytest.raises(SystemExit):
            main([*map(str, arguments)])
        told = capsys.readouterr()
        return told.out + told.err

    helped = ["--language-model", language, "--language-weight", 4]
    assert "A" in say("predict", toy_run, "abcdef") and "A" not in say("predict", toy_run, "abcdef", *helped)
    assert say("evaluate", toy_run, *helped).splitlines()[3:5] != say("evaluate", toy_run).splitlines()[3:5]
    assert "of which language model?" in say("predict", toy_run, "abcdef", "--language-weight", 4)
