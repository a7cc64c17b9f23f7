"""Expected calibration error by hand, and temperatures that were put in and are found again."""

import math

import numpy as np
import pytest
import torch

from regard.errors import RegardError
from regard.score.calibration import best_temperature, calibration_error


def test_by_hand():
    """Two bins of ten: |0.6 − 0.65| of two decisions, |1 − 0.95| of one: (0.1 + 0.05) / 3."""
    confidence, right = np.array([0.62, 0.68, 0.95]), np.array([True, False, True])
    expected = (abs(1 - 1.30) + abs(1 - 0.95)) / 3
    assert calibration_error(confidence, right, bins=10) == pytest.approx(100 * expected)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0


def test_a_temperature_that_was_put_in_is_found():
    draw = np.random.default_rng(1)
    logits = torch.from_numpy(draw.normal(size=(4000, 5)) * 2)
    right = torch.from_numpy((draw.random((4000, 1)) < logits.softmax(-1).cumsum(-1).numpy()).argmax(1))
    spoilt = logits * 3.0

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(spoilt / temperature, right))

    found = best_temperature(nll)
    assert found == pytest.approx(3.0, rel=0.08)
    grid = [nll(found * factor) for factor in (0.9, 0.99, 1.01, 1.1)]
    assert all(nll(found) <= value for value in grid)
    confidence, label = (spoilt / found).softmax(-1).max(-1)
    before = spoilt.softmax(-1).max(-1).values
    errors = [calibration_error(each.numpy(), (label == right).numpy()) for each in (before, confidence)]
    assert errors[1] < 3.0 < errors[0]


def test_a_minimum_at_the_edge_stays_inside():
    assert 0.02 <= best_temperature(lambda temperature: temperature) < 0.021
    assert math.isclose(best_temperature(lambda temperature: -temperature), 50.0, rel_tol=1e-3)


def test_nothing_has_no_error():
    with pytest.raises(RegardError, match="0 probabilities and 0 decisions"):
        calibration_error(np.array([]), np.array([], dtype=bool))
