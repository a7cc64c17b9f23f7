"""Whole-number products: what they are written down to be, near the exact ones, and every row alone."""

import pytest
import torch

from regard.ops import native
from regard.ops.int8 import Int8Linear, plain_int8, quantize_weight

pytestmark = pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 13])
@pytest.mark.parametrize(("inner", "columns"), [(8, 16), (19, 37), (1, 1), (320, 100), (33, 48)])
def test_the_kernel_is_the_plain_form_and_near_the_exact_product(rows, inner, columns):
    x, weight, bias = randn(rows, inner), randn(columns, inner), randn(columns)
    found, exact = Int8Linear(weight, bias=bias)(x), x @ weight.T + bias
    torch.testing.assert_close(found, plain_int8(x, weight, bias), atol=1e-5, rtol=1e-5)
    # Each rounding is off by half a step at most: of the row's 127 and of the column's 63.
    steps = x.abs().amax(1)[:, None] / 127 / 2, weight.abs().amax(1) / 63 / 2
    bound = steps[0] * weight.abs().sum(1) + x.abs().sum(1)[:, None] * steps[1] + inner * steps[0] * steps[1]
    assert ((found - exact).abs() <= bound + 1e-5).all()


def test_extremes_do_not_saturate():
    x, weight = torch.full((2, 64), 3.0), torch.full((16, 64), 5.0)
    x[1] = -x[1]
    torch.testing.assert_close(Int8Linear(weight)(x), x @ weight.T)


def test_rows_are_alone_and_parts_lie_side_by_side():
    one, two, bias, x = randn(40, 7), randn(40, 12), randn(40), randn(23, 19)
    linear = Int8Linear(one, two, bias=bias)
    whole = linear(x)
    torch.testing.assert_close(whole, plain_int8(x, torch.cat([one, two], 1), bias), atol=1e-5, rtol=1e-5)
    for rows in range(1, 23):
        assert torch.equal(linear(x[:rows]), whole[:rows]) and torch.equal(linear(x[rows:]), whole[rows:])


def test_an_addend_takes_the_place_of_the_bias():
    weight, x, addend = randn(24, 16), randn(9, 16), randn(9, 24)
    found = Int8Linear(weight, bias=randn(24))(x, addend)
    torch.testing.assert_close(found, plain_int8(x, weight, torch.zeros(24)) + addend, atol=1e-5, rtol=1e-5)


def test_a_row_of_zeros_and_a_row_that_is_no_number():
    weight, bias, x = randn(20, 10), randn(20), randn(4, 10)
    x[1], x[2, 3], x[3, 9] = 0.0, torch.nan, torch.inf
    found = Int8Linear(weight, bias=bias)(x)
    assert torch.equal(found[1], bias) and found[2:].isnan().all() and found[:2].isfinite().all()


def test_weights_are_whole_numbers_of_seven_bits():
    weight = randn(6, 50)
    weight[2] = 0.0
    whole, scale = quantize_weight(weight)
    assert whole.dtype == torch.int8 and (whole.abs().amax(1) == torch.tensor([63, 63, 0, 63, 63, 63])).all()
    torch.testing.assert_close(whole * scale[:, None], weight, atol=float(scale.max()) / 2 + 1e-6, rtol=0)
