"""What tasks share whose output is one decision, however many tokens that takes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from regard.data.batches import Indices
from regard.data.prepare import Pairs
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.model import Seq2Seq
from regard.score.metric import Metric
from regard.score.perplexity import Told
from regard.tasks.text import TextTask, told_pairs


class DecisionTask(TextTask):
    """Outputs are ranked by their probability, and perplexity is per example, ends not counted."""

    per_token: ClassVar[bool] = False

    @property
    def metrics(self) -> dict[str, bool]:
        return {**{scorer.name: scorer.higher_is_better for scorer in self.scorers()}, "perplexity": False}

    def told(self, model: Seq2Seq, pairs: Pairs, kept: Indices) -> Told:
        nll = told_pairs(model, pairs, self.recipe.train.batch_tokens, kept)[:, 0]
        return Told(np.stack([nll, np.ones_like(nll)], 1), None)

    def told_scores(self, model: Seq2Seq, pairs: Pairs, kept: Indices, *, full: bool) -> dict[str, float]:
        return {"perplexity": self.told(model, pairs, kept).perplexity}

    def compared_by(self, search: SearchConfig) -> Metric | None:
        if search.mbr is not None:
            raise RegardError("search.mbr: a decision is one of few, and has its own probability; leave it out.")
        return None

    def open_ended(self, search: SearchConfig) -> SearchConfig:
        """A set's probability is that of all its decisions, however many of them are labels; spans have two tokens."""
        return search.model_copy(update={"length_penalty": 0.0})
