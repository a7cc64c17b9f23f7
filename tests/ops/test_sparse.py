"""Sparse normalizers against the entmax package, their definition and gradcheck."""

import pytest
import torch

from regard.ops.sparse import entmax15, sparsemax

entmax = pytest.importorskip("entmax", reason="the oracle, of the extra `dev`")
PAIRS = [
    pytest.param(sparsemax, entmax.sparsemax, id="sparsemax"),
    pytest.param(entmax15, entmax.entmax15, id="entmax15"),
]


def scores(shape=(40, 9), scale=2.0, dtype=torch.float64):
    return scale * torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_equals_the_entmax_package(ours, theirs, scale):
    x = scores(scale=scale).requires_grad_()
    found, expected = ours(x), theirs(x, dim=-1)
    torch.testing.assert_close(found, expected)
    weight = scores((40, 9), 1.0)
    grads = [torch.autograd.grad((out * weight).sum(), x)[0] for out in (found, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(("ours", "alpha"), [(sparsemax, 2.0), (entmax15, 1.5)])
def test_is_a_distribution_that_no_other_beats(ours, alpha):
    """argmax w · score + H_α(w): random distributions, and ones near the found, are no better."""
    x = scores((1, 6))
    best = ours(x)

    def worth(w):
        return (w * x).sum(-1) + (1.0 - w.pow(alpha).sum(-1)) / (alpha * (alpha - 1.0))

    torch.testing.assert_close(best.sum(-1), torch.ones(1, dtype=torch.float64))
    others = torch.distributions.Dirichlet(torch.ones(6, dtype=torch.float64)).sample((2000,))
    near = 0.999 * best + 0.001 * others
    assert (worth(others) <= worth(best) + 1e-12).all() and (worth(near) <= worth(best) + 1e-12).all()


@pytest.mark.parametrize("ours", [sparsemax, entmax15])
def test_gradients(ours):
    assert torch.autograd.gradcheck(ours, scores((5, 7)).requires_grad_())


@pytest.mark.parametrize("ours", [sparsemax, entmax15])
def test_padding_and_far_scores_have_no_weight(ours):
    x = scores((4, 6), dtype=torch.float32)
    padded = torch.cat([x, torch.full((4, 3), float("-inf"))], -1).requires_grad_()
    found = ours(padded)
    assert torch.equal(found[:, :6], ours(x)) and (found[:, 6:] == 0).all()
    (found * torch.randn_like(found)).sum().backward()
    assert padded.grad.isfinite().all() and (padded.grad[:, 6:] == 0).all()
    far = ours(torch.tensor([1e4, 0.0, -1e4]))
    assert far.tolist() == [1, 0, 0]
