"""What an objective is, and what those of whole outputs share: outputs found while training, and what they cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regard.data.batches import Batch
from regard.data.tokenizer import BOS, EOS, PAD
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences
from regard.model import LossSums, Seq2Seq
from regard.ops.noise import Noise
from regard.score.metric import Metric

Output = tuple[int, ...]
"""Ids, the end mark among them where the output came to its end."""


class Objective:
    """What training minimises."""

    samples: ClassVar[bool] = True
    """whether outputs are found in training"""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __call__(
        self, model: Seq2Seq, batch: Batch, noise: Noise, likelihood: Callable[[], LossSums], judge: "Judge | None"
    ) -> LossSums:
        """What a batch gives.

        likelihood   computes its cross-entropy, by whatever the recipe adds to that
        judge        finds and scores outputs; there is one where `samples`
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Judge:
    """Finds outputs of a batch's sources, and says what each costs by a metric of its sentence alone."""

    metric: Metric
    text: Callable[[Sequence[int]], str]
    """what a user would read, of ids without end mark"""
    search: SearchConfig
    """of which the limits of length hold"""

    def sampled(self, model: Seq2Seq, batch: Batch, count: int, noise: Noise) -> list[list[Output]]:
        """For each source so many outputs, drawn from the model without dropout: a function of the weights, the source,
        its place and `noise`."""
        seed = int(noise.uniform("objective.samples", (1,), torch.float64).item() * 2**52)
        return self._found(model, batch, {"method": "sample", "n_best": count, "seed": seed})

    def greedy(self, model: Seq2Seq, batch: Batch) -> list[Output]:
        """The output of greedy search for each source."""
        return [one for (one,) in self._found(model, batch, {"method": "greedy", "n_best": 1})]

    def _found(self, model: Seq2Seq, batch: Batch, changes: dict[str, object]) -> list[list[Output]]:
        plain = {"mbr": None, "coverage_penalty": 0.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        limits = {"min_length": 0, "no_repeat_ngram": 0}
        search = self.search.model_copy(update={**plain, **limits, **changes})
        lengths = (batch.source_lengths - 1).tolist()  # without end mark
        sources = [row[:length] for row, length in zip(batch.source.tolist(), lengths, strict=True)]
        found = decode_sentences(*model.for_search(), sources, search, device=batch.source.device)
        return [[(*one.tokens, EOS) if one.finished else tuple(one.tokens) for one in several] for several in found]

    def references(self, batch: Batch) -> list[Output]:
        """The targets of a batch."""
        return [tuple(i for i in row if i != PAD) for row in batch.target_out.tolist()]

    def costs(self, outputs: Sequence[Sequence[Output]], batch: Batch) -> list[list[float]]:
        """For each output of each source what its sentence loses, a hundredth of the metric's unit: 1 − BLEU / 100, or
        the error rate."""
        right = [self._read(ids) for ids in self.references(batch)]
        pairs = [(self._read(ids), [text]) for several, text in zip(outputs, right, strict=True) for ids in several]
        rows = self.metric.statistics([text for text, _ in pairs], [texts for _, texts in pairs])
        values = np.array([self.metric.from_statistics(row) for row in rows]) / 100.0
        left = iter((1.0 - values if self.metric.higher_is_better else values).tolist())
        return [[next(left) for _ in several] for several in outputs]

    def _read(self, ids: Output) -> str:
        return self.text([i for i in ids if i != EOS])


def log_likelihoods(
    model: Seq2Seq, batch: Batch, outputs: Sequence[Sequence[Output]]
) -> list[Float[Tensor, "outputs"]]:
    """log p of all of a source's outputs, for each source, in nats, with gradients; read without dropout, as they were
    found."""
    device = batch.source.device
    every = [list(ids) for several in outputs for ids in several]
    rows = torch.tensor([row for row, several in enumerate(outputs) for _ in several], device=device)
    targets = pad_sequence([torch.tensor(ids) for ids in every], batch_first=True, padding_value=PAD).to(device)
    inputs = torch.cat([torch.full_like(targets[:, :1], BOS), targets[:, :-1]], 1)
    source = model.decoder.prepare([model.encode(batch.source, batch.source_lengths)])
    told, _ = model.decoder.forced(source.select(rows), inputs, targets)
    return list(told.masked_fill(targets == PAD, 0.0).sum(1).split([len(several) for several in outputs]))
