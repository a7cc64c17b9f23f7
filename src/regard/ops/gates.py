"""The pointwise part of the recurrent cells: what happens to the gates after the matrix products."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import native
from regard.ops.squash import sigmoid_


def plain_lstm_gates(
    gates: Float[Tensor, "batch gates"], cell: Float[Tensor, "batch hidden"]
) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
    """Input, forget, candidate and output gate, in torch's order → (h, c).

    c' = σ(f) c + σ(i) tanh(g);  h' = σ(o) tanh(c')     Hochreiter & Schmidhuber 1997 with Gers et al. 2000's f.
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def lstm_gates(
    gates: Float[Tensor, "batch gates"], cell: Float[Tensor, "batch hidden"]
) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
    """`plain_lstm_gates` as one autograd node, which keeps the squashed gates alone for the way back.

    One compiled pass where there is a kernel; else torch's operations, with tanh as `tanh_sum` has it. Either differs
    from the plain form by at most 2e-7 in float32.
    """
    if torch.is_grad_enabled() and (gates.requires_grad or cell.requires_grad):
        return _LstmGates.apply(gates, cell)
    return _squash(gates, cell)[:2]


def _squash(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """→ h, c, the squashed gates, tanh(c)."""
    hidden = cell.shape[-1]
    if native.usable(gates, cell) and gates.shape == (*cell.shape[:-1], 4 * hidden):
        gates, cell = gates.contiguous(), cell.contiguous()
        squashed, h, after, tanh_cell = (torch.empty_like(like) for like in (gates, cell, cell, cell))
        rows = cell.numel() // hidden
        native.call("lstm_forward", rows, hidden, gates, cell, squashed, h, after, tanh_cell)
        return h, after, squashed, tanh_cell
    squashed = gates.clone()
    candidate = squashed[..., 2 * hidden : 3 * hidden]
    candidate.mul_(2.0)
    sigmoid_(squashed)
    candidate.mul_(2.0).sub_(1.0)
    i, f, g, o = squashed.chunk(4, dim=-1)
    cell = torch.addcmul(f * cell, i, g)
    tanh_cell = sigmoid_(cell * 2.0).mul_(2.0).sub_(1.0)
    return o * tanh_cell, cell, squashed, tanh_cell


class _LstmGates(Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        h, c, squashed, tanh_cell = _squash(gates, cell)
        ctx.save_for_backward(squashed, cell, tanh_cell)
        return h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor, grad_c: Tensor) -> tuple[Tensor, Tensor]:
        squashed, cell, tanh_cell = ctx.saved_tensors
        if native.usable(squashed, cell):
            return _backward_kernel(squashed, cell.contiguous(), tanh_cell, grad_h.contiguous(), grad_c.contiguous())
        i, f, g, o = squashed.chunk(4, dim=-1)
        # ∂L/∂c' gathers what comes through h' = o tanh(c') and what comes from the next step.
        through = grad_h * o
        grad_c = torch.addcmul(grad_c + through, through * tanh_cell, tanh_cell, value=-1.0)
        slope = squashed * (1.0 - squashed)  # σ' of every gate; the candidate's is overwritten below
        hidden = cell.shape[-1]
        grad = torch.empty_like(squashed)
        torch.mul(grad_c, g, out=grad[..., :hidden])
        torch.mul(grad_c, cell, out=grad[..., hidden : 2 * hidden])
        torch.mul(grad_c, i, out=grad[..., 2 * hidden : 3 * hidden])
        torch.mul(grad_h, tanh_cell, out=grad[..., 3 * hidden :])
        slope[..., 2 * hidden : 3 * hidden] = 1.0 - g * g
        return grad.mul_(slope), grad_c * f


def _backward_kernel(
    squashed: Tensor, cell: Tensor, tanh_cell: Tensor, grad_h: Tensor, grad_c: Tensor
) -> tuple[Tensor, Tensor]:
    hidden = cell.shape[-1]
    grad_gates, grad_cell = torch.empty_like(squashed), torch.empty_like(cell)
    inputs = (squashed, cell, tanh_cell, grad_h, grad_c)
    native.call("lstm_backward", cell.numel() // hidden, hidden, *inputs, grad_gates, grad_cell)
    return grad_gates, grad_cell
