"""Scores of a run: the numbers are those of sacreBLEU on the outputs, and say how they came about."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

from regard.errors import RegardError
from regard.predict import Predictor, load
from regard.predict.evaluate import evaluate, file_examples, split_examples

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")


@pytest.fixture(scope="session")
def translator(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The toy run as a task whose outputs are sentences."""
    folder = tmp_path_factory.mktemp("translate") / "run"
    shutil.copytree(toy_run, folder)
    recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(recipe.replace("task: transduce", "task: translate"), encoding="utf-8")
    return load(folder, device="cpu", overrides=["search.beam=2", "search.max_length=4"])  # some outputs are cut off


def test_translation_scores_are_sacrebleus(translator: Predictor, toy_run: Path) -> None:
    result = evaluate(translator, split_examples(translator))
    rows = [line.split("\t") for line in (toy_run.parent / "test.tsv").read_text(encoding="utf-8").splitlines()]
    outputs, references = translator([row[0] for row in rows]), [row[1] for row in rows]
    assert result.outputs == outputs and result.references == [[one] for one in references]
    for name, expected in {
        "bleu": sacrebleu.corpus_bleu(outputs, [references], force=True),
        "chrf": sacrebleu.corpus_chrf(outputs, [references]),
        "ter": sacrebleu.corpus_ter(outputs, [references]),
    }.items():
        score = result.scores[name]
        assert score.value == pytest.approx(expected.score, abs=1e-9)
        assert score.low < score.value < score.high
    assert result.signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert (result.sentences, result.refused, result.search.beam) == (80, 0, 2)
    assert result.seconds > 0


def test_perplexity_is_that_of_the_forced_scores(predictor: Predictor) -> None:
    examples = split_examples(predictor, "valid")
    result = evaluate(predictor, examples)
    pairs = [(examples.pairs.source_text(i), examples.pairs.target_texts(i)[0]) for i in range(len(examples.pairs))]
    told = predictor.score([source for source, _ in pairs], [target for _, target in pairs])
    nll, tokens = -sum(one.log_prob for one in told), sum(len(one.token_log_probs) for one in told)
    assert result.perplexity.value == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    each = [[-one.log_prob, len(one.token_log_probs)] for one in told]
    np.testing.assert_allclose(result.told.statistics, each, rtol=1e-4, atol=1e-6)  # pair by pair
    assert result.perplexity.low < result.perplexity.value < result.perplexity.high
    assert result.to_dict()["perplexity_interval"] == [result.perplexity.low, result.perplexity.high]


def test_any_reference_counts_in_transduction(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("abc\nhg\nabc\n", encoding="utf-8")
    (tmp_path / "one").write_text("X X\nX\nC B A\n", encoding="utf-8")
    (tmp_path / "two").write_text("X\nG H\nX\n", encoding="utf-8")
    result = evaluate(predictor, file_examples(predictor, tmp_path / "source", [tmp_path / "one", tmp_path / "two"]))
    assert result.outputs == ["C B A", "G H"]  # one for each word
    assert result.references == [["X X", "X", "C B A", "X"], ["X", "G H"]]
    assert result.scores["wer"].value == result.scores["per"].value == 0


def test_several_references_in_translation(translator: Predictor, tmp_path: Path) -> None:
    texts = {"source": ["abc", "hg", "abc"], "one": ["C B A", "X", "C B A"], "two": ["X X", "G H", "C A"]}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    result = evaluate(translator, file_examples(translator, tmp_path / "source", [tmp_path / "one", tmp_path / "two"]))
    expected = sacrebleu.corpus_chrf(translator(texts["source"]), [texts["one"], texts["two"]])
    assert result.scores["chrf"].value == pytest.approx(expected.score, abs=1e-9)
    assert result.signatures["chrf"].startswith("nrefs:2|")


def test_the_result_says_how_it_came_about(predictor: Predictor, toy_run: Path) -> None:
    result = json.loads(json.dumps(evaluate(predictor, split_examples(predictor, "valid")).to_dict()))
    assert set(result) == {
        "runs", "data", "search", "cache", "commit", "approximate", "scores", "perplexity", "perplexity_interval",
        "accuracy", "calibration_error", "sentences", "refused", "unscored",
        "bad", "first_bad", "seconds", "sentences_per_second",
    }  # fmt: skip
    assert set(result["scores"]["wer"]) == {"label", "unit", "value", "low", "high", "level", "signature"}
    [run] = result["runs"]
    assert run["path"] == str(toy_run) and run["status"] == "finished" and len(run["weights_sha256"]) == 64
    assert result["data"] == {"name": "valid", "files": [str(toy_run.parent / "valid.tsv")]}
    assert result["search"]["method"] == "beam"


def test_texts_that_are_too_long_are_counted(toy_run: Path) -> None:
    predictor = load(toy_run, device="cpu", max_source_length=4)
    result = evaluate(predictor, split_examples(predictor))
    assert (
        0
        < result.refused
        == sum(len(source) > 4 for source in predictor.task.examples(split_examples(predictor).pairs)[0])
    )
    assert result.scores["wer"].value >= 100 * result.refused / result.sentences


def test_mistakes(predictor: Predictor, toy_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RegardError, match="there is no split 'dev'; choose one of train, valid, test"):
        split_examples(predictor, "dev")
    with pytest.raises(RegardError, match="no references; name one file or more with --references"):
        file_examples(predictor, tmp_path / "a", [])
    with pytest.raises(RegardError, match="a: no such file"):
        file_examples(predictor, tmp_path / "a", [tmp_path / "b"])
    (tmp_path / "a").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "b").write_text("A\n", encoding="utf-8")
    with pytest.raises(RegardError, match="b ends after line 1"):
        file_examples(predictor, tmp_path / "a", [tmp_path / "b"])
    (tmp_path / "b").write_bytes(b"A\n\xff\n")
    with pytest.raises(RegardError, match="b line 2: not UTF-8"):
        file_examples(predictor, tmp_path / "a", [tmp_path / "b"])
