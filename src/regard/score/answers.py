"""Scores of answers that are spans of a passage: exact match and F1, by the rules of SQuAD."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import regex

from regard.score.labels import LabelMetric
from regard.score.metric import References, nrefs

_ARTICLES = regex.compile(r"\b(?:a|an|the)\b")


class AnswerMetric(LabelMetric):
    """The mean over questions of the best value against any of their answers; an empty answer is "there is none".

    Rajpurkar et al. 2016, "SQuAD: 100,000+ questions for machine comprehension of text", section 6.1, and the
    evaluation script of version 2: lower-cased, without punctuation (here of any script), English articles and further
    white space. Two statistics per question: the value, from 0 to 1, and 1.
    """

    characters: bool = False
    """Compare characters, for languages without spaces; off: words."""

    def from_statistics(self, sums: np.ndarray) -> float:
        value, count = sums.tolist()
        return 100.0 * value / count if count else 0.0

    def signature(self, references: References) -> str:
        return f"nrefs:{nrefs(references)}|unit:{'character' if self.characters else 'word'}|norm:squad"

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        pairs = zip(hypotheses, references, strict=True)
        return [[max(self._value(found, one) for one in several), 1.0] for found, several in pairs]

    def _value(self, found: str, right: str) -> float:
        raise NotImplementedError


class ExactMatch(AnswerMetric):
    """Answers that are one of the right ones."""

    name: ClassVar[str] = "em"
    label: ClassVar[str] = "EM"

    def _value(self, found: str, right: str) -> float:
        return float(plain(found) == plain(right))


class AnswerF1(AnswerMetric):
    """F1 of the units that answer and reference share."""

    name: ClassVar[str] = "answer_f1"
    label: ClassVar[str] = "F1"

    def _value(self, found: str, right: str) -> float:
        one, other = (Counter(units(text, self.characters)) for text in (found, right))
        if not one or not other:
            return float(one == other)
        return 2.0 * (one & other).total() / (one.total() + other.total())


def plain(text: str) -> str:
    """What is compared of an answer."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    return " ".join(_ARTICLES.sub(" ", kept).split())


def units(text: str, characters: bool) -> list[str]:
    """Words, or characters without the spaces between them."""
    found = plain(text).split()
    return list("".join(found)) if characters else found
