"""Matrix products inside a loop over time, whose weight gradient is made once, after the loop.

Autograd gives each step of a loop its own weight gradient, a product with few rows, and adds it to the others,
a pass over the whole weight. Over a sentence this costs more than the forward pass. Here the steps only note their
inputs and output gradients; when the last one is done, one tall product gives the weight gradient.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import native
from regard.ops.packed import PANEL, PackedLinear
from regard.ops.tape import Tape


class LoopProduct:
    """x ↦ x · weightᵀ (+ addend), to be called at every step of one loop.

        product = LoopProduct(weight)              # before the loop, once per sequence batch
        gates = product(h, gates_x)                # (batch, out)

    The plain form is `addend + x @ weight.T`; results and gradients are the same to rounding. With kernels, and on one
    thread, the steps' products go through packed panels, made once per loop. Cannot be differentiated twice.
    """

    def __init__(self, weight: Float[Tensor, "out in"]) -> None:
        self._weight = weight
        self._fast = torch.is_grad_enabled() and weight.requires_grad
        if self._fast:
            self._tape = _Tape(weight.detach())
            # All steps hang on this number, so autograd reaches its backward only when all of theirs are done.
            self._anchor: Tensor = _Anchor.apply(weight, self._tape)

    def __call__(
        self, x: Float[Tensor, "batch in"], addend: Float[Tensor, "batch out"] | None = None
    ) -> Float[Tensor, "batch out"]:
        if self._fast:
            return _Step.apply(x, addend, self._anchor, self._tape)
        return x @ self._weight.T if addend is None else torch.addmm(addend, x, self._weight.T)


class _Tape(Tape):
    """The weight as steps multiply with it, and what their backward passes leave for the anchor."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self._packs = native.usable(weight, multiple=1) and len(weight) % PANEL == 0 and torch.get_num_threads() == 1
        self._packed: PackedLinear | None = None  # made with the first step: not every loop comes to have one
        self._transposed: PackedLinear | None = None
        self._version = weight._version
        self.inputs: list[Tensor] = []
        self.grads: list[Tensor] = []

    def forward(self, x: Tensor, addend: Tensor | None) -> Tensor:
        if self._packs and native.usable(x, multiple=1):
            self._packed = self._packed or PackedLinear(self.weight)
            return self._packed(x, addend)
        return x @ self.weight.T if addend is None else torch.addmm(addend, x, self.weight.T)

    def back(self, grad: Tensor) -> Tensor:
        """The input's gradient."""
        assert self.weight._version == self._version, "a loop's weight was changed between its two ways"
        if not self._packs:
            return grad @ self.weight
        self._transposed = self._transposed or PackedLinear(self.weight, transposed=True)
        return self._transposed(grad)


class _Anchor(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tape: _Tape) -> Tensor:
        ctx.tape = tape
        return weight.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, None]:
        tape = ctx.tape
        if not tape.grads:
            return None, None
        grad = torch.cat(tape.grads).T @ torch.cat(tape.inputs)
        tape.grads, tape.inputs = [], []
        return grad, None


class _Step(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, addend: Tensor | None, anchor: Tensor, tape: _Tape) -> Tensor:
        ctx.save_for_backward(x)
        ctx.tape, ctx.has_addend = tape, addend is not None
        return tape.forward(x, addend)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if ctx.tape.begin_pass():
            ctx.tape.inputs, ctx.tape.grads = [], []
        ctx.tape.inputs.append(x)
        ctx.tape.grads.append(grad)
        grad_x = ctx.tape.back(grad) if ctx.needs_input_grad[0] else None
        return grad_x, grad if ctx.has_addend else None, grad.new_zeros(()), None
