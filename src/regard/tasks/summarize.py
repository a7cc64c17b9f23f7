"""Document → summary, headline or subject line."""

from __future__ import annotations

from typing import ClassVar

from regard.score.metric import Metric
from regard.score.rouge import Rouge1, Rouge2, RougeL
from regard.tasks.text import TextTask


class Summarize(TextTask):
    """Say in few words what a document says in many: ROUGE-1, ROUGE-2 and ROUGE-L, F1.

    Recipes read the beginning of long documents (`data.source.truncate`) and copy names from them
    (`model.readout: copy`).
    """

    summary: ClassVar[str] = "document → summary, headline, subject line (ROUGE-1/2/L)"
    default_metric: ClassVar[str] = "rouge1"

    def scorers(self) -> list[Metric]:
        stem = self.recipe.score.stem
        return [Rouge1(stem=stem), Rouge2(stem=stem), RougeL(stem=stem)]
