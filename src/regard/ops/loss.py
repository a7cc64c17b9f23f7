"""Cross-entropy over a vocabulary, with label smoothing: a plain form, and one that never stores the logits."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import native

# A chunk of 256 rows × 6,000 entries is 6 MB in float32: it stays in the last-level cache between passes.
CHUNK_ELEMENTS = 1_536_000


class NllSums(NamedTuple):
    """Sums over tokens: `loss` is differentiable, the others are for reports."""

    loss: Float[Tensor, ""]
    """smoothed cross-entropy, nats"""
    nll: Float[Tensor, ""]
    """cross-entropy without smoothing, nats"""
    correct: Int[Tensor, ""]
    """tokens whose highest logit is the target"""


def plain_nll(
    features: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "vocab dim"],
    bias: Float[Tensor, "vocab"] | None,
    targets: Int[Tensor, "tokens"],
    smoothing: float = 0.0,
) -> NllSums:
    """Sum of −Σ_v q(v) log p(v), with q = (1 − ε) one-hot + ε / vocab (Szegedy et al. 2016, section 7).

    p = softmax(features · weightᵀ + bias). The definition; holds tokens × vocab numbers several times.
    """
    log_probs = F.linear(features, weight, bias).log_softmax(-1)  # (tokens, vocab)
    nll = -log_probs.gather(1, targets[:, None]).sum()
    uniform = -log_probs.mean(-1).sum()
    loss = (1.0 - smoothing) * nll + smoothing * uniform
    return NllSums(loss, nll.detach(), (log_probs.argmax(-1) == targets).sum())


def chunked_nll(
    features: Float[Tensor, "tokens dim"],
    weight: Float[Tensor, "vocab dim"],
    bias: Float[Tensor, "vocab"] | None,
    targets: Int[Tensor, "tokens"],
    smoothing: float = 0.0,
    agreement: float = 0.0,
) -> NllSums:
    """`plain_nll` in chunks of tokens; gradients are made in the forward pass, so that the logits live once.

    Needs chunk × vocab numbers instead of four times tokens × vocab. Cannot be differentiated twice.

    agreement   every two neighbours are readings of one token, and so many times their mean divergence is added:
                `regard.ops.agreement.disagreement`
    """
    inputs = (features, weight, bias)
    wanted = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs)
    loss, nll, correct = _ChunkedNll.apply(features, weight, bias, targets, smoothing, agreement, wanted)
    return NllSums(loss, nll, correct)


class _ChunkedNll(Function):
    """The gradient of the loss by the logits is p − q, so it is ready as soon as p is."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        agreement: float,
        wanted: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tokens, vocab = features.shape[0], weight.shape[0]
        targets = targets.to(torch.int64).contiguous()
        fits = targets.shape == (tokens,) and (tokens == 0 or bool((targets.min() >= 0) & (targets.max() < vocab)))
        assert fits, f"targets must be {tokens} ids from 0 to {vocab - 1}"
        grad_features = torch.empty_like(features) if wanted else None
        grad_weight = torch.zeros_like(weight) if wanted else None
        grad_bias = torch.zeros_like(bias) if wanted and bias is not None else None
        # Sums of thousands of terms: in float64, so that the chunk size cannot be seen in the loss.
        sums, apart = (torch.zeros(size, dtype=torch.float64, device=features.device) for size in (3, 1))
        size = max(1, CHUNK_ELEMENTS // vocab)
        size += size % 2 if agreement else 0  # whole pairs
        for first in range(0, tokens, size):
            rows = slice(first, first + size)
            logits = F.linear(features[rows], weight, bias)
            pull = disagreement_gradient(logits, apart) if agreement else None
            grad = nll_gradient(logits, targets[rows], smoothing, sums)
            if pull is not None:
                grad.add_(pull, alpha=agreement)
            if grad_features is not None and grad_weight is not None:
                torch.mm(grad, weight, out=grad_features[rows])
                grad_weight.addmm_(grad.T, features[rows])
                if grad_bias is not None:
                    grad_bias += grad.sum(0)
        nll, uniform, correct = sums[0], sums[1], sums[2].to(targets.dtype)
        ctx.save_for_backward(grad_features, grad_weight, grad_bias)
        loss = (1.0 - smoothing) * nll + smoothing * uniform + agreement * apart[0]
        nll = nll.to(features.dtype)
        ctx.mark_non_differentiable(nll, correct)
        ctx.set_materialize_grads(False)
        return loss.to(features.dtype), nll, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return (None,) * 7
        scaled = (None if grad is None else grad * grad_loss for grad in ctx.saved_tensors)
        return (*scaled, None, None, None, None)


def nll_gradient(
    logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, "rows"], smoothing: float, sums: Float[Tensor, "3"]
) -> Float[Tensor, "rows vocab"]:
    """The gradient of the loss by the logits, which it overwrites; adds nll, the mean of −log p, and hits to `sums`."""
    if native.usable(logits, multiple=1):
        native.call("nll_backward", *logits.shape, logits, targets, smoothing, sums)
        return logits
    target, vocab = targets[:, None], logits.shape[1]
    top, winner = logits.max(-1, keepdim=True)
    at_target, mean = logits.gather(1, target), logits.mean(-1, keepdim=True)
    probs = logits.sub_(top).exp_()  # the logits are overwritten from here on
    total = probs.sum(-1, keepdim=True)
    log_total = total.log() + top
    sums += torch.stack([
        (log_total - at_target).double().sum(), (log_total - mean).double().sum(), (winner == target).double().sum()
    ])  # fmt: skip
    grad = probs.div_(total).sub_(smoothing / vocab) if smoothing else probs.div_(total)
    return grad.scatter_add_(1, target, grad.new_full(target.shape, smoothing - 1.0))


def disagreement_gradient(
    logits: Float[Tensor, "rows vocab"], apart: Float[Tensor, "1"]
) -> Float[Tensor, "rows vocab"]:
    """The gradient of the disagreement of neighbours by their logits, which stay; adds its sum to `apart`."""
    one, other = logits.log_softmax(-1).view(-1, 2, logits.shape[1]).unbind(1)
    p, q, ratio = one.exp(), other.exp(), one - other
    there, back = (p * ratio).sum(-1, keepdim=True), (-q * ratio).sum(-1, keepdim=True)  # both divergences
    apart += 0.5 * (there + back).double().sum()
    gradients = p * (ratio - there) + p - q, q * (-ratio - back) + q - p
    return torch.stack(gradients, 1).mul_(0.5).flatten(0, 1)
