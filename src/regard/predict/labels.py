"""The probability of every label of a text, where search would name the likeliest ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.decode.engine import batches_for, prepare_sources
from regard.errors import RegardError
from regard.predict.predictor import BATCH, Predictor


@torch.inference_mode()
def label_probabilities(predictor: Predictor, texts: Sequence[str], *, batch: int = BATCH) -> Tensor:
    """(texts, labels) in float64, in the order of the target tokenizer's `labels`; of several runs the mean.

    One label each: a row has what the model leaves for labels it knows, in sum nearly one. Sets of labels: each by
    itself. A text that is too long is an error.
    """
    if not predictor.task.decides:
        raise RegardError(f"label_probabilities: a run of task {predictor.recipe.task} has no labels.")
    read = predictor.read(texts)
    found = torch.zeros(len(read), len(predictor.tokenizers["target"].labels), dtype=torch.float64)
    for member in predictor.members:
        decoder: Any = member.decoder
        for rows in batches_for(decoder, read, batch):
            source = prepare_sources(member.encode, decoder, [read[row] for row in rows], member.device)
            found[rows] += decoder.probabilities(decoder.logits(source)).double().cpu() / len(predictor.members)
    return found
