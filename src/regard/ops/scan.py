"""Linear recurrences, h_t = a_t h_{t−1} + b_t, over all steps of a sequence at once."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import native


def plain_scan(
    a: Float[Tensor, "batch steps dim"], b: Float[Tensor, "batch steps dim"], start: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch steps dim"]:
    """The definition: a step at a time."""
    states, h = [], start
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1)


def linear_scan(
    a: Float[Tensor, "batch steps dim"], b: Float[Tensor, "batch steps dim"], start: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch steps dim"]:
    """`plain_scan` as one autograd node: a kernel that goes over the steps once, or where there is none all steps side
    by side, in as many rounds as the length has binary digits (Hillis & Steele 1986, "Data parallel algorithms").

    Either differs from the plain form by rounding; a step is the same bits whatever comes after it.
    """
    if torch.is_grad_enabled() and any(part.requires_grad for part in (a, b, start)):
        found: Tensor = _Scan.apply(a, b, start)
        return found
    return _forward(a, b, start)


def _forward(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    if native.usable(a, b, start):
        states = torch.empty_like(b, memory_format=torch.contiguous_format)
        native.call("scan_forward", *b.shape, a.contiguous(), b.contiguous(), start.contiguous(), states)
        return states
    return _doubled(a, torch.cat([a[:, :1] * start[:, None] + b[:, :1], b[:, 1:]], 1))


def _doubled(a: Tensor, b: Tensor) -> Tensor:
    """From nothing: after round k each step knows the 2^k steps up to it, as one map h ↦ a h + b."""
    reach, steps = 1, b.shape[1]
    while reach < steps:
        b = torch.cat([b[:, :reach], b[:, reach:] + a[:, reach:] * b[:, :-reach]], 1)
        a = torch.cat([a[:, :reach], a[:, reach:] * a[:, :-reach]], 1)
        reach *= 2
    return b


class _Scan(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        states = _forward(a, b, start)
        ctx.save_for_backward(a, states, start)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """∂L/∂h_t gathers its own and a_{t+1} times the next one's: the same recurrence, from the end."""
        a, states, start = ctx.saved_tensors
        if native.usable(a, states, start, grad):
            a, grad = a.contiguous(), grad.contiguous()
            grad_a, grad_b, grad_start = (torch.empty_like(like) for like in (a, a, start))
            inputs = (a, states, start.contiguous(), grad)
            native.call("scan_backward", *a.shape, *inputs, grad_a, grad_b, grad_start)
            return grad_a, grad_b, grad_start
        following = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1)
        grad_b = _doubled(following.flip(1), grad.flip(1)).flip(1)
        before = torch.cat([start[:, None], states[:, :-1]], 1)
        return grad_b * before, grad_b, grad_b[:, 0] * a[:, 0]
