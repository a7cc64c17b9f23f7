"""The learning rate against torch's schedulers and the formulas."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from regard.train.config import TrainConfig
from regard.train.schedule import rate_factor, share_done

STEPS = 40


def ours(**keys: object) -> list[float]:
    config = TrainConfig(epochs=None, updates=STEPS, **keys)
    return [rate_factor(config, t, share_done(config, t, 0.0)) for t in range(STEPS)]


def torchs(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
    return rates


def test_linear_and_cosine_are_torchs() -> None:
    linear = torchs(lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=STEPS))
    assert ours(schedule="linear", warmup=0, final_fraction=0.1) == pytest.approx(linear)
    cosine = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1))
    assert ours(schedule="cosine", warmup=0, final_fraction=0.1) == pytest.approx(cosine)


def test_warmup_rises_in_equal_steps_and_multiplies_the_decay() -> None:
    assert ours(schedule="constant", warmup=8) == pytest.approx([min(1, (t + 1) / 8) for t in range(STEPS)])
    decay = ours(schedule="linear", warmup=0)
    both = ours(schedule="linear", warmup=8)
    assert both == pytest.approx([d * min(1, (t + 1) / 8) for t, d in enumerate(decay)])


def test_inverse_sqrt_by_hand() -> None:
    # Vaswani et al. 2017, equation 3, divided by its peak at t = warmup: min((t/w), sqrt(w/t)).
    expected = [min(t / 8, math.sqrt(8 / t)) for t in range(1, STEPS + 1)]
    assert ours(schedule="inverse_sqrt", warmup=8, final_fraction=0.0) == pytest.approx(expected)


def test_share_done_takes_the_nearer_end() -> None:
    config = TrainConfig(epochs=4, updates=100)
    assert share_done(config, 10, 1.0) == 0.25
    assert share_done(config, 90, 1.0) == 0.9
    assert share_done(config, 500, 9.0) == 1.0
    assert share_done(TrainConfig(epochs=4, minutes=1), 10**6, 2.0) == 0.5
