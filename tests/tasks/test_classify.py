"""Labels: a run from files to accuracy and F1, sets of labels, documents read sentence by sentence, and what is
refused."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.tasks.small import small_recipe

import regard
from regard.cli import main
from regard.errors import RegardError
from regard.predict.calibrate import calibrate
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

GOOD, BAD = ["great", "lovely", "moving"], ["dull", "awful", "silly"]
PLAIN = ["the", "film", "is", "and", "a", "story", "of", "it"]
TEXT = {"tokenizer": "word", "segment": "punctuation", "vocab": 400, "lowercase": True}


def reviews(count: int, seed: int) -> list[dict[str, Any]]:
    """Some sentences, one of which says what it is; a label that is a number, and a set of labels."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        good, long = draw.random() < 0.5, draw.random() < 0.4
        sentences = [" ".join(draw.choices(PLAIN, k=5)) for _ in range(5 if long else 2)]
        where = draw.randrange(len(sentences))
        sentences[where] += " " + draw.choice(GOOD if good else BAD)
        labels = ["good"] * good + ["long"] * long
        text = ". ".join(sentence.capitalize() for sentence in sentences) + "."
        found.append({"text": text, "label": int(good), "labels": labels})
    return found


def recipe(folder: Path, **more: Any) -> Recipe:
    data = {
        **{"source_column": "text", "target_column": "label", "shared_vocabulary": False},
        **{"source": {**TEXT, "sentences": "en"}, "target": {"tokenizer": "label"}},
    }
    model = {
        "embed": 16,
        "encoder": {"type": "hierarchical", "hidden": 16, "pooling": {"type": "attention", "dim": 16}},
        "attention": "none",
        "decoder": {"type": "labels", "hidden": 16, "pooling": {"type": "attention", "dim": 16}},
        "tie": "output",
    }
    splits = {"train": reviews(300, 1), "valid": reviews(60, 2), "test": reviews(60, 3)}
    train = {"batch_tokens": 300, "learning_rate": 1e-2, "epochs": 8}
    return small_recipe(folder, splits, {"task": "classify", "data": data, "model": model, "train": train}, **more)


def of_sets(folder: Path, **more: Any) -> Recipe:
    encoder = {"type": "birnn", "hidden": 16}
    decoder = {"type": "labels", "hidden": 16, "several": True, "pooling": {"type": "attention", "dim": 16}}
    data = {"source": TEXT, "target": {"tokenizer": "labels"}, "target_column": "labels"}
    return recipe(folder, data=data, model={"encoder": encoder, "decoder": decoder}, **more)


def trained(wanted: Recipe, folder: Path) -> Path:
    return regard.train(wanted, folder / "run", console=Console(quiet=True)).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classify")
    return trained(recipe(folder), folder)


@pytest.mark.slow
def test_it_learns_what_tells_and_shows_it(run: Path) -> None:
    predictor = regard.load(run)
    texts = ["The film is a story. It is lovely. And of the film.", "It is dull and a story. The film it is."]
    assert predictor(texts) == ["1", "0"]
    for outputs, word in zip(
        predictor.predict(texts, n_best=2, beam=2, attention=True), ("lovely", "dull"), strict=True
    ):
        assert sorted(one.text for one in outputs) == ["0", "1"]
        assert sum(math.exp(one.log_prob) for one in outputs) == pytest.approx(
            1.0, abs=0.02
        )  # the rest: no label known
        [best, _] = outputs
        assert best.attention is not None and best.source_tokens is not None
        assert best.attention[0].sum().item() == pytest.approx(1.0, abs=1e-5)
        assert best.source_tokens[int(best.attention[0].argmax())] == word


def test_evaluation_says_what_validation_chose_by(run: Path) -> None:
    predictor = regard.load(run)
    result = evaluate(predictor, split_examples(predictor, "valid"))
    assert list(result.scores) == ["accuracy", "f1_macro"]
    assert result.scores["accuracy"].value > 90 and result.signatures["accuracy"] == "nrefs:1|labels:2"
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    final = next(each for each in log if each["type"] == "final")
    assert final["accuracy"] == pytest.approx(result.scores["accuracy"].value)
    assert final["perplexity"] == pytest.approx(result.perplexity.value) and 1.0 <= final["perplexity"] < 2.0
    found = predictor.score([reviews(1, 5)[0]["text"]], [str(reviews(1, 5)[0]["label"])])
    assert math.exp(found[0].log_prob) > 0.5


