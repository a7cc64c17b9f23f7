"""From a decoder's features to scores over the vocabulary, and to the loss."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from regard import config
from regard.decode.embedding import Embedding
from regard.ops.agreement import summed_nll
from regard.ops.dropout import dropout
from regard.ops.loss import CHUNK_ELEMENTS, NllSums
from regard.ops.noise import Noise
from regard.ops.pointer import Pointed
from regard.ops.sampled import sampled_nll


class SoftmaxReadout(nn.Module):
    """logits = E (W features + c) + b, with E the target embedding (tied), or its own matrix.

    Tying: Press & Wolf 2017. The projection W to the embedding's size is there in both cases: with it an output
    layer of vocab × embed does the work of vocab × hidden.
    """

    class Config(config.Config):
        """Scores of the vocabulary's tokens."""

        type: Literal["softmax"] = "softmax"

    fast = True
    copies = False
    """whether it reads where attention points"""
    estimates = True
    """whether `train.sampled_softmax` is for it"""
    agrees = True
    """whether `train.r_drop` is for it"""

    @staticmethod
    def conflict(attention: Any) -> str | None:
        """Why it cannot work with an attention, if it cannot: it always can."""
        return None

    def __init__(self, features: int, embedding: Embedding, *, tied: bool, drop: float = 0.0) -> None:
        super().__init__()
        vocab, embed = embedding.weight.shape
        self.project = nn.Linear(features, embed)
        self.table = embedding if tied else Embedding(vocab, embed)
        self.bias = nn.Parameter(torch.zeros(vocab))
        self.drop = drop

    def logits(
        self,
        features: Float[Tensor, "*rows features"],
        ids: Int[Tensor, "ids"] | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "*rows scores"]:
        """Scores before softmax, of the whole vocabulary or of `ids` alone."""
        weight: Tensor = self.table.weight
        bias: Tensor = self.bias
        if ids is not None:
            weight, bias = weight[ids], bias[ids]
        return nn.functional.linear(self._projected(features, noise), weight, bias)

    def _projected(self, features: Tensor, noise: Noise | None) -> Tensor:
        return dropout(self.project(features), self.drop, noise, "readout")

    def score(
        self, features: Float[Tensor, "rows features"], pointed: Pointed | None = None
    ) -> tuple[Float[Tensor, "rows scores"], bool]:
        """Scores of every token, and whether they are log-probabilities."""
        return self.logits(features), False

    def log_likelihoods(
        self,
        features: Float[Tensor, "tokens features"],
        targets: Int[Tensor, "tokens"],
        pointed: Pointed | None = None,
    ) -> Float[Tensor, "tokens"]:
        """log p of each target, in nats, in chunks, whose scores are not kept: for gradients they are made again."""

        def chosen(features: Tensor, targets: Tensor, pointed: Pointed | None) -> Tensor:
            return self._log_probs(features, pointed).gather(1, targets)

        found = [
            checkpoint(chosen, *part, use_reentrant=False, preserve_rng_state=False)
            for part in self._each(features, targets, pointed)
        ]
        return torch.cat(found)[:, 0]

    @torch.no_grad()
    def judged(
        self, features: Float[Tensor, "tokens features"], targets: Int[Tensor, "tokens"]
    ) -> tuple[Float[Tensor, "tokens"], Bool[Tensor, "tokens"]]:
        """log p of each target, in nats, and whether it ranks first; in chunks and without gradients."""
        found, hits = [], []
        for some, right, _ in self._each(features, targets, None):
            log_probs = self._log_probs(some, None)
            found.append(log_probs.gather(1, right))
            hits.append(log_probs.argmax(1, keepdim=True) == right)
        return torch.cat(found)[:, 0], torch.cat(hits)[:, 0]

    def _each(
        self, features: Tensor, targets: Tensor, pointed: Pointed | None
    ) -> Iterator[tuple[Float[Tensor, "rows features"], Int[Tensor, "rows 1"], Pointed | None]]:
        """A chunk of rows at a time."""
        columns = len(self.bias) + (0 if pointed is None else pointed.tokens.shape[1])
        size = max(1, CHUNK_ELEMENTS // columns)
        for first in range(0, len(targets), size):
            rows = slice(first, first + size)
            yield features[rows], targets[rows, None], pointed and pointed.rows(rows)

    def _log_probs(self, features: Tensor, pointed: Pointed | None) -> Float[Tensor, "rows columns"]:
        """log p of every token."""
        scores, normalized = self.score(features, pointed)
        return scores if normalized else scores.log_softmax(-1)

    def nll(
        self,
        features: Float[Tensor, "tokens features"],
        targets: Int[Tensor, "tokens"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
        pointed: Pointed | None = None,
        agreement: float = 0.0,
    ) -> NllSums:
        """Summed cross-entropy of `targets`, in chunks: no tensor of tokens × vocab exists.

        sampled     in training (with noise) estimate it from so many words of the vocabulary; 0: from all
        agreement   the second half of tokens is the first again: add so many times how far apart they are
        """
        projected = self._projected(features, noise)
        if sampled and noise is not None:
            return sampled_nll(projected, self.table.weight, self.bias, targets, smoothing, sampled, noise, agreement)
        return summed_nll(projected, self.table.weight, self.bias, targets, smoothing, agreement)
