"""Distinct-1 and distinct-2 against a count by hand and, on random outputs, against sets."""

from __future__ import annotations

import random

import pytest

from regard.score import METRICS, interval


def test_by_hand() -> None:
    outputs = ["I like it.", "i LIKE that", "", "it"]
    references = [["x"]] * 4
    assert METRICS["distinct1"]().corpus(outputs, references) == pytest.approx(100 * 4 / 7)  # i like it that
    assert METRICS["distinct2"]().corpus(outputs, references) == pytest.approx(100 * 3 / 4)  # i-like like-it like-that
    assert METRICS["distinct2"]().corpus(["", "one"], [["x"]] * 2) == 0.0  # there are no pairs


@pytest.mark.parametrize("order", [1, 2])
def test_the_sum_of_what_each_output_adds_is_the_number_of_all(order: int) -> None:
    draw = random.Random(order)
    outputs = [" ".join(draw.choices("abcdef", k=draw.randint(0, 9))) for _ in range(200)]
    grams = [tuple(words[i : i + order]) for words in map(str.split, outputs) for i in range(len(words) - order + 1)]
    metric = METRICS[f"distinct{order}"]()
    rows = metric.statistics(outputs, [["x"]] * 200)
    assert metric.from_statistics(rows.sum(0)) == pytest.approx(100 * len(set(grams)) / len(grams))
    found = interval(metric, rows)
    assert found.low <= found.value <= found.high
