"""Every compiled kernel equals its plain form, outputs and gradients; rows stay alone; nothing needs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from regard.ops import build, loss, native
from regard.ops.attention import AttentionLoop, plain_attention
from regard.ops.gates import lstm_gates, plain_lstm_gates
from regard.ops.loss import chunked_nll, plain_nll
from regard.ops.mixture import StepMixtures, plain_mixture, plain_told
from regard.ops.product import LoopProduct

compiled = pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")


def randn(*shape, seed=2, scale=1.0):
    draw = torch.Generator().manual_seed(seed + sum(shape))
    return (scale * torch.randn(shape, generator=draw)).requires_grad_()


def both_ways(fast, plain, inputs):
    """Outputs and gradients of `fast` in float32 against those of `plain` in float64, all outputs weighed at random."""
    exact = [x.detach().double().requires_grad_() for x in inputs]
    found, expected = fast(*inputs), plain(*exact)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-6, rtol=2e-6)  # float32's rounding, a few times
    weighed = [randn(*one.shape, seed=9).detach() for one in found]
    found = torch.autograd.grad(sum((a * b).sum() for a, b in zip(found, weighed, strict=True)), inputs)
    expected = torch.autograd.grad(sum((a * b).sum() for a, b in zip(expected, weighed, strict=True)), exact)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=2e-5)  # sums of some hundred terms


@compiled
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])  # 30: saturated
@pytest.mark.parametrize("hidden", [8, 40])
def test_lstm(hidden, scale):
    both_ways(lstm_gates, plain_lstm_gates, [randn(5, 4 * hidden, scale=scale), randn(5, hidden)])


@compiled
@pytest.mark.parametrize("fed", [True, False])
def test_loop_products_through_panels(fed):
    def loop(product, x, start):
        for _ in range(3):
            x = torch.tanh(product(x, start if fed else None))[:, :24]
        return (x,)

    def fast(weight, x, start):
        return loop(LoopProduct(weight), x, start)

    def plain(weight, x, start):
        return loop(lambda x, start: x @ weight.T + (start if fed else 0.0), x, start * 1.0 if fed else start * 0.0)

    inputs = [randn(32, 24, scale=0.3), randn(7, 24), randn(7, 32)]
    if not fed:
        inputs, fast_, plain_ = inputs[:2], fast, plain
        fast, plain = (lambda w, x: fast_(w, x, x)), (lambda w, x: plain_(w, x, x.new_zeros(())))
    both_ways(fast, plain, inputs)


@compiled
@pytest.mark.parametrize("steps", [1, 7, 8, 19])
@pytest.mark.parametrize("ragged", [False, True])
def test_additive_attention(steps, ragged):
    lengths = torch.tensor([steps, 1, max(1, steps - 1)]) if ragged else None
    inputs = [randn(3, 2, 24), randn(3, steps, 24), randn(3, steps, 16), randn(24)]

    def fast(query, keys, values, vector):
        attend = AttentionLoop(keys, values, vector, lengths)
        first, second = attend(query), attend(torch.tanh(first_context(query)))
        return *first, *second

    def plain(query, keys, values, vector):
        return (
            *plain_attention(query, keys, values, vector, lengths),
            *plain_attention(torch.tanh(first_context(query)), keys, values, vector, lengths),
        )

    def first_context(query):  # the second step asks something else, and its gradient flows on
        return 0.5 * query.flip(-1)

    both_ways(fast, plain, inputs)


@compiled
def test_additive_attention_where_only_some_of_it_is_wanted():
    query, keys, values, vector = (randn(*shape) for shape in [(2, 1, 8), (2, 3, 8), (2, 3, 8), (8,)])
    context, weights = AttentionLoop(keys, values, vector)(query)
    by_weights = torch.autograd.grad(weights[:, :, 0].sum(), (query, keys), retain_graph=True)
    _, plain = plain_attention(query, keys, values, vector)
    expected = torch.autograd.grad(plain[:, :, 0].sum(), (query, keys))
    torch.testing.assert_close(by_weights, expected, atol=1e-6, rtol=1e-5)
    fixed = AttentionLoop(keys.detach(), values.detach(), vector.detach())
    (alone,) = torch.autograd.grad(fixed(query)[0].sum(), query)
    torch.testing.assert_close(alone, torch.autograd.grad(context.sum(), query)[0])
    unused = AttentionLoop(keys, values, vector)
    assert torch.autograd.grad(unused._anchor, (keys, values, vector), allow_unused=True) == (None, None, None)


@compiled
@pytest.mark.parametrize("steps", [1, 7, 8, 19])
def test_attention_by_dot_product(steps):
    query, keys, values = (randn(*shape).detach() for shape in [(3, 2, 24), (3, steps, 24), (3, steps, 16)])
    lengths = torch.tensor([steps, 1, max(1, steps - 1)])
    for given in (None, lengths):
        found = AttentionLoop(keys, values, None, given)(query)
        expected = plain_attention(query.double(), keys.double(), values.double(), None, given)
        torch.testing.assert_close([x.double() for x in found], list(expected), atol=2e-6, rtol=2e-6)  # as above


@compiled
def test_each_backward_pass_begins_with_nothing():
    """A pass that asks for the query's gradient alone never comes to the anchor, and must leave nothing behind."""
    query, keys, values, vector = (randn(*shape) for shape in [(2, 1, 8), (2, 3, 8), (2, 3, 8), (8,)])
    context, _ = AttentionLoop(keys, values, vector)(query)
    torch.autograd.grad(context.sum(), query, retain_graph=True)
    expected = torch.autograd.grad(plain_attention(query, keys, values, vector)[0].sum(), keys)
    torch.testing.assert_close(torch.autograd.grad(context.sum(), keys), expected, atol=1e-6, rtol=1e-5)


