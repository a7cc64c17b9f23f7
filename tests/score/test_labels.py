"""Accuracy and F1 against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from regard.errors import RegardError
from regard.score import METRICS, interval
from regard.score.labels import F1Label

LABELS = ["a", "b b", "c", "rare"]


def draw(count=300, seed=1):
    random = np.random.default_rng(seed)
    right = random.choice(LABELS, count, p=[0.5, 0.3, 0.19, 0.01])
    found = np.where(random.random(count) < 0.7, right, random.choice(LABELS, count))
    return found.tolist(), right.tolist()


def draw_sets(count=200, seed=2):
    random = np.random.default_rng(seed)
    right = random.random((count, len(LABELS))) < 0.3
    found = right ^ (random.random(right.shape) < 0.1)
    return (
        [[label for label, there in zip(LABELS, row, strict=True) if there] for row in rows] for rows in (found, right)
    )


def test_one_label_each():
    found, right = draw()
    references = [[one] for one in right]
    expected = {
        "accuracy": accuracy_score(right, found),
        "f1_macro": f1_score(right, found, average="macro"),
        "f1_micro": f1_score(right, found, average="micro"),
    }
    for name, value in expected.items():
        assert METRICS[name]().corpus(found, references) == pytest.approx(100 * value), name
    assert F1Label(positive="c").corpus(found, references) == pytest.approx(
        100 * f1_score([one == "c" for one in right], [one == "c" for one in found])
    )


def test_sets_of_labels():
    found, right = draw_sets()
    matrix = MultiLabelBinarizer(classes=LABELS)
    one, two = (matrix.fit_transform(sets) for sets in (right, found))
    texts, references = ["\t".join(each) for each in found], [["\t".join(each)] for each in right]
    assert METRICS["accuracy"]().corpus(texts, references) == pytest.approx(100 * accuracy_score(one, two))
    for average in ("macro", "micro"):
        expected = 100 * f1_score(one, two, average=average)
        assert METRICS[f"f1_{average}"]().corpus(texts, references) == pytest.approx(expected)


def test_intervals_are_of_the_same_labels_in_every_draw():
    found, right = draw()
    metric = METRICS["f1_macro"]()
    rows = metric.statistics(found, [[one] for one in right])
    assert rows.shape == (300, 3 * len(LABELS))
    score = interval(metric, rows)
    assert score.low < score.value < score.high


def test_what_no_reference_says():
    assert F1Label(positive="nowhere").corpus(["a"], [["a"]]) == 0.0
    assert METRICS["f1_macro"]().corpus([""], [[""]]) == 0.0 and METRICS["accuracy"]().corpus([""], [[""]]) == 100.0
    with pytest.raises(RegardError, match="expected a list of outputs"):
        METRICS["accuracy"]().corpus("a", [["a"]])