def test_answers_do_not_depend_on_the_batch(run: Path) -> None:
    predictor = regard.load(run)
    texts = [each["text"] for each in reviews(12, 9)] + ["", "It is awful."]
    together = predictor.predict(texts, batch=64)
    alone = [predictor.predict([text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one[0].text == other[0].text and one[0].log_prob == other[0].log_prob
    assert together[12][0].text == ""


@pytest.mark.slow
def test_sets_of_labels_and_texts_without_any(tmp_path: Path) -> None:
    predictor = regard.load(trained(of_sets(tmp_path, train={"epochs": 10}), tmp_path))
    result = evaluate(predictor, split_examples(predictor, "test"))
    assert list(result.scores) == ["accuracy", "f1_macro", "f1_micro"] and result.scores["f1_micro"].value > 90
    assert "" in result.outputs and "good\tlong" in result.outputs


def test_weights_of_a_rare_label(tmp_path: Path) -> None:
    wanted = recipe(
        tmp_path, train={"class_weights": "balanced", "epochs": None, "updates": 1}, score={"positive": "1"}
    )
    lines = [*reviews(290, 4), *({"text": "It is lovely.", "label": 2} for _ in range(10))]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = regard.train(wanted, tmp_path / "run", console=Console(quiet=True))
    assert list(result.best) == ["accuracy", "f1_macro", "f1", "perplexity"]


@pytest.mark.slow
def test_a_file_or_a_folder_for_each_label(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for number, each in enumerate(reviews(40, 7)):
        if each["label"]:
            (tmp_path / "good" / f"{number}.txt").write_text(each["text"].replace(". ", ".\n"), encoding="utf-8")
    bad = [each["text"] + " \x96 so" for each in reviews(40, 8) if not each["label"]]
    (tmp_path / "bad.txt").write_bytes("".join(text + "\n" for text in bad).encode("latin-1"))
    classes = {"classes": {"good": "good", "bad": "bad.txt"}}
    parts = {"train": {**classes, "percent": [50, 25]}, "valid": {**classes, "percent": [25, 50]}}
    wanted = recipe(tmp_path, data={**parts, "test": None, "encoding": "cp1252"}, train={"epochs": 1})
    predictor = regard.load(trained(wanted, tmp_path))
    result = evaluate(predictor, split_examples(predictor, "valid"))
    assert {each[0] for each in result.references} == {"good", "bad"}
    examples = predictor.task.examples(split_examples(predictor, "train").pairs)[0]
    assert len(examples) + result.sentences == len(bad) + len(list((tmp_path / "good").iterdir()))
    assert any("–" in text for text in examples) and any("\n" in text for text in examples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"decoder": "recurrent"}}, r"set model\.decoder to labels \(found recurrent\)"),
        ({"data": {"target": {"tokenizer": "word"}}}, r"data\.target\.tokenizer to label, or labels .*\(found word\)"),
        (
            {"data": {"target": {"tokenizer": "labels"}}},
            r"several is false and data\.target\.tokenizer labels: label goes",
        ),
        ({"data": {"source": {**TEXT, "sentences": "english"}}}, r"sentences"),
        ({"data": {"source": {**TEXT, "breaks": "["}}}, r"is not a regular expression"),
        ({"data": {"source": TEXT}}, r"set data\.source\.sentences to the language of documents"),
        (
            {"data": {"target_column": "labels", "max_bad_fraction": 1}},
            r"a text has several labels, good, long: set data\.target",
        ),
        ({"data": {"encoding": "utf-16"}}, r"'utf-16' is no encoding that has lines as ASCII has"),
        ({"train": {"metric": "bleu"}}, r"does not report 'bleu'"),
        ({"train": {"joined": 1}}, r"labels are none: set both to 0"),
        ({"data": {"train": {"classes": {"a": "nowhere"}}}}, r"nowhere: no such file"),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RegardError, match=message):
        regard.train(recipe(tmp_path, **changes), tmp_path / "run", console=Console(quiet=True))


def test_labels_are_not_for_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(RegardError, match=r"are for task classify"):
        Recipe.from_dict({**recipe(tmp_path).to_dict(), "task": "translate"})


def copied(run: Path, folder: Path) -> Path:
    return shutil.copytree(run, folder / "copy", ignore=shutil.ignore_patterns("lock", "checkpoint"))


def test_calibration_changes_no_label_and_is_read_from_then_on(run: Path, tmp_path: Path) -> None:
    run = copied(run, tmp_path)
    texts = [each["text"] for each in reviews(20, 11)]
    before = regard.load(run).predict(texts)
    found = calibrate(run)
    assert found.nll[1] <= found.nll[0] and found.examples == 60
    after = regard.load(run).predict(texts)
    assert [one.text for one, *_ in after] == [one.text for one, *_ in before]
    assert [one.log_prob for one, *_ in after] != [one.log_prob for one, *_ in before]
    predictor = regard.load(run)
    result = evaluate(predictor, split_examples(predictor, "valid"))
    assert math.log(result.perplexity.value) == pytest.approx(found.nll[1], abs=1e-5)
    assert result.calibration_error == pytest.approx(found.error[1], abs=1e-3)
    assert result.to_dict()["calibration_error"] == result.calibration_error


def test_a_calibration_of_other_weights_or_none_at_all(run: Path, tmp_path: Path) -> None:
    run = copied(run, tmp_path)
    for content, message in [
        ('{"temperature": 2.0, "weights_sha256": "other"}', "was made for other weights: run `regard calibrate"),
        ('{"temperature": -1, "weights_sha256": "other"}', "says no temperature"),
        ("{", "says no temperature"),
    ]:
        (run / "calibration.json").write_text(content, encoding="utf-8")
        with pytest.raises(RegardError, match=message):
            regard.load(run)
    assert calibrate(run).temperature > 0 and regard.load(run)(["It is dull."])
    with pytest.raises(RegardError, match=r"only data\.root and data\.cache can be changed"):
        calibrate(run, overrides=["train.seed=1"])


def test_command_lines(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, page, picture = copied(run, tmp_path), tmp_path / "review.html", tmp_path / "confusion.png"
    command("calibrate", str(run))
    assert "expected calibration error" in capsys.readouterr().out
    command("predict", str(run), "It is a story. It is moving.", "--attention", str(page), "--format", "jsonl")
    answer = json.loads(capsys.readouterr().out)
    assert answer["outputs"][0]["probability"] == pytest.approx(math.exp(answer["outputs"][0]["log_prob"]))
    assert page.read_text(encoding="utf-8").count("<tr>") == 2
    command("evaluate", str(run), "--data", "valid", "--confusion", str(picture))
    assert "macro F1" in capsys.readouterr().out and picture.stat().st_size > 1000


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (None, 0)
