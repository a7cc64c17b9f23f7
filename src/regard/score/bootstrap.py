"""How sure a score is: bootstrap intervals, and the paired comparison of two systems.

Koehn 2004, *Statistical significance tests for machine translation evaluation* (EMNLP, W04-3250), "Bootstrap
Resampling" and "Paired Bootstrap Resampling": draw as many sentences as there are, with replacement, score
the draw, repeat. As in sacreBLEU, draws come from numpy's default generator with seed 12345.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from regard.errors import RegardError
from regard.score.metric import Metric

SAMPLES = 1000  # Koehn 2004, and sacreBLEU's default
SEED = 12345  # sacreBLEU's default


@dataclass(frozen=True)
class Interval:
    """A score with its bootstrap interval; prints as `BLEU 39.1 [38.2, 40.0]`."""

    label: str
    unit: str
    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.label} {self.value:.1f}{unit} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Paired:
    """How far system a is from system b; prints as `BLEU +0.8 [+0.2, +1.4], p = 0.012`."""

    label: str
    unit: str
    delta: float  # a − b, in the metric's own direction: negative is better for an error rate
    low: float
    high: float
    p_value: float  # two-sided
    wins: float  # share of draws in which a is better than b, a tie counting half: Koehn's own number
    level: float = 0.95

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        p_value = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        return f"{self.label} {self.delta:+.1f}{unit} [{self.low:+.1f}, {self.high:+.1f}], {p_value}"


def interval(
    metric: Metric, statistics: np.ndarray, *, samples: int = SAMPLES, seed: int = SEED, level: float = 0.95
) -> Interval:
    """The value of `metric` and the interval that holds `level` of the resampled values.

        rows = metric.statistics(hypotheses, references)
        print(interval(metric, rows))                   # BLEU 39.1 [38.2, 40.0]

    statistics   (sentences, k) from `metric.statistics`
    """
    _check(statistics, samples, level)
    (values,) = _resample(metric, [statistics], samples, seed)
    low, high = _middle(values, level)
    value = metric.from_statistics(statistics.sum(axis=0))
    return Interval(metric.label, metric.unit, value, low, high, level)


def paired(
    metric: Metric,
    statistics_a: np.ndarray,
    statistics_b: np.ndarray,
    *,
    samples: int = SAMPLES,
    seed: int = SEED,
    level: float = 0.95,
) -> Paired:
    """Compare two systems on the same sentences: each draw takes the same sentences for both.

    The p-value is that of the shifted bootstrap (Riezler & Maxwell 2005, W05-0908, figure 2): the share of draws
    whose difference lies as far from the mean difference as that difference lies from zero, plus one draw for
    the data themselves. Unlike sacreBLEU's it is two-sided, and 1 where the systems are equal.
    """
    _check(statistics_a, samples, level)
    if statistics_a.shape != statistics_b.shape:
        raise RegardError(
            f"comparing systems: statistics of {statistics_a.shape[0]:,} and {statistics_b.shape[0]:,} sentences "
            f"({statistics_a.shape[-1]} and {statistics_b.shape[-1]} numbers each); "
            "score both on the same sentences with the same metric."
        )
    values_a, values_b = _resample(metric, [statistics_a, statistics_b], samples, seed)
    differences = values_a - values_b
    delta = metric.from_statistics(statistics_a.sum(axis=0)) - metric.from_statistics(statistics_b.sum(axis=0))
    # 1e-12: values of equal systems may differ in the last bit, which is no evidence
    farther = np.abs(differences - differences.mean()) >= abs(delta) - 1e-12
    p_value = (float(farther.sum()) + 1) / (samples + 1)
    better = np.sign(differences) if metric.higher_is_better else -np.sign(differences)
    low, high = _middle(differences, level)
    return Paired(metric.label, metric.unit, delta, low, high, p_value, float((better + 1).mean() / 2), level)


def _resample(metric: Metric, tables: list[np.ndarray], samples: int, seed: int) -> np.ndarray:
    """Values of each table for the same draws, (tables, samples). Memory is one draw, not samples × sentences."""
    sentences, columns = tables[0].shape
    stacked = np.concatenate(tables, axis=1)  # (sentences, tables * k)
    generator = np.random.default_rng(seed)
    values = np.empty((len(tables), samples))
    for draw in range(samples):
        times = np.bincount(generator.integers(sentences, size=sentences), minlength=sentences)
        sums = (times.astype(np.float64) @ stacked).reshape(len(tables), columns)
        values[:, draw] = [metric.from_statistics(row) for row in sums]
    return values


def _middle(values: np.ndarray, level: float) -> tuple[float, float]:
    """Lowest and highest after leaving out (1 − level) / 2 of the values at either end, as sacreBLEU does."""
    left_out = math.floor(len(values) * (1 - level) / 2 + 1e-9)
    ordered = np.sort(values)
    return float(ordered[left_out]), float(ordered[len(values) - 1 - left_out])


def _check(statistics: np.ndarray, samples: int, level: float) -> None:
    if statistics.ndim != 2 or not len(statistics):
        raise RegardError(
            f"bootstrap: statistics of shape {statistics.shape}; expected one row per sentence, at least one."
        )
    if samples < 1 or not 0 < level < 1:
        raise RegardError(f"bootstrap: {samples} samples at level {level}; expected 1 or more, and a level in (0, 1).")
