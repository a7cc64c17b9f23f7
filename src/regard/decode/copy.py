"""Copying: an output may be taken from the source, whether the vocabulary has it or not."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from regard import config
from regard.attend import NORMALIZERS, SCOPES
from regard.decode.embedding import Embedding
from regard.decode.originals import Pointed
from regard.decode.readout import SoftmaxReadout
from regard.ops.loss import CHUNK_ELEMENTS, NllSums
from regard.ops.noise import Noise

LEAST = 1e-10
"""Weight of what only copying can write and attention does not see: its loss is large, and not infinite."""


class CopyReadout(SoftmaxReadout):
    """A mixture of writing from the vocabulary and copying what attention points at.

        p(w) = g p_vocab(w) + (1 − g) Σ_{j: x_j = w} a_j,   g = σ(w · features + b)

    See, Liu & Manning 2017, "Get to the point", equations 8 and 9: the pointer-generator with its extended vocabulary.
    Unlike the paper's, g sees the features, which the context, the state and (through it) the input have gone into; the
    end mark of the source can be copied as any other step; and what only copying can write has a weight of 1e-10 at
    least, so that attention that leaves it out has a loss. Label smoothing is of the mixture, over the vocabulary.

        readout = CopyReadout(features=64, embedding=embedding, tied=True)
        pointed = Originals.of(source_ids, vocab).pointed(weights)     # weights (batch, queries, src_len)
        log_probs, _ = readout.score(features, pointed)                # (batch · queries, vocab + src_len)
    """

    class Config(config.Config):
        """Words of the source can be written, those that no vocabulary holds too."""

        type: Literal["copy"] = "copy"

    fast = False
    copies = True
    estimates = False
    """`train.sampled_softmax` is not for mixtures"""

    def __init__(self, features: int, embedding: Embedding, *, tied: bool, drop: float = 0.0) -> None:
        super().__init__(features, embedding, tied=tied, drop=drop)
        self.generate = nn.Linear(features, 1)

    @staticmethod
    def conflict(attention: Any) -> str | None:
        """Why it cannot work with an attention, if it cannot."""
        if attention is None:
            return "readout copy copies what attention points at, and attention is none: choose a score"
        kinds: dict[str, dict[str, Any]] = {"scope": dict(SCOPES), "normalizer": dict(NORMALIZERS)}
        for name, parts in kinds.items():
            chosen = getattr(attention, name).type
            if not parts[chosen].sums_to_one:
                return (
                    f"readout copy takes attention's weights as probabilities, and with attention.{name} {chosen} they "
                    "sum to less than one: choose another"
                )
        return None

    def score(
        self, features: Float[Tensor, "rows features"], pointed: Pointed | None = None
    ) -> tuple[Float[Tensor, "rows columns"], bool]:
        """log p of the extended vocabulary; −inf for steps that are not the first of their kind."""
        assert pointed is not None, "copying needs attention"
        return self._mixture(self.project(features), self.generate(features), pointed.weights, pointed.tokens), True

    def nll(
        self,
        features: Float[Tensor, "tokens features"],
        targets: Int[Tensor, "tokens"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
        pointed: Pointed | None = None,
    ) -> NllSums:
        """As SoftmaxReadout's, in chunks that are computed anew on the way back. The recipe refuses `sampled`."""
        assert pointed is not None, "copying needs attention"
        parts = (self._projected(features, noise), self.generate(features), pointed.weights, pointed.tokens, targets)
        size = max(1, CHUNK_ELEMENTS // (len(self.bias) + pointed.tokens.shape[1]))
        chunks = zip(*(part.split(size) for part in parts), strict=True)
        found = [checkpoint(self._sums, *chunk, smoothing, use_reentrant=False) for chunk in chunks]
        loss, nll, correct = (torch.stack(each).sum() for each in zip(*found, strict=True))
        return NllSums(loss, nll.detach(), correct)

    def _sums(
        self,
        projected: Float[Tensor, "tokens embed"],
        gate: Float[Tensor, "tokens 1"],
        weights: Float[Tensor, "tokens src_len"],
        tokens: Int[Tensor, "tokens src_len"],
        targets: Int[Tensor, "tokens"],
        smoothing: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        log_probs = self._mixture(projected, gate, weights, tokens)
        nll = -log_probs.gather(1, targets[:, None]).sum()
        uniform = -log_probs[:, : len(self.bias)].mean(-1).sum()
        return (1.0 - smoothing) * nll + smoothing * uniform, nll, (log_probs.argmax(-1) == targets).sum()

    def _mixture(
        self,
        projected: Float[Tensor, "rows embed"],
        gate: Float[Tensor, "rows 1"],
        weights: Float[Tensor, "rows src_len"],
        tokens: Int[Tensor, "rows src_len"],
    ) -> Float[Tensor, "rows columns"]:
        written = F.linear(projected, self.table.weight, self.bias).log_softmax(-1) + F.logsigmoid(gate)
        written = F.pad(written, (0, tokens.shape[1]), value=-torch.inf)
        tiny, vocab = torch.finfo(weights.dtype).tiny, len(self.bias)  # tiny rather than 0, whose log has no gradient
        least = torch.full_like(weights, LEAST).masked_fill(tokens < vocab, tiny)
        floor = torch.full_like(written, tiny).scatter(1, tokens, least)
        copied = floor.scatter_add(1, tokens, weights).log() + F.logsigmoid(-gate)
        no_step = floor < LEAST
        no_step[:, :vocab] = False
        return torch.logaddexp(written, copied).masked_fill(no_step, -torch.inf)
