"""R-Drop: two readings of one example, with different dropout, should say the same."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import loss
from regard.ops.loss import NllSums, checked, chunked_nll, nll_gradient


def disagreement(
    one: Float[Tensor, "rows outcomes"], other: Float[Tensor, "rows outcomes"], *, each: bool = False
) -> Float[Tensor, "rows"]:
    """½ KL(p ‖ q) + ½ KL(q ‖ p) = ½ Σ_v (p_v − q_v) (log p_v − log q_v), in nats.

    Liang et al. 2021, "R-Drop: regularized dropout for neural networks" (arXiv:2106.14448), equation 2.

    one, other   log p and log q; −∞ in both is impossible in both, and adds nothing
    each         these are the log-odds of so many decisions, yes or no: the sum over them, by the same formula
    """
    possible = ~(one.isneginf() & other.isneginf())
    apart = one.masked_fill(~possible, 0.0) - other.masked_fill(~possible, 0.0)
    p, q = (one.sigmoid(), other.sigmoid()) if each else (one.exp(), other.exp())
    return 0.5 * ((p - q) * apart).sum(-1)


def summed_nll(
    features: Float[Tensor, "twice dim"],
    weight: Float[Tensor, "vocab dim"],
    bias: Float[Tensor, "vocab"] | None,
    targets: Int[Tensor, "twice"],
    smoothing: float = 0.0,
    agreement: float = 0.0,
) -> NllSums:
    """`chunked_nll`, with `agreement` of two readings of each token: so many times how far they are apart is added.

    features, targets   with `agreement`: of the first readings, then of the second, in the same order

    As there, in chunks of tokens, with gradients made in the forward pass.
    """
    if not agreement:
        return chunked_nll(features, weight, bias, targets, smoothing)
    inputs = (features, weight, bias)
    wanted = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs)
    return NllSums(*_AgreeingNll.apply(features, weight, bias, targets, smoothing, agreement, wanted))


class _AgreeingNll(Function):
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
        tokens, vocab = features.shape[0] // 2, weight.shape[0]
        assert len(features) == 2 * tokens, "each token twice"
        targets = checked(targets, 2 * tokens, vocab)
        grad_features = torch.empty_like(features) if wanted else None
        grad_weight = torch.zeros_like(weight) if wanted else None
        grad_bias = torch.zeros_like(bias) if wanted and bias is not None else None
        sums, apart = (torch.zeros(size, dtype=torch.float64, device=features.device) for size in (3, 1))
        size = max(1, loss.CHUNK_ELEMENTS // (2 * vocab))
        for first in range(0, tokens, size):
            one = torch.arange(first, min(first + size, tokens), device=features.device)
            rows = torch.cat([one, one + tokens])
            logits = F.linear(features[rows], weight, bias)
            pulled, far = _pull(*logits.log_softmax(-1).chunk(2))
            grad = nll_gradient(logits, targets[rows], smoothing, sums)  # overwrites the logits
            apart += far
            if grad_features is not None and grad_weight is not None:
                grad.add_(pulled, alpha=agreement)
                grad_features[rows] = grad @ weight
                grad_weight.addmm_(grad.T, features[rows])
                if grad_bias is not None:
                    grad_bias += grad.sum(0)
        nll, uniform, correct = sums[0], sums[1], sums[2].to(targets.dtype)
        total = (1.0 - smoothing) * nll + smoothing * uniform + agreement * apart[0]
        nll = nll.to(features.dtype)
        ctx.save_for_backward(grad_features, grad_weight, grad_bias)
        ctx.mark_non_differentiable(nll, correct)
        ctx.set_materialize_grads(False)
        return total.to(features.dtype), nll, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad_loss is None:
            return (None,) * 7
        scaled = (None if grad is None else grad * grad_loss for grad in ctx.saved_tensors)
        return (*scaled, None, None, None, None)


def _pull(
    one: Float[Tensor, "rows vocab"], other: Float[Tensor, "rows vocab"]
) -> tuple[Float[Tensor, "twice vocab"], Float[Tensor, ""]]:
    """The gradient of the disagreement by the logits of both, and its sum."""
    p, q, apart = one.exp(), other.exp(), one - other
    there, back = (p * apart).sum(-1, keepdim=True), (-q * apart).sum(-1, keepdim=True)  # both divergences
    gradients = p * (apart - there) + p - q, q * (-apart - back) + q - p
    return torch.cat(gradients).mul_(0.5), 0.5 * (there + back).double().sum()
