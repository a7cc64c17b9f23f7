"""BLEU, chrF and TER, computed by sacreBLEU (Post 2018, arXiv:1804.08771) and signed by it.

sacreBLEU's public calls give a corpus value only. The statistics per sentence come from the two methods that
its own significance tests are built on, `_extract_corpus_statistics` and `_compute_score_from_stats`; they
are used in `SacreMetric` and nowhere else, and a test holds the result equal to `corpus_score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from sacrebleu.metrics import BLEU, CHRF, TER

from regard.errors import RegardError
from regard.score.metric import Metric, References


class SacreMetric(Metric):
    """What the three share: reference lists turned into sacreBLEU's columns, and its statistics."""

    lowercase: bool = False
    """Compare lower-cased texts; off: case is part of a translation."""

    def from_statistics(self, sums: np.ndarray) -> float:
        return float(self._scorer()._compute_score_from_stats(sums.tolist()).score)

    def signature(self, references: References) -> str:
        scorer = self._scorer()
        counts = {len(several) for several in references}
        scorer.num_refs = counts.pop() if len(counts) == 1 else -1  # −1 is sacreBLEU's word for `var`
        return str(scorer.get_signature())

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        most = max(len(several) for several in references)
        columns = [[several[j] if j < len(several) else None for several in references] for j in range(most)]
        return self._scorer()._extract_corpus_statistics(hypotheses, columns)

    def _scorer(self) -> Any:
        raise NotImplementedError


class Bleu(SacreMetric):
    """n-gram precision with a brevity penalty, 0 to 100 (Papineni et al. 2002)."""

    name: ClassVar[str] = "bleu"
    label: ClassVar[str] = "BLEU"
    higher_is_better: ClassVar[bool] = True

    tokenize: Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab"] = "13a"
    """sacreBLEU's tokenizer; 13a is its default and WMT's; none: the text is tokenised already (split at spaces);
    char, zh, ja-mecab and ko-mecab for languages written without spaces."""

    def of_sentence(self, row: np.ndarray) -> float:
        """Smoothed, over the lengths of n-grams that the sentence has: of "Two dogs ." it is 100 where that is right,
        as for corpora it is not. sacreBLEU's `sentence_bleu`."""
        return float(BLEU(smooth_method="exp", effective_order=True)._compute_score_from_stats(row.tolist()).score)

    def _scorer(self) -> Any:
        # `force` silences a remark that lines end in a tokenised full stop: here `tokenize` says what is meant.
        try:
            return BLEU(lowercase=self.lowercase, tokenize=self.tokenize, force=True)
        except (RuntimeError, ImportError) as error:
            extra = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}.get(self.tokenize, "sacrebleu")
            raise RegardError(
                f"BLEU: tokenizer {self.tokenize} needs a package that is not installed; "
                f"run `pip install '{extra}'` or choose another tokenizer."
            ) from error


class Chrf(SacreMetric):
    """F-score of character n-grams, 0 to 100 (Popović 2015); with word_order 2 it is chrF++."""

    name: ClassVar[str] = "chrf"
    label: ClassVar[str] = "chrF"
    higher_is_better: ClassVar[bool] = True

    word_order: int = Field(0, ge=0)
    """Longest word n-gram counted too; 0 is chrF, sacreBLEU's default."""

    def _scorer(self) -> Any:
        return CHRF(lowercase=self.lowercase, word_order=self.word_order)


class Ter(SacreMetric):
    """Edits, block moves included, per reference word, in percent: lower is better (Snover et al. 2006)."""

    name: ClassVar[str] = "ter"
    label: ClassVar[str] = "TER"
    higher_is_better: ClassVar[bool] = False

    lowercase: bool = True
    """Compare lower-cased texts; on, as in sacreBLEU and tercom (unlike BLEU and chrF)."""

    def _scorer(self) -> Any:
        return TER(case_sensitive=not self.lowercase)
