"""What each source step would write, mixed by how likely each is to be the one that writes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import native
from regard.ops.tape import Tape

Logits = Float[Tensor, "batch tgt_len src_len vocab"]


class StepMixtures:
    """Softmaxes of the source steps, over the vocabulary, and their mixtures.

        steps = StepMixtures(logits, targets)
        steps.told                  # log p(target | step), which the weights may depend on
        steps.mix(priors)           # log Σ_step p(step) p(token | step)

    Compiled, logits are read where they are, and one gradient of their size is made; the plain form keeps twice that.
    """

    def __init__(self, logits: Logits, targets: Int[Tensor, "batch tgt_len"]) -> None:
        self._fused = native.usable(logits, multiple=1)
        if self._fused:
            self._logits, self._grad = logits.contiguous(), _Grad()
            self.told, self._total = _Terms.apply(self._logits, targets, self._grad)
        else:
            self._logits = logits.log_softmax(-1)
            self.told = plain_told(self._logits, targets)

    told: Float[Tensor, "batch tgt_len src_len"]

    def mix(self, priors: Float[Tensor, "batch tgt_len src_len"]) -> Float[Tensor, "batch tgt_len vocab"]:
        """priors   log p(step)"""
        if self._fused:
            return _Mix.apply(self._logits, priors - self._total, self._grad)
        return plain_mixture(self._logits, priors)


def plain_told(written: Logits, targets: Int[Tensor, "batch tgt_len"]) -> Float[Tensor, "batch tgt_len src_len"]:
    """log p(target | step), of log-probabilities."""
    return written.take_along_dim(targets[:, :, None, None], 3)[..., 0]


def plain_mixture(
    written: Logits, priors: Float[Tensor, "batch tgt_len src_len"]
) -> Float[Tensor, "batch tgt_len vocab"]:
    """log Σ_step p(step) p(token | step), of log-probabilities."""
    return (priors[..., None] + written).logsumexp(2)


class _Grad(Tape):
    """The gradient of the logits, begun by the mixtures and ended by the softmaxes under them, which come after."""

    begun: Tensor | None = None

    def begin(self, found: Tensor) -> None:
        """Of one mixture; there may be several in a pass."""
        self.begun = found if self.begin_pass() or self.begun is None else self.begun.add_(found)

    def take(self, like: Tensor) -> Tensor:
        """What was begun in this pass, or zeros."""
        found = None if self.begin_pass() else self.begun
        self.begun = None
        return torch.zeros_like(like) if found is None else found


class _Terms(Function):
    """log p(target | step) and log Σ exp of each step's logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, grad: _Grad) -> tuple[Tensor, Tensor]:
        total = logits.new_empty(logits.shape[:-1])
        native.call("log_sums", total.numel(), logits.shape[-1], logits, total)
        ctx.save_for_backward(logits, targets, total)
        ctx.grad = grad
        return logits.take_along_dim(targets[:, :, None, None], 3)[..., 0] - total, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_told: Tensor, grad_total: Tensor) -> tuple[Tensor, None, None]:
        logits, targets, total = ctx.saved_tensors
        found = ctx.grad.take(logits)
        outer = (grad_total - grad_told).contiguous()
        native.call("log_sums_backward", total.numel(), logits.shape[-1], logits, total, outer, found)
        index = targets[:, :, None, None].expand(*grad_told.shape, 1)
        return found.scatter_add_(3, index, grad_told[..., None]), None, None


class _Mix(Function):
    """log Σ exp(logits + weights) over steps. The gradient of the logits is left to `_Terms`: weights depend on it."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, weights: Tensor, grad: _Grad) -> Tensor:
        weights = weights.contiguous()
        batch, length, steps, vocab = logits.shape
        mixed = logits.new_empty(batch, length, vocab)
        native.call("mixture_forward", batch * length, steps, vocab, logits, weights, mixed)
        ctx.save_for_backward(logits, weights, mixed)
        ctx.grad = grad
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        logits, weights, mixed = ctx.saved_tensors
        batch, length, steps, vocab = logits.shape
        found, grad_weights = torch.empty_like(logits), torch.empty_like(weights)
        of_mixed = (mixed, grad.contiguous())
        native.call("mixture_backward", batch * length, steps, vocab, logits, weights, *of_mixed, found, grad_weights)
        if ctx.needs_input_grad[0]:
            ctx.grad.begin(found)
        return None, grad_weights, None
