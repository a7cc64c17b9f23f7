"""Text → label, or labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from regard.data.batches import Batch, Examples
from regard.data.config import BYTES, SPECIALS
from regard.data.prepare import Pairs, Prepared
from regard.data.text import TAG
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError
from regard.model import LossSums, Seq2Seq
from regard.ops.noise import Noise
from regard.recipe import Recipe
from regard.score.labels import Accuracy, F1Label, F1Macro, F1Micro
from regard.score.metric import Metric
from regard.tasks.decision import DecisionTask


class Classify(DecisionTask):
    """Say what kind of text it is: accuracy, macro F1, and micro F1 of sets of labels or F1 of one label.

    A label is an output of one piece (`data.target.tokenizer: label` and `model.decoder: labels`), so that n-best
    outputs have probabilities, and several runs are an ensemble as any.
    """

    summary: ClassVar[str] = "text → label, or several (accuracy, F1)"
    default_metric: ClassVar[str] = "accuracy"
    decides: ClassVar[bool] = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._importance: Tensor | None = None

    def scorers(self) -> list[Metric]:
        several, positive = self.recipe.data.target.tokenizer == "labels", self.recipe.score.positive
        found: list[Metric] = [Accuracy(), F1Macro()]
        found += [F1Micro()] if several else []
        return found + ([F1Label(positive=positive)] if positive is not None else [])

    def prepare(self, tokenizers: Mapping[str, Tokenizer] | None = None) -> Prepared:
        prepared = super().prepare(tokenizers)
        if self.recipe.data.target.tokenizer == "label":
            self._one_each(prepared)
        return prepared

    def training(self, prepared: Prepared, seed: int) -> Examples:
        if self.recipe.train.class_weights == "balanced":
            self._importance = balanced(prepared.train, prepared.tokenizers["target"].size)
        return super().training(prepared, seed)

    def loss(self, model: Seq2Seq, batch: Batch, noise: Noise | None, done: float = 1.0) -> LossSums:
        if self._importance is None:
            return super().loss(model, batch, noise, done)
        train, importance = self.recipe.train, self._importance.to(next(model.parameters()))
        return model.loss(
            batch, smoothing=train.label_smoothing, noise=noise, agreement=train.r_drop, importance=importance
        )

    def _one_each(self, prepared: Prepared) -> None:
        """Refuse sets of labels where there should be one."""
        longer = np.flatnonzero(prepared.train.target_lengths > 1)  # or labels that are spelled, being too rare
        for i in longer.tolist():
            labels = prepared.train.target_texts(i)[0].split(TAG)
            if len(labels) > 1:
                raise RegardError(
                    f"data.train: a text has several labels, {', '.join(labels)}: set data.target.tokenizer to labels "
                    "and model.decoder.several to true, or leave all but one out."
                )


def balanced(pairs: Pairs, vocab: int) -> Tensor:
    """(vocab,) of each label the mean count of all labels by its own, so that in sum the loss is what it was and each
    label has the same share of it (King & Zeng 2001; scikit-learn's `balanced`)."""
    counts = np.zeros(vocab)
    for i in range(len(pairs)):
        ids = pairs.ids(i)[1]
        counts[ids[ids >= SPECIALS + BYTES]] += 1
    seen = counts > 0
    return torch.from_numpy(np.where(seen, counts.sum() / np.maximum(seen.sum() * counts, 1.0), 1.0))
