"""Intervals against sacreBLEU's and the normal approximation; the paired test against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from regard.errors import RegardError
from regard.score import METRICS, Interval, Paired, interval, paired

EXACT = METRICS["exact"]()


def outcomes(right: np.ndarray) -> np.ndarray:
    """Statistics of `exact` for sentences that are right (1) or wrong (0)."""
    return np.stack([right, np.ones_like(right)], axis=1).astype(np.float64)


def coin(probability: float, sentences: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(sentences) < probability


def test_interval_is_sacrebleus_own():
    rng = np.random.default_rng(5)
    words = np.array(list("abcdef"))
    references = [[" ".join(rng.choice(words, size=8))] for _ in range(50)]
    hypotheses = [one[:-3] + " " + str(rng.choice(words)) for (one,) in references]
    metric = METRICS["bleu"](tokenize="none")
    ours = interval(metric, metric.statistics(hypotheses, references))
    theirs = BLEU(tokenize="none", force=True).corpus_score(hypotheses, [[r for (r,) in references]], n_bootstrap=1000)
    # the same draws; sacreBLEU sums in float32, hence the tolerance
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs._ci, rel=1e-5)
    assert ours.value == theirs.score and ours.low < ours.value < ours.high


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_of_a_rate_is_the_binomial_one(level):
    right = coin(0.7, 2000, seed=1)
    found = interval(EXACT, outcomes(right), level=level, samples=2000)
    p = right.mean()
    half = {0.8: 1.2816, 0.95: 1.96}[level] * 100 * math.sqrt(p * (1 - p) / 2000)
    assert found.value == pytest.approx(100 * p)
    # a bootstrap of 2,000 draws knows its ends to about a tenth of the half width
    assert found.low == pytest.approx(100 * p - half, abs=0.15 * half)
    assert found.high == pytest.approx(100 * p + half, abs=0.15 * half)


def test_same_seed_same_interval_other_seed_another():
    rows = outcomes(coin(0.5, 100, seed=2))
    assert interval(EXACT, rows) == interval(EXACT, rows)
    assert interval(EXACT, rows, seed=1, samples=77) != interval(EXACT, rows, seed=2, samples=77)


def test_draws_against_plain_indexing():
    rng = np.random.default_rng(9)
    rows_a, rows_b = outcomes(coin(0.6, 40, seed=3)), outcomes(coin(0.5, 40, seed=4))
    drawn = [rng.integers(40, size=40) for _ in range(200)]
    differences = np.array([100 * (rows_a[d, 0].mean() - rows_b[d, 0].mean()) for d in drawn])
    delta = 100 * (rows_a[:, 0].mean() - rows_b[:, 0].mean())
    found = paired(EXACT, rows_a, rows_b, samples=200, seed=9)
    assert found.delta == pytest.approx(delta)
    assert (found.low, found.high) == pytest.approx((np.sort(differences)[5], np.sort(differences)[194]))
    shifted = np.abs(differences - differences.mean())
    assert found.p_value == (np.sum(shifted >= abs(delta) - 1e-12) + 1) / 201
    assert found.wins == pytest.approx(np.mean(differences > 1e-12) + np.mean(np.abs(differences) < 1e-12) / 2)


def test_p_value_is_that_of_the_normal_approximation():
    a, b = coin(0.62, 1500, seed=5), coin(0.6, 1500, seed=6)
    difference = a.astype(float) - b
    z = abs(difference.mean()) / (difference.std() / math.sqrt(1500))
    found = paired(EXACT, outcomes(a), outcomes(b), samples=2000)
    assert found.p_value == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.04)  # 2,000 draws: s.e. 0.01


def test_p_values_of_equal_systems_are_uniform():
    """Under the null hypothesis one comparison in ten has p < 0.1: 20 of 200, with a standard deviation of 4."""
    small = 0
    for seed in range(200):
        a, b = coin(0.5, 60, seed=seed), coin(0.5, 60, seed=1000 + seed)
        small += paired(EXACT, outcomes(a), outcomes(b), samples=100, seed=seed).p_value < 0.1
    assert 8 <= small <= 34


def test_a_system_against_itself_is_no_evidence():
    rows = outcomes(coin(0.5, 80, seed=7))
    found = paired(EXACT, rows, rows)
    assert (found.delta, found.low, found.high, found.p_value, found.wins) == (0, 0, 0, 1, 0.5)


def test_wins_follow_the_direction_of_the_metric():
    worse, better = outcomes(coin(0.9, 200, seed=8)), outcomes(coin(0.3, 200, seed=8))  # errors: fewer is better
    found = paired(METRICS["wer"](), better, worse)
    assert found.delta < 0 and found.wins == 1 and found.p_value == 1 / 1001
    assert paired(METRICS["wer"](), worse, better).wins == 0


def test_they_print_on_one_line():
    assert str(Interval("BLEU", "", 39.12, 38.2, 40.04)) == "BLEU 39.1 [38.2, 40.0]"
    assert str(Interval("WER", "%", 27.3, 26.0, 28.6)) == "WER 27.3 % [26.0, 28.6]"
    assert str(Paired("BLEU", "", 0.8, 0.2, 1.4, 0.012, 0.99)) == "BLEU +0.8 [+0.2, +1.4], p = 0.012"
    assert str(Paired("WER", "%", -2.0, -3.0, -1.0, 1 / 1001, 1.0)).endswith("p < 0.001")


def test_bad_input():
    rows = outcomes(coin(0.5, 10, seed=1))
    with pytest.raises(RegardError, match="10 and 9 sentences"):
        paired(EXACT, rows, rows[:9])
    with pytest.raises(RegardError, match=r"shape \(0, 2\)"):
        interval(EXACT, rows[:0])
    with pytest.raises(RegardError, match=r"0 samples at level 0\.95"):
        interval(EXACT, rows, samples=0)
    with pytest.raises(RegardError, match="level 95"):
        interval(EXACT, rows, level=95)
