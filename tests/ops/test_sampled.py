"""The sampled loss: exact where all words are drawn, and its sum over words right on average."""

from itertools import combinations
from math import comb, log

import pytest
import torch

from regard.ops.loss import plain_nll
from regard.ops.noise import Noise
from regard.ops.sampled import draw_words, sampled_nll

VOCAB = 40


def problem(dtype=torch.float64):
    draw = torch.Generator().manual_seed(4)
    features = torch.randn(9, 5, generator=draw, dtype=dtype, requires_grad=True)
    weight = torch.randn(VOCAB, 5, generator=draw, dtype=dtype, requires_grad=True)
    bias = torch.randn(VOCAB, generator=draw, dtype=dtype, requires_grad=True)
    return features, weight, bias, torch.tensor([3, 9, 3, 38, 0, 9, 21, 21, 5])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_the_whole_vocabulary_it_is_exact(smoothing):
    features, weight, bias, targets = problem()
    sampled = sampled_nll(features, weight, bias, targets, smoothing, VOCAB, Noise(1, 1))
    plain = plain_nll(features, weight, bias, targets, smoothing)
    inputs = (features, weight, bias)
    for one, other in zip(
        torch.autograd.grad(sampled.loss, inputs), torch.autograd.grad(plain.loss, inputs), strict=True
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(sampled.nll, plain.nll)
    assert sampled.correct == plain.correct


@pytest.mark.parametrize("size", [1, 7, 20, VOCAB])
def test_the_batchs_words_are_in_and_add_nothing_and_each_other_one_stands_for_as_many(size):
    targets = torch.tensor([3, 9, 3, 38, 0])
    ids, extra = draw_words(targets, VOCAB, size, Noise(1, 1))
    own = torch.isin(ids, targets)
    assert ids.tolist() == sorted(set(ids.tolist())) and set(targets.tolist()) <= set(ids.tolist())
    assert len(ids) == max(size, 8)  # 4 of the batch, and as many at least of the others
    assert (extra[own] == 0).all()
    torch.testing.assert_close(extra[~own], torch.full((len(ids) - 4,), log(36 / (len(ids) - 4))))


def test_every_other_word_is_drawn_as_often_as_the_next():
    targets, drawn = torch.tensor([3, 9]), torch.zeros(VOCAB)
    for step in range(4_000):
        drawn[draw_words(targets, VOCAB, 12, Noise(1, step))[0]] += 1
    others = torch.ones(VOCAB, dtype=torch.bool)
    others[targets] = False
    expected, deviation = 4_000 * 10 / 38, (4_000 * 10 / 38 * 28 / 38) ** 0.5
    assert ((drawn[others] - expected).abs() < 4.5 * deviation).all() and (drawn[~others] == 4_000).all()


def test_the_sum_over_words_is_right_on_average_over_all_draws():
    """By enumeration of every set of 3 of the 6 other words."""
    own, others = [0, 5], [1, 2, 3, 4, 6, 7]
    logits = torch.randn(8, generator=torch.Generator().manual_seed(2)).double()
    _, extra = draw_words(torch.tensor(own), 8, 5, Noise(1, 1))
    (each,) = set(extra[extra != 0].tolist())
    sums = [logits[own].exp().sum() + (logits[list(some)] + each).exp().sum() for some in combinations(others, 3)]
    assert len(sums) == comb(6, 3)
    torch.testing.assert_close(torch.stack(sums).mean(), logits.exp().sum(), rtol=1e-6, atol=0)


def test_gradcheck():
    features, weight, bias, targets = problem()

    def loss(*inputs):
        return sampled_nll(*inputs, targets, 0.1, 15, Noise(1, 1)).loss

    assert torch.autograd.gradcheck(loss, (features, weight, bias))


def test_draws_are_a_function_of_seed_step_and_rank():
    targets = torch.tensor([3, 9])
    draws = [draw_words(targets, 500, 30, Noise(*place))[0].tolist() for place in [(1, 5), (1, 5), (1, 6), (1, 5, 1)]]
    assert draws[0] == draws[1] and draws[0] != draws[2] and draws[0] != draws[3]
