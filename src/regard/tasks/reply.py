"""A conversation so far → what is said next."""

from __future__ import annotations

from typing import ClassVar

from regard.score.distinct import Distinct1, Distinct2
from regard.score.metric import Metric
from regard.score.translation import Bleu
from regard.tasks.text import TextTask


class Reply(TextTask):
    """Answer the last turn of a conversation, knowing those before it: perplexity, BLEU, distinct-1 and distinct-2.

    A source is turns with tabs between, the last `data.source.turns` of which are read. Of many good replies the
    references hold one, so perplexity chooses models: BLEU of a reply says little (Liu et al. 2016).
    """

    summary: ClassVar[str] = "conversation → reply (perplexity, BLEU, distinct-1/2)"
    default_metric: ClassVar[str] = "perplexity"
    converses: ClassVar[bool] = True

    def scorers(self) -> list[Metric]:
        options = self.recipe.score
        return [Bleu(tokenize=options.tokenize, lowercase=options.lowercase), Distinct1(), Distinct2()]
