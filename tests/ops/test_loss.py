"""The chunked loss is the plain one, which is torch's, which is the formula."""

import pytest
import torch
import torch.nn.functional as F

from regard.ops import loss
from regard.ops.loss import chunked_nll, plain_nll


def problem(dtype=torch.float64, tokens=23, vocab=11, dim=5, bias=True):
    draw = torch.Generator().manual_seed(4)
    features = torch.randn(tokens, dim, generator=draw, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocab, dim, generator=draw, dtype=dtype, requires_grad=True)
    offset = torch.randn(vocab, generator=draw, dtype=dtype, requires_grad=True) if bias else None
    return features, weight, offset, torch.randint(vocab, (tokens,), generator=draw)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_plain_equals_torch(smoothing):
    features, weight, bias, targets = problem()
    logits = F.linear(features, weight, bias)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    sums = plain_nll(features, weight, bias, targets, smoothing)
    torch.testing.assert_close(sums.loss, expected)
    torch.testing.assert_close(sums.nll, F.cross_entropy(logits, targets, reduction="sum"))
    assert sums.correct == (logits.argmax(-1) == targets).sum()


def test_by_hand():
    # One token, logits (0, log 3), target 1, ε = 0.2: p = (1/4, 3/4), q = (0.1, 0.9).
    features, weight = torch.tensor([[1.0]]), torch.zeros(2, 1)
    weight[1] = torch.tensor(3.0).log()
    sums = chunked_nll(features, weight, None, torch.tensor([1]), 0.2)
    expected = -0.1 * torch.tensor(0.25).log() - 0.9 * torch.tensor(0.75).log()
    torch.testing.assert_close(sums.loss, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk_rows", [1, 4, 1000])
def test_chunked_equals_plain_with_gradients(monkeypatch, smoothing, bias, chunk_rows):
    features, weight, offset, targets = problem(bias=bias)
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", chunk_rows * weight.shape[0])
    inputs = [features, weight] + ([offset] if bias else [])
    results = []
    for form in (plain_nll, chunked_nll):
        sums = form(features, weight, offset, targets, smoothing)
        results.append((sums, torch.autograd.grad(sums.loss * 0.7, inputs)))
    (plain, plain_grads), (chunked, chunked_grads) = results
    for one, other in [*zip(plain, chunked, strict=True), *zip(plain_grads, chunked_grads, strict=True)]:
        torch.testing.assert_close(other.to(one.dtype), one)


def test_gradcheck():
    features, weight, bias, targets = problem(tokens=6)
    assert torch.autograd.gradcheck(lambda *x: chunked_nll(*x, targets, 0.1).loss, (features, weight, bias))


def test_frozen_output_layer_and_no_gradient_at_all():
    features, weight, bias, targets = problem()
    frozen = chunked_nll(features, weight.detach(), bias.detach(), targets, 0.1).loss
    (grad,) = torch.autograd.grad(frozen, features)
    (expected,) = torch.autograd.grad(plain_nll(features, weight, bias, targets, 0.1).loss, features)
    torch.testing.assert_close(grad, expected)
    with torch.no_grad():
        torch.testing.assert_close(chunked_nll(features, weight, bias, targets, 0.1).loss, frozen.detach())


def test_large_logits_do_not_overflow():
    features, weight = torch.full((3, 1), 1e4), torch.tensor([[1.0], [-1.0], [0.5]])
    sums = chunked_nll(features, weight, None, torch.tensor([0, 0, 1]))
    assert torch.isfinite(sums.loss) and sums.loss == pytest.approx(2e4)
