"""The loss of a mixture of writing and copying, without the mixture: what copying adds is a number a source step."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops.loss import CHUNK_ELEMENTS, NllSums

LEAST = 1e-10
"""Weight of what only copying can write and attention does not see: its loss is large, and not infinite."""


class Pointed(NamedTuple):
    """Where attention points while rows are written."""

    weights: Float[Tensor, "rows src_len"]
    tokens: Int[Tensor, "rows src_len"]
    """what copying each step would write, in the extended vocabulary"""
    first: Int[Tensor, "rows src_len"]
    """the first step with the same token"""

    def rows(self, some: slice | Int[Tensor, "some"]) -> "Pointed":
        return Pointed(self.weights[some], self.tokens[some], self.first[some])

    def floor(self, vocab: int) -> Float[Tensor, "rows src_len"]:
        """What is added to a step's weight: of words tiny rather than 0, whose log has no gradient."""
        tiny = torch.finfo(self.weights.dtype).tiny
        return torch.full_like(self.weights, LEAST).masked_fill(self.tokens < vocab, tiny)


def pointer_nll(
    features: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "vocab dim"],
    bias: Float[Tensor, "vocab"],
    gate: Float[Tensor, "tokens 1"],
    pointed: Pointed,
    targets: Int[Tensor, "tokens"],
    smoothing: float = 0.0,
) -> NllSums:
    """Sum of −Σ_v q(v) log p(v), with q = (1 − ε) one-hot + ε / vocab over the vocabulary and

        p(v) = σ(gate) softmax(features · weightᵀ + bias)(v) + (1 − σ(gate)) Σ_{j: x_j = v} a_j

    In chunks, with gradients made in the forward pass, as `chunked_nll`. But for the words of the source, p is the
    softmax times a number, so that an entry of the vocabulary costs what it costs there.
    """
    parts = (features, weight, bias, gate, pointed.weights)
    wanted = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    loss, nll, correct = _PointerNll.apply(*parts, pointed.tokens, pointed.first, targets, smoothing, wanted)
    return NllSums(loss, nll, correct)


class _PointerNll(Function):
    """The gradient by the logits is the softmax times a number a row, but for the target and the source's words."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        gate: Tensor,
        weights: Tensor,
        tokens: Tensor,
        first: Tensor,
        targets: Tensor,
        smoothing: float,
        wanted: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        grads = [torch.zeros_like(part) for part in (features, weight, bias, gate, weights)] if wanted else []
        sums = torch.zeros(3, dtype=torch.float64, device=features.device)
        size = max(1, CHUNK_ELEMENTS // (len(bias) + tokens.shape[1]))
        for begin in range(0, len(features), size):
            rows = slice(begin, begin + size)
            small = _Small(Pointed(weights[rows], tokens[rows], first[rows]), targets[rows], len(bias), smoothing)
            logits = F.linear(features[rows], weight, bias)
            grad = small.gradient(logits, gate[rows], sums, wanted)
            if grad is not None:
                by_logits, grads[3][rows], grads[4][rows] = grad
                torch.mm(by_logits, weight, out=grads[0][rows])
                grads[1].addmm_(by_logits.T, features[rows])
                grads[2] += by_logits.sum(0)
        ctx.save_for_backward(*grads)
        nll, correct = sums[1].to(features.dtype), sums[2].to(targets.dtype)
        ctx.mark_non_differentiable(nll, correct)
        ctx.set_materialize_grads(False)
        return sums[0].to(features.dtype), nll, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return (None,) * 10
        return (*(grad * grad_loss for grad in ctx.saved_tensors), None, None, None, None, None)


class _Small(NamedTuple):
    """All of a chunk's loss but the logits."""

    pointed: Pointed
    targets: Int[Tensor, "rows"]
    vocab: int
    smoothing: float

    def gradient(
        self, logits: Float[Tensor, "rows vocab"], gate: Float[Tensor, "rows 1"], sums: Float[Tensor, "3"], wanted: bool
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """The loss by the logits, which it overwrites, by gate and by weights; adds loss, nll and hits to `sums`."""
        known, target = self._known(), self.targets[:, None]
        ids, target = self.pointed.tokens.where(known, 0), target.where(target < self.vocab, 0)
        top, winner = logits.max(-1, keepdim=True)
        looked = [logits.gather(1, ids), logits.gather(1, target), logits.mean(-1, keepdim=True)]
        probs = logits.sub_(top).exp_()  # the logits are overwritten from here on
        total = probs.sum(-1, keepdim=True)
        inputs = [*looked, total.log() + top, gate, self.pointed.weights]
        with torch.set_grad_enabled(wanted):
            leaves = [part.detach().requires_grad_(wanted) for part in inputs]
            loss, found = self._sums(leaves, top, winner)
            sums += found
            if not wanted:
                return None
            grads = torch.autograd.grad(loss, leaves, materialize_grads=True)
        at, at_target, mean, log_total, by_gate, by_weights = grads
        grad = probs.mul_(log_total / total)
        if self.smoothing:
            grad.add_(mean / self.vocab)
        return grad.scatter_add_(1, ids, at).scatter_add_(1, target, at_target), by_gate, by_weights

    def _sums(self, inputs: list[Tensor], top: Tensor, winner: Tensor) -> tuple[Tensor, Float[Tensor, "3"]]:
        """The loss, by the logits of the source's words, of the target's, their mean and log Σ exp; and the reports."""
        at, at_target, mean, log_total, gate, weights = inputs
        writes, copies, known = F.logsigmoid(gate), F.logsigmoid(-gate), self._known()
        floor, target = self.pointed.floor(self.vocab), self.targets[:, None]
        least = torch.full_like(gate, LEAST).masked_fill(target < self.vocab, torch.finfo(gate.dtype).tiny)
        written = (at_target - log_total + writes).masked_fill(target >= self.vocab, -torch.inf)
        same = self.pointed.tokens == target
        mass = weights.masked_fill(~same, 0.0).sum(-1, keepdim=True) + least
        nll = -torch.logaddexp(written, mass.log() + copies).double().sum()

        steps = torch.arange(weights.shape[1], device=weights.device)
        alone = torch.where(known, at - log_total + writes, -torch.inf)
        mixed = torch.logaddexp(alone, floor.scatter_add(1, self.pointed.first, weights).log() + copies)
        mixed = mixed.masked_fill(self.pointed.first != steps, -torch.inf)
        best, place = mixed.detach().max(-1, keepdim=True)
        chosen = torch.where(best > top - log_total + writes, self.pointed.tokens.gather(1, place), winner)
        correct = (chosen == target).double().sum()
        loss = (1.0 - self.smoothing) * nll
        if self.smoothing:
            gained = torch.where(known & (self.pointed.first == steps), mixed - alone, 0.0).sum(-1, keepdim=True)
            loss = loss - self.smoothing * (mean - log_total + writes + gained / self.vocab).double().sum()
        return loss, torch.stack([loss.detach(), nll.detach(), correct])

    def _known(self) -> Bool[Tensor, "rows src_len"]:
        """Steps whose token the vocabulary has."""
        return self.pointed.tokens < self.vocab
