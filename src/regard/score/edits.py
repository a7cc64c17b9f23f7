"""Error rates of short outputs: whole outputs, tokens (phones), characters.

Any of the references counts as right. Tokens are what spaces separate; runs of white space count as one space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from rapidfuzz.distance import Levenshtein

from regard.score.metric import Metric, References, nrefs


class EditMetric(Metric):
    """Two statistics per sentence, errors and the number of places for one; the value is 100 · errors / places."""

    unit: ClassVar[str] = "%"
    counts: ClassVar[str]  # what is counted, for the signature

    lowercase: bool = False
    """Compare lower-cased texts; off: an output is right when it is the reference."""

    def from_statistics(self, sums: np.ndarray) -> float:
        errors, places = sums.tolist()
        if places == 0:  # every reference is empty: as sacreBLEU's TER has it
            return 100.0 if errors else 0.0
        return 100.0 * errors / places

    def signature(self, references: References) -> str:
        return f"nrefs:{nrefs(references)}|case:{'lc' if self.lowercase else 'mixed'}|unit:{self.counts}"

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        return [
            self._row(self._units(hypothesis), [self._units(one) for one in several])
            for hypothesis, several in zip(hypotheses, references, strict=True)
        ]

    def _units(self, text: str) -> list[str]:
        return (text.lower() if self.lowercase else text).split()

    def _row(self, hypothesis: list[str], references: list[list[str]]) -> list[float]:
        return _nearest(hypothesis, references)


class Wer(EditMetric):
    """Word error rate as pronouncing and inflecting mean it: outputs that equal no reference, in percent."""

    # Recognised speech has another "word error rate", edits per word; it belongs to that task, with jiwer.
    name: ClassVar[str] = "wer"
    label: ClassVar[str] = "WER"
    higher_is_better: ClassVar[bool] = False
    counts: ClassVar[str] = "output"

    def _row(self, hypothesis: list[str], references: list[list[str]]) -> list[float]:
        return [float(hypothesis not in references), 1.0]


class Exact(EditMetric):
    """Outputs that equal one of their references, in percent: 100 − WER."""

    name: ClassVar[str] = "exact"
    label: ClassVar[str] = "exact"
    higher_is_better: ClassVar[bool] = True
    counts: ClassVar[str] = "output"

    def _row(self, hypothesis: list[str], references: list[list[str]]) -> list[float]:
        return [float(hypothesis in references), 1.0]


class Per(EditMetric):
    """Phone error rate: token edits to the nearest reference per token of that reference, in percent."""

    name: ClassVar[str] = "per"
    label: ClassVar[str] = "PER"
    higher_is_better: ClassVar[bool] = False
    counts: ClassVar[str] = "token"


class Cer(EditMetric):
    """Character error rate: character edits to the nearest reference per character of it, in percent."""

    name: ClassVar[str] = "cer"
    label: ClassVar[str] = "CER"
    higher_is_better: ClassVar[bool] = False
    counts: ClassVar[str] = "character"

    def _units(self, text: str) -> list[str]:
        return list(" ".join(super()._units(text)))


def _nearest(hypothesis: list[str], references: list[list[str]]) -> list[float]:
    """Edits to the nearest reference and its length; of equally near ones the shortest, which flatters least."""
    return list(min((float(Levenshtein.distance(hypothesis, one)), float(len(one))) for one in references))
