"""Distinct-1 and distinct-2: how much outputs differ from one another.

Li et al. 2016, "A diversity-promoting objective function for neural conversation models": the number of
distinct unigrams (bigrams) of all outputs, divided by how many words (bigrams) they have. Longer outputs have lower
values, so compare systems whose outputs are about as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from regard.score.metric import Metric, References
from regard.score.rouge import WORDS


class Distinct(Metric):
    """The share of n-grams that no output before had, in %; references are not looked at.

    The statistics of an output are its new n-grams, in the order given, and all of its n-grams: their sums are exact,
    and an interval says how far outputs differ in what they add.
    """

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"
    of_outputs_alone: ClassVar[bool] = True
    order: ClassVar[int]

    def from_statistics(self, sums: np.ndarray) -> float:
        new, total = sums.tolist()
        return 100.0 * new / total if total else 0.0

    def signature(self, references: References) -> str:
        return f"n:{self.order}|case:lc|words:unicode"

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        seen: set[tuple[str, ...]] = set()
        rows = []
        for hypothesis in hypotheses:
            words = WORDS.findall(hypothesis.lower())
            found = list(zip(*(words[i:] for i in range(self.order)), strict=False))
            before = len(seen)
            seen.update(found)
            rows.append([float(len(seen) - before), float(len(found))])
        return rows


class Distinct1(Distinct):
    """Words that no output before had, of all words: low where every answer is the same."""

    name: ClassVar[str] = "distinct1"
    label: ClassVar[str] = "distinct-1"
    order: ClassVar[int] = 1


class Distinct2(Distinct):
    """Pairs of neighbouring words that no output before had, of all pairs."""

    name: ClassVar[str] = "distinct2"
    label: ClassVar[str] = "distinct-2"
    order: ClassVar[int] = 2
