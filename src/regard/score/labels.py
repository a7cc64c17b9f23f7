"""Scores of decisions: labels, or sets of them with tabs between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from regard.data.text import TAG
from regard.score.metric import Metric, References, nrefs


class LabelMetric(Metric):
    """A score in percent, of which more is better."""

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"

    def signature(self, references: References) -> str:
        return f"nrefs:{nrefs(references)}|labels:{len(_labels([], references))}"


class Accuracy(LabelMetric):
    """Outputs that equal their reference; of sets of labels, those that are right as a whole.

    Two statistics per example: whether it is right, and 1.
    """

    name: ClassVar[str] = "accuracy"
    label: ClassVar[str] = "accuracy"

    def from_statistics(self, sums: np.ndarray) -> float:
        right, count = sums.tolist()
        return 100.0 * right / count if count else 0.0

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        pairs = zip(hypotheses, references, strict=True)
        return [[float(any(_set(found) == _set(one) for one in several)), 1.0] for found, several in pairs]


class F1(LabelMetric):
    """F1 = 2 tp / (2 tp + fp + fn), from the true and false positives and false negatives of labels.

    Three statistics per example for each label that is told apart: tp, fp, fn against the nearest reference.
    """

    def labels(self, hypotheses: Sequence[str], references: References) -> list[str]:
        """Those that are told apart."""
        return _labels(hypotheses, references)

    def from_statistics(self, sums: np.ndarray) -> float:
        return float(f1(sums).mean()) if len(sums) else 0.0

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        place = {label: 3 * i for i, label in enumerate(self.labels(hypotheses, references))}
        rows = []
        for found, several in zip(map(_set, hypotheses), references, strict=True):
            right = min(map(_set, several), key=lambda one: len(found ^ one))
            row = [0.0] * (3 * len(place))
            for offset, group in enumerate((found & right, found - right, right - found)):
                for label in group & place.keys():
                    row[place[label] + offset] = 1.0
            rows.append(row)
        return rows


class F1Macro(F1):
    """The mean of the labels' F1: a rare one counts as much as a frequent one. Labels are those of the references and
    the outputs, as in scikit-learn."""

    name: ClassVar[str] = "f1_macro"
    label: ClassVar[str] = "macro F1"


class F1Micro(F1):
    """F1 of all decisions about labels together: where each example has one label, it is accuracy."""

    name: ClassVar[str] = "f1_micro"
    label: ClassVar[str] = "micro F1"

    def from_statistics(self, sums: np.ndarray) -> float:
        return float(f1(sums.reshape(-1, 3).sum(0))[0]) if len(sums) else 0.0


class F1Label(F1):
    """F1 of one label: of what is looked for among what is not. Not in METRICS, as it needs to be told which."""

    name: ClassVar[str] = "f1"
    label: ClassVar[str] = "F1"

    positive: str
    """The label."""

    def labels(self, hypotheses: Sequence[str], references: References) -> list[str]:
        return [self.positive]

    def signature(self, references: References) -> str:
        return f"{super().signature(references)}|positive:{self.positive}"


def f1(sums: np.ndarray) -> np.ndarray:
    """F1 of each label in percent, (labels,), from (3 · labels,) counts; 0 for one that is nowhere."""
    true, false, missed = sums.reshape(-1, 3).T
    return 200.0 * true / np.maximum(2.0 * true + false + missed, 1.0)


def _set(text: str) -> set[str]:
    return set(text.split(TAG)) - {""}


def _labels(hypotheses: Sequence[str], references: References) -> list[str]:
    return sorted(set().union(*map(_set, hypotheses), *(_set(one) for several in references for one in several)))
