"""From a decoder's features to scores over the vocabulary, and to the loss."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.decode.embedding import Embedding
from regard.ops.dropout import dropout
from regard.ops.loss import CHUNK_ELEMENTS, NllSums, chunked_nll
from regard.ops.noise import Noise
from regard.ops.sampled import sampled_nll


class SoftmaxReadout(nn.Module):
    """logits = E (W features + c) + b, with E the target embedding (tied), or its own matrix.

    Tying: Press & Wolf 2017. The projection W to the embedding's size is there in both cases: with it an output
    layer of vocab × embed does the work of vocab × hidden.
    """

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

    @torch.no_grad()
    def log_likelihoods(
        self, features: Float[Tensor, "tokens features"], targets: Int[Tensor, "tokens"]
    ) -> Float[Tensor, "tokens"]:
        """log p of each target, in nats, in chunks and without gradients: a reward, not a loss."""
        size = max(1, CHUNK_ELEMENTS // len(self.bias))
        pairs = zip(features.split(size), targets.split(size), strict=True)
        return -torch.cat(
            [nn.functional.cross_entropy(self.logits(some), right, reduction="none") for some, right in pairs]
        )

    def nll(
        self,
        features: Float[Tensor, "tokens features"],
        targets: Int[Tensor, "tokens"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
    ) -> NllSums:
        """Summed cross-entropy of `targets`, in chunks: no tensor of tokens × vocab exists.

        sampled   in training (with noise) estimate it from so many words of the vocabulary; 0: from all
        """
        projected = self._projected(features, noise)
        if sampled and noise is not None:
            return sampled_nll(projected, self.table.weight, self.bias, targets, smoothing, sampled, noise)
        return chunked_nll(projected, self.table.weight, self.bias, targets, smoothing)
