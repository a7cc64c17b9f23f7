"""Each fast form in a loop over time equals its plain form: outputs and gradients."""

import pytest
import torch

from regard.ops.gates import lstm_gates, plain_lstm_gates
from regard.ops.product import LoopProduct
from regard.ops.squash import plain_tanh_sum, tanh_sum

draw = torch.Generator().manual_seed(2)


def randn(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=draw, dtype=dtype).requires_grad_()


def test_lstm_gates_equal_plain_and_pass_gradcheck():
    gates, cell = randn(3, 20), randn(3, 5)
    for fast, plain in zip(lstm_gates(gates, cell), plain_lstm_gates(gates, cell), strict=True):
        torch.testing.assert_close(fast, plain)
    assert torch.autograd.gradcheck(lstm_gates, (gates, cell))
    with torch.no_grad():
        torch.testing.assert_close(lstm_gates(gates, cell), plain_lstm_gates(gates, cell))


def test_lstm_gates_in_float32_differ_by_rounding_only_even_when_saturated():
    gates, cell = 30 * randn(50, 80, dtype=torch.float32).detach(), randn(50, 20, dtype=torch.float32).detach()
    for fast, plain in zip(lstm_gates(gates, cell), plain_lstm_gates(gates, cell), strict=True):
        torch.testing.assert_close(fast, plain, atol=5e-7, rtol=1e-6)  # 2 σ(2x) − 1 loses one bit near zero


@pytest.mark.parametrize("shapes", [((2, 3, 1, 4), (2, 1, 5, 4)), ((2, 3, 1, 4), (2, 3, 5, 4))])
def test_tanh_sum(shapes):
    query, keys = (randn(*shape) for shape in shapes)
    torch.testing.assert_close(tanh_sum(query, keys), plain_tanh_sum(query, keys))
    assert torch.autograd.gradcheck(tanh_sum, (query, keys))


def test_loop_product_in_a_loop():
    """h ← tanh(W h + x_t), for four steps, with and without the weight's gradient deferred."""
    weight, start, xs = randn(3, 3), randn(2, 3), randn(4, 2, 3)

    def run(deferred):
        product = LoopProduct(weight) if deferred else lambda h, x: h @ weight.T + x
        h, total = start, 0.0
        for x in xs:
            h = torch.tanh(product(h, x))
            total = total + h.square().sum()
        return total, torch.autograd.grad(total, (weight, start, xs))

    (plain, plain_grads), (fast, fast_grads) = run(False), run(True)
    torch.testing.assert_close(fast, plain)
    for one, other in zip(fast_grads, plain_grads, strict=True):
        torch.testing.assert_close(one, other)


def test_each_backward_pass_of_a_loop_product_begins_with_nothing():
    weight, x = randn(3, 5), randn(2, 5)
    out = LoopProduct(weight)(x).sum()
    torch.autograd.grad(out, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(out, weight), torch.autograd.grad((x @ weight.T).sum(), weight))


def test_loop_product_of_a_slice_without_addend_or_calls():
    weight, x = randn(3, 5), randn(2, 3)
    product, unused = LoopProduct(weight[:, 2:]), LoopProduct(weight[:, :2])
    (grad,) = torch.autograd.grad(product(x).sum() + 0 * unused._anchor, weight)
    (expected,) = torch.autograd.grad((x @ weight[:, 2:].T).sum(), weight)
    torch.testing.assert_close(grad, expected)
    with torch.no_grad():
        torch.testing.assert_close(LoopProduct(weight)(randn(2, 5).detach()).shape, torch.Size([2, 3]))