@compiled
@pytest.mark.parametrize("length", [torch.tensor([3, 9, 2, 9])[::2], torch.tensor([3, 2], dtype=torch.int32)])
def test_lengths_of_any_kind_are_read_right(length):
    query, keys, values, vector = (randn(*shape).detach() for shape in [(2, 1, 8), (2, 9, 8), (2, 9, 8), (8,)])
    found = AttentionLoop(keys, values, vector, length)(query)
    torch.testing.assert_close(found, plain_attention(query, keys, values, vector, torch.tensor([3, 2])))
    with pytest.raises(AssertionError, match="lengths"):
        AttentionLoop(keys, values, vector, torch.tensor([3, 10]))


@pytest.mark.parametrize("bad", [-1, 40, 10**8])
def test_a_target_out_of_the_vocabulary_is_refused(bad):
    with pytest.raises(AssertionError, match="targets must be 2 ids from 0 to 39"):
        chunked_nll(randn(2, 8).detach(), randn(40, 8).detach(), None, torch.tensor([1, bad]))


@compiled
@pytest.mark.parametrize("vocab", [3, 8, 61, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss(monkeypatch, vocab, smoothing):
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", 5 * vocab)
    targets = torch.arange(17) * 7 % vocab

    def form(function):
        return lambda *inputs: (function(*inputs, targets, smoothing).loss / 17,)

    inputs = [randn(17, 6), randn(vocab, 6), randn(vocab)]
    both_ways(form(chunked_nll), form(plain_nll), inputs)
    found, expected = chunked_nll(*inputs, targets, smoothing), plain_nll(*inputs, targets, smoothing)
    torch.testing.assert_close(found.nll, expected.nll)
    assert found.correct == expected.correct


@compiled
@pytest.mark.parametrize("vocab", [1, 5, 8, 1003])
def test_log_softmax(vocab):
    logits = randn(7, vocab, scale=5.0).detach()
    found = logits.clone()
    native.call("log_softmax", 7, vocab, found)
    torch.testing.assert_close(found.double(), logits.double().log_softmax(-1), atol=2e-6, rtol=1e-6)


@compiled
@pytest.mark.parametrize("vocab", [1, 5, 8, 61])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_mixtures_of_softmaxes(vocab, scale):
    """Weights that depend on what the steps say of the target, as those of a trellis do."""
    targets = torch.arange(6).view(2, 3) % vocab

    def fast(logits, priors):
        steps = StepMixtures(logits, targets)
        mixed = steps.mix((priors + steps.told).log_softmax(-1))
        return steps.told, mixed, steps.mix(torch.where(priors > 0, priors, -1e9))  # steps that never write

    def plain(logits, priors):
        written = logits.log_softmax(-1)
        told = plain_told(written, targets)
        mixed = plain_mixture(written, (priors + told).log_softmax(-1))
        return told, mixed, plain_mixture(written, torch.where(priors > 0, priors, -1e9))

    both_ways(fast, plain, [randn(2, 3, 4, vocab, scale=scale), randn(2, 3, 4)])


@compiled
def test_saturated_mixtures_are_as_exact_as_the_plain_form():
    """Logits of a hundred round by 1e-5 in float32, whoever adds them."""
    targets, worst = torch.arange(6).view(2, 3), torch.zeros(2, dtype=torch.float64)
    for seed in range(8):
        logits, priors = randn(2, 3, 4, 61, seed=seed, scale=30.0).detach(), randn(2, 3, 4, seed=seed).detach()
        exact = plain_mixture(logits.double().log_softmax(-1), priors.double())
        found = StepMixtures(logits, targets).mix(priors), plain_mixture(logits.log_softmax(-1), priors)
        worst = torch.maximum(worst, torch.stack([(one - exact).abs().max() for one in found]))
    assert worst[0] < 1.5 * worst[1] < 5e-5


@compiled
def test_of_a_mixture_only_a_part_may_be_wanted():
    logits, priors, targets = randn(2, 3, 4, 9), randn(2, 3, 4), torch.ones(2, 3, dtype=torch.int64)
    steps = StepMixtures(logits, targets)
    mixed = steps.mix(priors).sum()
    torch.autograd.grad(mixed, priors, retain_graph=True)  # what this begins for the logits must not be added below
    exact = logits.detach().double().requires_grad_()
    expected = torch.autograd.grad(plain_told(exact.log_softmax(-1), targets).square().sum(), exact)
    found = torch.autograd.grad(steps.told.square().sum(), logits)
    torch.testing.assert_close(found[0].double(), expected[0], atol=2e-5, rtol=2e-5)


@compiled
def test_rows_are_alone():
    """A row's result is the same bits whatever else is in the batch, and whatever padding follows it."""
    query, keys, values, vector = (randn(*shape).detach() for shape in [(6, 5, 16), (6, 9, 16), (6, 9, 24), (16,)])
    lengths = torch.tensor([9, 3, 4, 9, 1, 8])
    whole = AttentionLoop(keys, values, vector, lengths)(query)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        context, weights = AttentionLoop(keys[one, :length], values[one, :length], vector)(query[one, 2:3])
        assert torch.equal(context[0, 0], whole[0][row, 2])
        assert torch.equal(weights[0, 0], whole[1][row, 2, :length]) and not whole[1][row, 2, length:].any()
    gates, cell = randn(9, 64).detach(), randn(9, 16).detach()
    together = lstm_gates(gates, cell)
    for row in range(9):
        alone = lstm_gates(gates[row : row + 1], cell[row : row + 1])
        assert all(torch.equal(a[0], b[row]) for a, b in zip(alone, together, strict=True))


@compiled
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad):
    """No kernel hides a diverged model behind a plausible number."""
    gates, cell = randn(2, 32).detach(), randn(2, 8).detach()
    cell[1, 3] = bad
    h, c = lstm_gates(gates, cell)
    assert not c[1].isfinite().all() and c[0].isfinite().all() and h[0].isfinite().all()
    query, keys = randn(2, 1, 8).detach(), randn(2, 3, 8).detach()
    query[1] = float("nan")
    context, _ = AttentionLoop(keys, keys, torch.ones(8))(query)
    assert context[0].isfinite().all() and context[1].isnan().all()
    features = randn(3, 4).detach()
    features[1, 2] = bad
    assert not chunked_nll(features, randn(40, 4).detach(), None, torch.tensor([1, 2, 3])).loss.isfinite()
    logits = randn(2, 40).detach()
    logits[1, 39] = bad
    native.call("log_softmax", 2, 40, logits)
    assert logits[0].isfinite().all() and logits[1, 0].isnan()


@compiled
def test_what_kernels_do_not_take():
    fine, odd = torch.zeros(2, 16), torch.zeros(2, 12)
    assert native.usable(fine) and native.usable(odd, multiple=1)
    assert not native.usable(fine, odd) and not native.usable(fine.double()) and not native.usable(fine.to("meta"))


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@compiled
def test_they_can_be_switched_off():
    code = "from regard.ops import native; print(native.kernels(), native.version())"
    assert python(code, REGARD_KERNELS="0") == "None None"


@compiled
def test_a_library_of_another_version_is_left_alone(monkeypatch):
    monkeypatch.setattr(native, "digest", lambda: "0123456789ab")
    assert native.kernels.__wrapped__() is None


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-compiler", "it could not be run"),
        ("cc 'unclosed", "No closing quotation"),
        ("false", "false failed: exit status 1"),
    ],
)
def test_a_machine_that_cannot_compile_is_told_why(monkeypatch, tmp_path: Path, command, problem):
    monkeypatch.setenv("CC", command)
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "kernels.so")
    assert problem in str(build.build())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "gone" / "kernels.so")
    assert "could not be run, or its result not written" in str(build.build())


@pytest.mark.slow
@pytest.mark.skipif(build.compiler() is None, reason="no C compiler on this machine")
def test_the_source_compiles_without_warnings(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "kernels.so")
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-Wall", "-Wextra", "-Werror"))
    assert build.build() is None and (tmp_path / "kernels.so").is_file()
