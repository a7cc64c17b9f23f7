"""Outputs that are found while training, what they cost, and how likely they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regard.data.tokenizer import BOS, EOS, PAD
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences
from regard.ops.noise import Noise
from regard.score.metric import Metric

if TYPE_CHECKING:
    from regard.data.batches import Batch
    from regard.model import Seq2Seq

Output = tuple[int, ...]
"""Ids, the end mark among them where the output came to its end."""


@dataclass(frozen=True)
class Judge:
    """Finds outputs of a batch's sources, and says what each costs by a metric of its sentence alone."""

    metric: Metric
    text: Callable[[Sequence[int]], str]
    """what a user would read, of ids without end mark"""
    references: Callable[[int], list[str]]
    """all that is right for the source of this example"""
    search: SearchConfig
    """of which the limits of length hold"""

    def sampled(self, model: "Seq2Seq", batch: "Batch", count: int, noise: Noise) -> list[list[Output]]:
        """For each source so many outputs, drawn from the model without dropout: a function of the weights, the source,
        its place and `noise`."""
        seed = int(noise.uniform("objective.samples", (1,), torch.float64).item() * 2**52)
        return self._found(model, batch, method="sample", n_best=count, seed=seed)

    def greedy(self, model: "Seq2Seq", batch: "Batch") -> list[Output]:
        """The output of greedy search for each source."""
        return [one for (one,) in self._found(model, batch, method="greedy")]

    def _found(self, model: "Seq2Seq", batch: "Batch", **how: object) -> list[list[Output]]:
        limits = {name: getattr(self.search, name) for name in ("max_length", "max_length_ratio", "max_length_extra")}
        search = SearchConfig.model_validate({**limits, **how})
        lengths = (batch.source_lengths - 1).tolist()  # without end mark
        sources = [row[:length] for row, length in zip(batch.source.tolist(), lengths, strict=True)]
        found = decode_sentences(*model.for_search(), sources, search, device=batch.source.device)
        return [[(*one.tokens, EOS) if one.finished else tuple(one.tokens) for one in several] for several in found]

    def costs(self, outputs: Sequence[Sequence[Output]], batch: "Batch") -> list[list[float]]:
        """What each output of each source loses, from 0 to 1: 1 − metric / 100, or an error rate, of which all above
        100 % is 1, so that no runaway output outweighs the rest."""
        right = [self.references(int(i)) for i in batch.indices]
        texts = [[self.text([i for i in ids if i != EOS]) for ids in several] for several in outputs]
        pairs = [(text, several) for each, several in zip(texts, right, strict=True) for text in each]
        rows = self.metric.statistics([text for text, _ in pairs], [several for _, several in pairs])
        values = [self.metric.of_sentence(row) / 100.0 for row in rows]
        lost = iter(1.0 - value if self.metric.higher_is_better else value for value in values)
        return [[min(max(next(lost), 0.0), 1.0) for _ in several] for several in outputs]


def log_likelihoods(
    model: "Seq2Seq", batch: "Batch", outputs: Sequence[Sequence[Output]]
) -> list[Float[Tensor, "outputs"]]:
    """log p of all of a source's outputs, for each source, in nats, with gradients; read without dropout, as they were
    found."""
    device = batch.source.device
    every = [torch.tensor(ids) for several in outputs for ids in several]
    rows = torch.tensor([row for row, several in enumerate(outputs) for _ in several], device=device)
    targets = pad_sequence(every, batch_first=True, padding_value=PAD).to(device)
    inputs = torch.cat([torch.full_like(targets[:, :1], BOS), targets[:, :-1]], 1)
    source = model.decoder.prepare([model.encode(batch.source, batch.source_lengths)]).select(rows)
    each = model.decoder.log_likelihoods(source, inputs, targets, targets != PAD)
    return list(each.sum(1).split([len(several) for several in outputs]))
