"""Minimum-Bayes-risk decoding: against the sum written out, and through a model that is asked."""

from __future__ import annotations

import itertools
import math

import pytest

from regard.decode.config import SearchConfig
from regard.score import TEXT_METRICS
from regard.score.agreement import by_agreement

TEXTS = ["a dog runs", "a dog runs fast", "the cat sleeps", "a dog ran", "a dog runs", ""]


@pytest.mark.parametrize("name", ["chrf", "ter", "cer", "rougel"])
@pytest.mark.parametrize("log_probs", [None, [-1.0, -0.5, -0.1, -3.0, -1.0, -2.0]])
def test_the_first_has_the_highest_expected_score(name: str, log_probs: list[float] | None) -> None:
    metric = TEXT_METRICS[name]()
    likely = [1.0] * len(TEXTS) if log_probs is None else [math.exp(each) for each in log_probs]
    sign = 1.0 if metric.higher_is_better else -1.0
    expected = [
        sign * sum(p * metric.corpus([one], [[other]]) for p, other in zip(likely, TEXTS, strict=True)) for one in TEXTS
    ]
    found = by_agreement(TEXTS, metric, log_probs)
    assert sorted(found) == [0, 1, 2, 3, 5], "each text once, where it first stands"
    assert all(expected[one] >= expected[other] - 1e-9 for one, other in itertools.pairwise(found))
    assert TEXTS[found[0]].startswith("a dog")


def test_one_output_is_the_best() -> None:
    assert by_agreement(["a", "a"], TEXT_METRICS["chrf"]()) == [0]


def test_a_search_finds_enough_to_compare() -> None:
    assert SearchConfig().compared() == SearchConfig()
    sampled = SearchConfig(method="sample", mbr="chrf", candidates=20, n_best=3).compared()
    assert sampled.samples == 20 and sampled.width == 1
    beam = SearchConfig(mbr="chrf", candidates=12).compared()
    assert (beam.width, beam.n_best) == (12, 12)
    with pytest.raises(ValueError, match="mbr chrf chooses among several outputs, and greedy finds one"):
        SearchConfig(method="greedy", mbr="chrf")
