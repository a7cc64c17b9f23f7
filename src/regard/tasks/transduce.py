"""Word → its pronunciation, inflected form or transliteration."""

from __future__ import annotations

from typing import ClassVar

from regard.data.prepare import Pairs
from regard.score.edits import Cer, Per, Wer
from regard.score.metric import Metric
from regard.tasks.text import TextTask


class Transduce(TextTask):
    """Rewrite words symbol by symbol: share of wrong outputs (WER), and edits per symbol: PER where symbols have spaces
    between, CER where they are letters.

    A source that stands in several lines has several right answers: they are one example with all of them as
    references.
    """

    summary: ClassVar[str] = "word → pronunciation, inflection, transliteration (WER, PER or CER)"
    default_metric: ClassVar[str] = "wer"

    def scorers(self) -> list[Metric]:
        lowercase = self.recipe.score.lowercase
        letters = self.recipe.data.target.tokenizer == "char" and self.recipe.train.metric != "per"
        return [Wer(lowercase=lowercase), (Cer if letters else Per)(lowercase=lowercase)]

    def examples(self, pairs: Pairs) -> tuple[list[str], list[list[str]]]:
        """One example per distinct source, in order of appearance."""
        grouped: dict[str, list[str]] = {}
        for i in range(len(pairs)):
            grouped.setdefault(pairs.source_text(i), []).extend(pairs.target_texts(i))
        return list(grouped), list(grouped.values())
