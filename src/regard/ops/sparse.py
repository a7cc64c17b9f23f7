"""Sparse relatives of softmax, exactly, by sorting: a distribution that is zero where scores are far below the best."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def sparsemax(scores: Float[Tensor, "*rows steps"]) -> Float[Tensor, "*rows steps"]:
    """The Euclidean projection of scores onto the simplex: weights = max(score − τ, 0), which sum to one.

    Martins & Astudillo 2016, "From softmax to sparsemax", algorithm 1; the gradient is their equation 14. A score of
    −inf has weight zero; at least one must be finite.
    """
    return _Sparsemax.apply(scores)


def entmax15(scores: Float[Tensor, "*rows steps"]) -> Float[Tensor, "*rows steps"]:
    """1.5-entmax, halfway between softmax and sparsemax: weights = max(score / 2 − τ, 0)², which sum to one.

    Peters, Niculae & Martins 2019, "Sparse sequence-to-sequence models", algorithm 2; the gradient is that of their
    proposition 2. A score of −inf has weight zero; at least one must be finite.
    """
    return _Entmax15.apply(scores)


def _below_best(scores: Tensor) -> Tensor:
    """Scores less the best one. Whatever is 2 below has weight zero in both, so that it may as well be finite."""
    return (scores - scores.amax(-1, keepdim=True)).clamp(min=-2.0)


def _ranks(scores: Tensor) -> Tensor:
    return torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)


class _Sparsemax(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        z = _below_best(scores)
        falling = z.sort(-1, descending=True).values
        sums, k = falling.cumsum(-1), _ranks(z)
        support = (1.0 + k * falling > sums).sum(-1, keepdim=True)
        tau = (sums.gather(-1, support - 1) - 1.0) / support
        weights = (z - tau).clamp(min=0.0)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        seen = (weights > 0).to(grad)
        return seen * (grad - (seen * grad).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True))


class _Entmax15(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        z = _below_best(scores / 2.0)
        falling = z.sort(-1, descending=True).values
        k = _ranks(z)
        mean = falling.cumsum(-1) / k
        spread = (falling**2).cumsum(-1) - k * mean**2
        tau = mean - ((1.0 - spread) / k).clamp(min=0.0).sqrt()
        support = (tau <= falling).sum(-1, keepdim=True)
        weights = (z - tau.gather(-1, support - 1)).clamp(min=0.0) ** 2
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        slope = ctx.saved_tensors[0].sqrt()
        inner = slope * grad
        return inner - slope * (inner.sum(-1, keepdim=True) / slope.sum(-1, keepdim=True))
