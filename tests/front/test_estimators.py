"""One contract over all estimators, and what is each one's own."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import regard
from regard.errors import RegardError
from regard.front import MODELS, Estimator
from regard.front.models import _right

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

SMALL: dict[str, Any] = {
    **{"model.embed": 8, "model.decoder.hidden": 16, "train.threads": 1, "train.warmup": 5},
    **{"train.epochs": 1, "train.batch_tokens": 200, "train.validate_sentences": 5},
}
READS = {"model.encoder.hidden": 8}


def rows(name: str, count: int = 60) -> tuple[list[str], Any]:
    """Words of four letters, and what belongs to them."""
    draw = random.Random(name)
    words = [" ".join("".join(draw.choices("abcd", k=4)) for _ in range(draw.randint(1, 4))) for _ in range(count)]
    if name == "Reader":  # which of the words begins with that letter
        found = [(f"{word[0]} ?", f"{word} . {word[::-1]}") for word in words]
        return found, [word.split()[0] for word in words]  # type: ignore[return-value]
    if name == "Classifier":
        return words, [("long" if len(word) > 10 else "short") for word in words]
    return words, None if name == "Writer" else [word[::-1] for word in words]


def build(name: str, **settings: Any) -> Estimator:
    reads = {} if name == "Writer" else READS
    attends = {} if name in ("Writer", "Classifier", "Reader") else {"model.attention.dim": 8}
    attends |= {"model.encoder.modelling.hidden": 8} if name == "Reader" else {}
    vocabulary = {"data.source.min_frequency": 1, "data.target.min_frequency": 1} if name == "Summarizer" else {}
    return MODELS[name](settings={**SMALL, **reads, **attends, **vocabulary, **settings})


every = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Estimator]:
    return {name: build(name).fit(*rows(name)) for name in MODELS}


def test_every_model_is_offered_by_name() -> None:
    assert all(getattr(regard, name) is model and name in regard.__all__ for name, model in MODELS.items())
    assert len({model.task for model in MODELS.values()}) == len(MODELS)


@every
def test_parameters_are_what_was_given_and_clone_gives_an_equal_model(name: str) -> None:
    model = build(name)
    again = clone(model)
    assert again is not model and again.get_params(deep=False) == model.get_params(deep=False)
    assert model.get_params()["train__epochs"] == 1
    assert again.set_params(train__epochs=3, seed=7) is again
    assert (again.settings or {})["train.epochs"] == 3 and again.seed == 7
    assert (model.settings or {})["train.epochs"] == 1 and model.seed == 1  # which the clone shares nothing with
    assert name in repr(model) and "train.epochs" in repr(model)
    with pytest.raises(RegardError, match=r"has no parameter 'epochs'.*such as train__epochs"):
        model.set_params(epochs=3)


@every
def test_it_answers_every_row_and_the_same_from_a_folder_and_a_pickle(
    fitted: dict[str, Estimator], name: str, tmp_path: Path
) -> None:
    model, (X, y) = fitted[name], rows(name)
    options = {"method": "greedy", "max_length": 10} if name != "Classifier" else {}
    found = list(model.predict(X[:7], **options))
    assert len(found) == 7
    assert isinstance(model.score(X[:20], None if y is None else y[:20]), float)
    folder = model.save(tmp_path / "kept")
    others = [type(model).load(folder), pickle.loads(pickle.dumps(model))]
    for other in others:
        assert list(other.predict(X[:7], **options)) == found
    assert regard.load(folder).recipe.task == model.task
    assert not (folder / "checkpoint").exists()
    with pytest.raises(RegardError, match="is there already"):
        model.save(folder)


@every
def test_rows_may_be_of_any_kind(fitted: dict[str, Estimator], name: str) -> None:
    model, (X, _) = fitted[name], rows(name)
    options = {"method": "greedy", "max_length": 10} if name != "Classifier" else {}
    texts = X[:5] if name != "Reader" else ["\t".join(row) for row in X[:5]]
    kinds = [
        np.array(texts),
        np.array(texts, dtype=object)[:, None],
        pd.Series(texts, index=range(10, 15)),
        pd.DataFrame({"text": texts}),
        Dataset.from_dict({"text": texts}),
        Dataset.from_dict({"text": texts})["text"],
        tuple(texts),
    ]
    expected = list(model.predict(texts, **options))
    for kind in kinds:
        assert list(model.predict(kind, **options)) == expected, type(kind)


@every
def test_bad_rows(fitted: dict[str, Estimator], name: str) -> None:
    model = fitted[name]
    for bad, message in [
        ("a text", r"X: str, expected a list"),
        ([1.5], r"X: row 0 is float 1\.5, expected a text"),
        (["a", None], r"X: row 1 is NoneType None"),
        (pd.DataFrame(), r"a table without columns"),
    ]:
        with pytest.raises(RegardError, match=message):
            model.predict(bad)
    with pytest.raises(RegardError, match=r"has learned nothing yet: call fit first"):
        build(name).predict(["a"])
    if name != "Writer":
        with pytest.raises(RegardError, match=r"X has 2 rows and y 1"):
            build(name).fit(["a", "b"], ["a"] if name != "Classifier" else [["a", "b"]])
        with pytest.raises(RegardError, match=r"fit needs y"):
            build(name).fit(["a", "b"])
    with pytest.raises(RegardError, match=r"settings: data\.train is what fit is given"):
        build(name, **{"data.train": {"table": "x"}}).fit(*rows(name))
    with pytest.raises(RegardError, match=r"train\.epoch"):
        build(name, **{"train.epoch": 3}).fit(*rows(name))
    with pytest.raises(RegardError, match=r"validation is 2"):
        MODELS[name](validation=2).fit(*rows(name))


@pytest.mark.slow
@every
def test_scikit_learn_drives_it(name: str) -> None:
    X, y = rows(name, 40)
    assert len(cross_val_score(build(name), X, y, cv=2)) == 2


@pytest.mark.slow
def test_a_pipeline_in_a_grid_search() -> None:
    X, y = rows("Classifier", 40)
    name = "Classifier"
    steps = Pipeline(
        [("upper", FunctionTransformer(lambda texts: [text.upper() for text in texts])), ("model", build(name))]
    )
    grid = GridSearchCV(steps, {"model__model__dropout": [0.0, 0.4]}, cv=2).fit(X, y)
    assert grid.best_params_["model__model__dropout"] in (0.0, 0.4)
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_what_is_validated_on_and_a_folder_that_stays(tmp_path: Path) -> None:
    X, y = rows("Translator")
    model = build("Translator").set_params(run=tmp_path / "run").fit(X, y, X_valid=X[:9], y_valid=y[:9])
    report = json.loads((tmp_path / "run" / "data-report.json").read_text(encoding="utf-8"))
    assert (report["splits"]["train"]["examples"], report["splits"]["valid"]["examples"]) == (60, 9)
    assert model.run_.path == tmp_path / "run" and model.run_.status == "finished"
    with pytest.raises(RegardError, match=r"holds a run, which another fit would not change"):
        model.fit(X, y)
    few = build("Translator").fit(X[:5], y[:5])
    assert few.run_.best


def test_a_recipe_gives_the_settings_and_not_the_data() -> None:
    X, y = rows("Transducer")
    changes = {**SMALL, **READS, "model.attention.dim": 8, "model.encoder.layers": 1, "data.target.remove": None}
    model = regard.Transducer("transduce-cmudict", settings=changes).fit(X, y)
    assert model.run_.recipe.data.target.tokenizer == "word" and model.run_.recipe.about.title == ""
    with pytest.raises(RegardError, match=r"recipe is for task transduce, and Translator does translate"):
        regard.Translator("transduce-cmudict").fit(X, y)


@pytest.mark.slow
def test_a_lemma_and_its_features() -> None:
    X, y = rows("Transducer")
    table = pd.DataFrame({"lemma": X, "features": ["V;PST"] * len(X)})
    model = build("Transducer").fit(table, y)
    assert model.run_.recipe.data.source.tags and len(model.predict(table[:3], method="greedy")) == 3


@pytest.mark.slow
def test_labels_come_back_as_they_were_given() -> None:
    X, _ = rows("Classifier")
    for labels in ([1, 0], [2.5, -1.0], [True, False], ["two words", "b"]):
        y = [labels[len(text) > 10] for text in X]
        model = build("Classifier").fit(X, y)
        found = model.predict(X)
        assert found.dtype == np.asarray(y).dtype and set(found.tolist()) <= set(labels)
        probabilities = model.predict_proba([*X, ""])
        assert probabilities.shape == (len(X) + 1, 2)
        np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-6)
        assert (model.classes_[probabilities[:-1].argmax(1)] == found).all()
    mixed = build("Classifier").fit(X, [(1, 1.5)[len(text) > 10] for text in X])
    assert set(mixed.predict(X).tolist()) <= {1.0, 1.5}
    composed = build("Classifier").fit(X, [("e\u0301te\u0301", "b")[len(text) > 10] for text in X])
    assert set(composed.predict(X).tolist()) <= {"e\u0301te\u0301", "b"}
    for bad, message in [
        (["a", None], "row 1 has no label"),
        (["a", float("nan")], "row 1 has no label"),
        (["", "a"], "row 0 has no label"),
        (["a  b", "a b"], "which are one once cleaned"),
    ]:
        with pytest.raises(RegardError, match=message):
            build("Classifier").fit(X[:2], bad)
    with pytest.raises(RegardError, match="has a single label, 'a'"):
        build("Classifier").fit(X, ["a"] * len(X))


def test_series_of_numbers_as_arrays_of_any_shape() -> None:
    draw = np.random.default_rng(1)
    y = draw.choice(["up", "down"], 60)
    slope = np.where(y == "up", 1.0, -1.0)[:, None]
    flat = (slope * np.arange(9) + draw.normal(size=(60, 9))).astype(np.float32)  # (rows, steps)
    settings = {"model.decoder.hidden": 8, "model.encoder.hidden": 8, "train.epochs": 10, "train.batch_tokens": 200}
    model = regard.Classifier(settings={**settings, "model.embed": 8, "train.threads": 1, "train.warmup": 5})
    with pytest.raises(RegardError, match=r"X, row 1: a value is missing or infinite"):
        model.fit([[1.0, 2.0], [float("nan")]], ["up", "down"])
    found = model.fit(flat, y).predict_proba(flat)
    assert model.score(flat, y) > 0.9
    for same in (flat[..., None], flat.tolist(), list(flat), [row[:, None] for row in flat], [[*row] for row in flat]):
        np.testing.assert_array_equal(model.predict_proba(same), found)
    long = [draw.normal(size=(steps, 2)) for steps in (3, 1200, 5, 8)]  # steps by channels
    again = model.set_params(train__epochs=1).fit(long, ["up", "down", "up", "down"])
    read = json.loads((again.run_.path / "data-report.json").read_text())["splits"]["train"]
    assert read["examples"] == 4 and read["lengths"]["source"]["longest"] == 1000
    with pytest.raises(RegardError, match="1 channels, expected 2"):
        again.predict(flat[:1])
    wide = draw.normal(size=(3000, 2)).round(3)  # a text of more characters than what is read of it
    texts = [":".join(",".join(map(str, channel)) for channel in wide.T.tolist())]
    np.testing.assert_array_equal(again.predict_proba([wide]), again.predict_proba(texts))
    np.testing.assert_array_equal(again.predict_proba([wide]), again.predict_proba([wide[:1000]]))
    with pytest.raises(RegardError, match="X, row 2: a series of 1 channels, and the first has 2"):
        again.fit([*long[:2], long[2][:, :1], long[3]], ["up", "down", "up", "down"])
    with pytest.raises(RegardError, match="has learned from texts"):
        model.fit(["a b c", "c d"] * 2, ["up", "down"] * 2).predict(flat)


@pytest.mark.slow
def test_sets_of_labels_as_lists_and_as_a_matrix() -> None:
    X, _ = rows("Classifier")
    sets = [["a"] * ("a" in text) + ["long"] * (len(text) > 10) for text in X]
    model = build("Classifier").fit(X, sets)
    assert model.classes_.tolist() == ["a", "long"] and all(set(each) <= {"a", "long"} for each in model.predict(X))
    matrix = np.array([["a" in each, "long" in each] for each in sets], dtype=int)
    model = build("Classifier").fit(X, matrix)
    found = model.predict(X)
    assert found.shape == matrix.shape and set(found.ravel().tolist()) <= {0, 1}
    assert 0.0 <= model.score(X, matrix) <= 1.0 and model.score(X, found) == 1.0


def test_a_notebook_shows_what_was_looked_at(fitted: dict[str, Estimator]) -> None:
    X, _ = rows("Translator")
    answers = fitted["Translator"].explain([*X[:2], "<b>", ""], method="greedy")
    page = answers._repr_html_()
    assert page.count("<details>") >= 1 and "background:rgb" in page and "&lt;b&gt;" in page and "<b>" in page
    plain = fitted["Translator"].predict(X, method="greedy")
    assert "and 40 more" in plain._repr_html_() and plain.details is None
    assert answers.details is not None and answers.details[0].attention is not None


def test_the_score_of_a_writer_is_what_evaluation_says(fitted: dict[str, Estimator], tmp_path: Path) -> None:
    from regard.predict.evaluate import evaluate, split_examples

    X, _ = rows("Writer")
    model = fitted["Writer"]
    (tmp_path / "test.txt").write_text("".join(line + "\n" for line in X), encoding="utf-8")
    predictor = regard.load(model.run_.path, overrides=[f"data.test.text={tmp_path / 'test.txt'}"])
    told = evaluate(predictor, split_examples(predictor, "test")).perplexity.value
    assert model.score(X) == pytest.approx(-np.log(told), rel=1e-5)


def answers() -> list[dict[str, Any]]:
    """Rows as SQuAD has them."""
    draw, found = random.Random(1), []
    for _ in range(40):
        town = draw.choice(["Oslo", "Rome", "Bonn"])
        context = f"In {town} there is a mill, and in {town} a tower."
        start = context.rindex(town)
        found.append(
            {
                "id": "x",
                "question": "Where is a tower?",
                "context": context,
                "answers": {"text": [town, f"in {town}"], "answer_start": [start, start - 3]},
            }
        )
    found[0]["answers"] = {"text": [], "answer_start": []}
    return found


@pytest.mark.slow
def test_a_reader_takes_questions_in_any_form() -> None:
    data = answers()
    pairs = [(row["question"], row["context"]) for row in data]
    texts = [row["answers"]["text"][0] if row["answers"]["text"] else None for row in data]
    expected = build("Reader").fit(pairs, [row["answers"] for row in data]).predict(pairs)
    for X, y in (
        (pd.DataFrame(data), None),
        (Dataset.from_list(data), None),
        (np.array(pairs), [row["answers"] for row in data]),
        (pd.Series(data), None),
        (pd.DataFrame(pairs, columns=["question", "context"]), pd.Series([row["answers"] for row in data])),
    ):
        assert list(build("Reader").fit(X, y).predict(X)) == list(expected), type(X)
    first = build("Reader").fit(pairs, texts)  # the first place where it stands, not the one that is meant
    column = pd.Series(texts)
    assert [row for i, row in enumerate(texts) if row is None and not _right(column[i], i)[0]] == [None]
    assert first.predictor_.tokenizers["target"].config.pointing
    assert 0 <= first.score(data, None) <= 100 and first.score(pairs, texts) <= 100
    with pytest.raises(RegardError, match="needs y"):
        build("Reader").fit(pairs)
    with pytest.raises(RegardError, match="row 1 is int"):
        build("Reader").fit(pairs[:2], ["", 7])
