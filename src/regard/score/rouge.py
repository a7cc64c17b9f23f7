"""ROUGE-1, ROUGE-2 and ROUGE-L, counted by the rouge-score package over words of any script.

Lin 2004, "ROUGE: a package for automatic evaluation of summaries". For English text words and values are those that
rouge-score finds by itself (a test holds them together); its own words are runs of a to z and 0 to 9, which no other
script has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import regex

from regard.score.metric import Metric, References, nrefs

WORDS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{M}\p{N}]+")
"""Of scripts that put no space between words each character; of others, runs of letters, marks and digits."""


class Rouge(Metric):
    """F1 of what an output and its nearest reference share, 0 to 100: the mean over sentences."""

    higher_is_better: ClassVar[bool] = True
    kind: ClassVar[str]  # as rouge-score calls it

    stem: bool = False
    """Compare stems of English words (Porter's stemmer); off, as in rouge-score."""

    def from_statistics(self, sums: np.ndarray) -> float:
        total, sentences = sums.tolist()
        return 100.0 * total / sentences

    def signature(self, references: References) -> str:
        stem = "porter" if self.stem else "none"
        return f"nrefs:{nrefs(references)}|case:lc|stem:{stem}|words:unicode|version:{version('rouge-score')}"

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        scorer = _scorer(self.kind, self.stem)
        return [
            [float(scorer.score_multi(list(several), hypothesis)[self.kind].fmeasure), 1.0]
            for hypothesis, several in zip(hypotheses, references, strict=True)
        ]


class Rouge1(Rouge):
    """Words in common, each as often as both have it."""

    name: ClassVar[str] = "rouge1"
    label: ClassVar[str] = "ROUGE-1"
    kind: ClassVar[str] = "rouge1"


class Rouge2(Rouge):
    """Pairs of neighbouring words in common: fluent where ROUGE-1 is complete."""

    name: ClassVar[str] = "rouge2"
    label: ClassVar[str] = "ROUGE-2"
    kind: ClassVar[str] = "rouge2"


class RougeL(Rouge):
    """The longest sequence of words that both have in the same order, with gaps."""

    name: ClassVar[str] = "rougel"
    label: ClassVar[str] = "ROUGE-L"
    kind: ClassVar[str] = "rougeL"


@lru_cache
def _scorer(kind: str, stem: bool) -> Any:
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import Tokenizer

    stemmer = PorterStemmer() if stem else None

    class Words(Tokenizer):
        def tokenize(self, text: str) -> list[str]:
            words = WORDS.findall(text.lower())
            # rouge-score leaves words of up to three letters as they are
            return words if stemmer is None else [stemmer.stem(word) if len(word) > 3 else word for word in words]

    return RougeScorer([kind], tokenizer=Words())
