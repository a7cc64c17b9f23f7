"""Products with weights of 7 bits and rows of 8: an approximation, for decoding."""

import torch
from jaxtyping import Float
from torch import Tensor

from regard.ops import native
from regard.ops.packed import PANEL, panels

MOST = 63
"""Largest weight, seven bits, so that two products of a byte (up to 255) and a weight add up in 16 bits without
saturating: AVX2 has no other way. Rows have 127 steps to either side."""
QUAD = 4
"""Neighbours along a row that lie side by side, as products.c has it."""
ZERO = 128
"""What stands for 0.0 in a row, as products.c has it."""


class Int8Linear:
    """x ↦ x · [weights, side by side]ᵀ + bias with whole numbers; called like a `PackedLinear`, and a quarter of
    its size.

    Each column of the weight has a scale, fixed now, and each row of x its own, taken from its largest number, so that
    no row can change another's result. The sums are of whole numbers: the same bits in any batch and order.
    """

    def __init__(self, *weights: Float[Tensor, "out _"], bias: Float[Tensor, "out"] | None = None) -> None:
        weight = torch.cat([part.detach() for part in weights], dim=1)
        self.columns, self.inner = weight.shape
        columns, self._padded = panels(self.columns), -(-self.inner // QUAD) * QUAD
        whole, self.scale = quantize_weight(weight)
        full = whole.new_zeros(columns, self._padded)
        full[: self.columns, : self.inner] = whole
        self._zeros = full.sum(1, dtype=torch.int32) * ZERO
        self._packed = full.unflatten(0, (-1, PANEL)).unflatten(2, (-1, QUAD)).transpose(1, 2).contiguous()
        self._bias = weight.new_zeros(self.columns) if bias is None else bias.detach().contiguous()

    def __call__(
        self, x: Float[Tensor, "rows in"], addend: Float[Tensor, "rows out"] | None = None
    ) -> Float[Tensor, "rows out"]:
        """`addend` takes the place of the bias."""
        assert x.shape[1] == self.inner, f"rows of {x.shape[1]} for a weight of {self.inner}"
        assert x.dtype == torch.float32, f"rows of {x.dtype}, not float32"
        rows, x = len(x), x.contiguous()
        out, scales = x.new_empty(rows, self.columns), x.new_empty(rows)
        spare = torch.empty(rows, self._padded, dtype=torch.uint8)
        stride, start = 0, self._bias
        if addend is not None:
            assert addend.shape == out.shape, f"an addend of {tuple(addend.shape)}"
            stride, start = self.columns, addend.contiguous()
        native.call(
            *("product8", rows, self.inner, self._padded, self.columns, stride, x, self._packed, self.scale),
            *(self._zeros, start, spare, scales, out),
        )
        return out


def quantize_weight(weight: Float[Tensor, "out in"]) -> tuple[Tensor, Float[Tensor, "out"]]:
    """Whole numbers (int8) from -63 to 63 and each column's scale: weight ≈ whole · scale."""
    absmax = weight.abs().amax(1)
    inverse = torch.where(absmax > torch.finfo(weight.dtype).tiny * MOST, MOST / absmax, 0.0)
    return (weight * inverse[:, None]).round().to(torch.int8), absmax / MOST


def plain_int8(
    x: Float[Tensor, "rows in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, "out"]
) -> Float[Tensor, "rows out"]:
    """What `Int8Linear` computes, written down: both sides rounded to whole numbers, which are multiplied exactly."""
    whole, scale = quantize_weight(weight)
    absmax = x.abs().amax(1, keepdim=True)
    rows = (x * torch.where(absmax > 0, 127 / absmax, 0.0)).round()
    return (rows.double() @ whole.double().T).to(x.dtype) * (absmax / 127 * scale) + bias
