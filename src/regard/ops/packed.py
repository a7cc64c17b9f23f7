"""Products with a weight that stays the same, whose rows are the same bits in any batch: for decoding and for loops."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.ops import native

PANEL = 16
"""Columns that lie side by side, as products.c has it."""


def panels(columns: Any) -> Any:
    """A number of columns, or a tensor of them, rounded up to whole panels."""
    return (columns + PANEL - 1) // PANEL * PANEL


class PackedLinear:
    """x ↦ x · [weights, side by side]ᵀ + bias, with the weights copied once into the order in which they are read.

        linear = PackedLinear(layer.weight, bias=layer.bias)      # (out, in)
        linear(x)                                                 # (rows, in) → (rows, out)

    Every number is one sum in a fixed order, so a row's result does not depend on how many rows there are, which is
    not so of any BLAS (rows round differently for some row counts). On the AVX2 machine this was written on it also
    took less time than torch.addmm with MKL, at 5 rows half, at 40 two thirds, at 320 nine tenths (2026-11-21).
    Float32 on the CPU, no gradients; `native.usable` says where there are kernels. The copy does not follow the weight.

    transposed   x ↦ x · weight (+ bias) instead, for a single weight: the way back
    """

    def __init__(
        self, *weights: Float[Tensor, "out _"], bias: Float[Tensor, "columns"] | None = None, transposed: bool = False
    ) -> None:
        assert len(weights) == 1 or not transposed, "a single weight can be transposed"
        weight = (
            torch.cat([part.detach() for part in weights], dim=1) if len(weights) > 1 else weights[0]
        ).contiguous()
        self.columns, self.inner = weight.shape[::-1] if transposed else weight.shape
        padded = panels(self.columns)
        self._packed = weight.new_empty(padded * self.inner)
        self._bias = weight.new_zeros(padded)
        if bias is not None:
            self._bias[: self.columns] = bias.detach()
        pack = "pack_transposed" if transposed else "pack"
        native.call(pack, self.columns, self.inner, weight.shape[1], weight, self._packed)

    def __call__(
        self, x: Float[Tensor, "rows in"], addend: Float[Tensor, "rows out"] | None = None
    ) -> Float[Tensor, "rows out"]:
        """`addend` takes the place of the bias; its width must be a multiple of 16."""
        assert x.shape[1] == self.inner, f"rows of {x.shape[1]} for a weight of {self.inner}"
        assert x.dtype == torch.float32, f"rows of {x.dtype}, packed weights are float32"
        x, out = x.contiguous(), x.new_empty(len(x), self.columns)
        stride, start = 0, self._bias
        if addend is not None:
            assert addend.shape == out.shape and self.columns % PANEL == 0, f"an addend of {tuple(addend.shape)}"
            stride, start = self.columns, addend.contiguous()
        native.call("product", len(x), self.inner, self.columns, stride, x, self._packed, start, out)
        return out
