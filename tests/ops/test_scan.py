"""The linear recurrence: kernel and rounds against a loop, with gradients; a step has the same bits in any company."""

import pytest
import torch

from regard.ops import native
from regard.ops.scan import linear_scan, plain_scan


def given(steps, dim, dtype, rows=3):
    a = torch.rand(rows, steps, dim, dtype=dtype).mul(1.5)
    return [
        part.requires_grad_()
        for part in (a, torch.randn(rows, steps, dim, dtype=dtype), torch.randn(rows, dim, dtype=dtype))
    ]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 29])
def test_is_a_loop_with_its_gradients(steps, kernels, monkeypatch):
    """With kernels in float32, where there are any; in rounds for all else."""
    torch.manual_seed(1)
    dtype = torch.float32 if kernels else torch.float64
    parts = given(steps, 16, dtype)
    if kernels and not native.usable(*parts):
        pytest.skip("no kernels on this machine")
    results = []
    for form in (linear_scan, plain_scan):
        states = form(*parts)
        results.append((states, *torch.autograd.grad(states.sin().sum() + states[:, -1].square().sum(), parts)))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-4 if kernels else 1e-9)


def test_gradcheck():
    assert torch.autograd.gradcheck(linear_scan, given(5, 3, torch.float64))


@pytest.mark.parametrize("dim", [5, 16])
def test_a_step_is_the_same_bits_whatever_follows_and_whoever_is_beside(dim):
    with torch.no_grad():
        a, b, start = given(37, dim, torch.float32, rows=5)
        whole = linear_scan(a, b, start)
        for steps in (1, 2, 7, 16, 36):
            assert linear_scan(a[:, :steps], b[:, :steps], start).equal(whole[:, :steps])
        for row in range(5):
            assert linear_scan(a[row : row + 1], b[row : row + 1], start[row : row + 1])[0].equal(whole[row])
