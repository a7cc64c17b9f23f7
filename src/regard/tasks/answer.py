"""Question and passage → the part of the passage that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from regard.data.batches import Indices
from regard.data.prepare import Pairs
from regard.data.tokenizer import NOTHING, Tokenizer
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.score.answers import AnswerF1, ExactMatch
from regard.score.metric import Metric
from regard.tasks.decision import DecisionTask


class Answer(DecisionTask):
    """Find the answer to a question in a passage, or that there is none: exact match and F1 by the rules of SQuAD.

    An output is two pointers into the source (`data.target.tokenizer: span`, `model.decoder: span`); its text is what
    stands there, as the user wrote it.
    """

    summary: ClassVar[str] = "question and passage → the part that answers, or none (EM, F1)"
    default_metric: ClassVar[str] = "answer_f1"
    points: ClassVar[bool] = True

    def scorers(self) -> list[Metric]:
        characters = self.recipe.score.characters
        return [ExactMatch(characters=characters), AnswerF1(characters=characters)]

    def finish(
        self, tokens: Sequence[int], tokenizers: Mapping[str, Tokenizer], unnamed: Mapping[int, str] = NOTHING
    ) -> str:
        """What stands from the first pointer to the last."""
        return "".join(unnamed.get(i, "") for i in range(tokens[0], tokens[-1] + 1)).rstrip() if tokens else ""

    def scored(self, pairs: Pairs, longest: int, name: str) -> Indices:
        """Those whose answer is in the passage, and, as everywhere, that are not too long."""
        kept = super().scored(pairs, longest, name)
        kept = kept[np.asarray(pairs.target_lengths)[kept] > 0]
        if not len(kept):
            raise RegardError(f"{name}: no answer is in its passage, so none can be scored: are the columns right?")
        return kept

    def open_ended(self, search: SearchConfig) -> SearchConfig:
        """A span is two tokens, whatever limits a recipe has for texts."""
        limits = {"min_length": 0, "max_length": 3, "max_length_extra": 3, "no_repeat_ngram": 0}
        return super().open_ended(search).model_copy(update=limits)
