"""Sentence → sentence in another language."""

from __future__ import annotations

from typing import ClassVar

from regard.score.metric import Metric
from regard.score.translation import Bleu, Chrf, Ter
from regard.tasks.text import TextTask


class Translate(TextTask):
    """Translate sentences: BLEU, chrF and TER, as sacreBLEU computes them."""

    summary: ClassVar[str] = "sentence → sentence in another language (BLEU, chrF, TER)"
    default_metric: ClassVar[str] = "bleu"

    def scorers(self) -> list[Metric]:
        options = self.recipe.score
        return [
            Bleu(tokenize=options.tokenize, lowercase=options.lowercase),
            Chrf(lowercase=options.lowercase),
            Ter(),  # compares lower-cased texts by its own convention
        ]
