"""The chunked loss is the plain one, which is torch's, which is the formula."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from regard.data.batches import collate
from regard.model import Seq2Seq, seeded
from regard.model_config import ModelConfig
from regard.ops import loss
from regard.ops.loss import chunked_nll, plain_nll
from regard.ops.noise import Noise


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


class Largest(TorchDispatchMode):
    """Remembers the most numbers that any tensor had that an operation returned."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        found = function(*arguments, **(named or {}))
        for one in tree_leaves(found):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return found


@pytest.mark.parametrize("sampled", [0, 3_000])
def test_training_never_holds_a_tensor_of_tokens_times_vocabulary(sampled):
    """Not in the forward pass, and not on the way back."""
    config = ModelConfig.model_validate({"embed": 8, "encoder": {"hidden": 8}, "decoder": {"hidden": 8}})
    model = seeded(1, Seq2Seq, config, source_vocab=50, target_vocab=20_000)
    draw = np.random.default_rng(1)
    examples = [[draw.integers(4, vocab, 20).astype(np.int32) for vocab in (50, 20_000)] for _ in range(40)]
    batch = collate(SimpleNamespace(ids=examples.__getitem__), range(40))
    with Largest() as largest:
        model.loss(batch, smoothing=0.1, noise=Noise(1, 1), sampled=sampled).loss.backward()
    words = sampled or 20_000
    assert largest.numbers >= 20_000 * 8  # it does see the tables' gradients
    assert largest.numbers <= max(loss.CHUNK_ELEMENTS, 20_000 * 8) < batch.tokens * words
    with Largest() as largest:
        plain_nll(torch.zeros(batch.tokens, 8), model.decoder.readout.table.weight, None, batch.target_out.flatten())
    assert largest.numbers == batch.tokens * 20_000
