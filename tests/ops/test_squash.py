"""Squashing whose result for a number does not depend on its place, which that of torch's own functions does."""

import pytest
import torch

from regard.ops.squash import log_sum_exp, sigmoid, tanh_sum

draw = torch.Generator().manual_seed(4)
X, Y = (-20 * torch.rand(5000, generator=draw) for _ in range(2))


def by_threes(x, y):
    return log_sum_exp([x, y, x + y])


@pytest.mark.parametrize(
    "function",
    [lambda x, y: sigmoid(x), lambda x, y: tanh_sum(x[None, None, None], y[None, None, None])[0, 0, 0], by_threes],
)
def test_a_result_does_not_depend_on_the_place(function):
    whole = function(X, Y)
    for begin in range(0, 400, 7):
        for size in (1, 3, 8, 15, 17, 37, 111, 1000):
            part = slice(begin, begin + size)
            assert torch.equal(function(X[part], Y[part]), whole[part])


def test_sigmoid_is_torch_s_and_has_its_gradient():
    x = torch.tensor([-1000.0, -90.0, -1.0, 0.0, 3.0, 90.0, 1000.0])
    torch.testing.assert_close(sigmoid(x), x.sigmoid(), atol=2e-7, rtol=0)
    wide = x.double().requires_grad_()
    assert torch.autograd.gradcheck(sigmoid, wide)
    with torch.no_grad():
        torch.testing.assert_close(sigmoid(wide), torch.sigmoid(wide))


def test_log_sum_exp_over_tensors():
    nothing = -torch.inf
    parts = [torch.tensor([0.5, nothing, nothing, 1e4]), torch.tensor([-800.0, 2.0, nothing, 1e4])]
    torch.testing.assert_close(log_sum_exp(parts), torch.logsumexp(torch.stack(parts), 0))
    three = [torch.randn(5, dtype=torch.float64, generator=draw).requires_grad_() for _ in range(3)]
    torch.testing.assert_close(log_sum_exp(three), torch.logsumexp(torch.stack(three), 0))
    assert torch.autograd.gradcheck(lambda *each: log_sum_exp(each), tuple(three))
