"""Copying: an output may be taken from the source, whether the vocabulary has it or not."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard import config
from regard.attend import NORMALIZERS, SCOPES
from regard.decode.embedding import Embedding
from regard.decode.readout import SoftmaxReadout
from regard.ops.loss import NllSums
from regard.ops.noise import Noise
from regard.ops.pointer import LEAST, Pointed, pointer_nll
from regard.ops.squash import log_sum_exp


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
    agrees = False
    """`train.r_drop` is not for them either"""

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
        gate, vocab = self.generate(features), len(self.bias)
        written = self.logits(features).log_softmax(-1) + F.logsigmoid(gate)
        written = F.pad(written, (0, pointed.tokens.shape[1]), value=-torch.inf)
        tiny = torch.finfo(written.dtype).tiny  # rather than 0, whose log has no gradient
        floor = torch.full_like(written, tiny).scatter(1, pointed.tokens, pointed.floor(vocab))
        copied = floor.scatter_add(1, pointed.tokens, pointed.weights).log() + F.logsigmoid(-gate)
        no_step = floor < LEAST
        no_step[:, :vocab] = False
        return log_sum_exp([written, copied]).masked_fill(no_step, -torch.inf), True

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
        """As SoftmaxReadout's. The recipe refuses `sampled` and `agreement`."""
        assert pointed is not None, "copying needs attention"
        table, gate = self.table.weight, self.generate(features)
        return pointer_nll(self._projected(features, noise), table, self.bias, gate, pointed, targets, smoothing)
