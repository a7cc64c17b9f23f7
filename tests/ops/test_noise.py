"""Masks are a function of (seed, step, rank, name) and of nothing else."""

import pytest
import torch

from regard.ops.dropout import dropout, sequence_dropout
from regard.ops.noise import Noise


def test_same_place_same_numbers_whatever_was_drawn_before():
    first, second = Noise(3, 17, 1), Noise(3, 17, 1)
    second.keep_mask("other", (5, 5), 0.5)
    assert torch.equal(first.keep_mask("a", (40, 30), 0.3), second.keep_mask("a", (40, 30), 0.3))


@pytest.mark.parametrize("other", [Noise(4, 17, 1), Noise(3, 18, 1), Noise(3, 17, 0)])
def test_every_coordinate_matters(other):
    here = Noise(3, 17, 1).keep_mask("a", (100, 100), 0.5)
    # Two independent masks of 10,000 agree in half of the places, give or take 4 standard deviations of 50.
    assert abs((here == other.keep_mask("a", (100, 100), 0.5)).sum() - 5000) < 200


def test_names_are_streams_and_a_name_is_used_once():
    noise = Noise(1, 1)
    assert not torch.equal(noise.keep_mask("a", (64,), 0.5), noise.keep_mask("b", (64,), 0.5))
    with pytest.raises(AssertionError, match="used twice"):
        noise.keep_mask("a", (64,), 0.5)


@pytest.mark.parametrize("drop", [0.1, 0.3, 0.5, 0.9])
def test_expectation_is_one_and_the_share_is_as_asked(drop):
    mask = Noise(5, 0).keep_mask("a", (1000, 1000), drop)
    # Standard error of the kept share over a million draws is at most 0.0005; the rounding to 1/256 adds 0.002.
    assert abs((mask == 0).float().mean().item() - drop) < 0.004
    keep = round((1 - drop) * 256) / 256
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / keep])


def test_uniform_is_uniform():
    draws = Noise(5, 0).uniform("u", (100_000,), torch.float64)
    assert draws.min() >= 0 and draws.max() < 1
    counts = torch.histc(draws.float(), 10, 0, 1)
    chi2 = ((counts - 10_000) ** 2 / 10_000).sum().item()
    assert chi2 < 27.9  # 0.999 quantile for 9 degrees of freedom


def test_dropout_is_off_without_noise_and_shared_over_steps_where_asked():
    x = torch.ones(4, 7, 50)
    assert dropout(x, 0.5, None, "a") is x and dropout(x, 0.0, Noise(1, 1), "a") is x
    per_sequence = sequence_dropout(x, 0.5, Noise(1, 1), "a")
    assert torch.equal(per_sequence, per_sequence[:, :1].expand_as(x))
    assert not torch.equal(per_sequence[0], per_sequence[1])
    assert torch.equal(dropout(x, 0.5, Noise(1, 1), "b"), x * Noise(1, 1).keep_mask("b", x.shape, 0.5))
