"""Averages of weights against the same by hand."""

from __future__ import annotations

import pytest
import torch

from regard.train.average import Average
from regard.train.config import TrainConfig


def test_ema_by_hand() -> None:
    weight = torch.tensor([0.0])
    average = Average({"w": weight}, ema=0.5)
    # decays: min(0.5, (1+t)/(10+t)) = 1/10, 2/11
    weight.fill_(1.0)
    average.after_update(0)  # 0.1·0 + 0.9·1
    assert average.values()["w"].item() == pytest.approx(0.9)
    weight.fill_(3.0)
    average.after_update(1)
    assert average.values()["w"].item() == pytest.approx(2 / 11 * 0.9 + 9 / 11 * 3)
    average.after_update(100)  # the warm-up is over: 0.5
    assert average.values()["w"].item() == pytest.approx(0.5 * (2 / 11 * 0.9 + 9 / 11 * 3) + 1.5)


def test_mean_of_the_last_validations_by_hand() -> None:
    weight = torch.tensor([0.0])
    average = Average({"w": weight}, last=3)
    for value, mean in [(1.0, 1.0), (2.0, 1.5), (6.0, 3.0), (7.0, 5.0)]:
        weight.fill_(value)
        average.at_validation()
        assert average.values()["w"].item() == pytest.approx(mean)


@pytest.mark.parametrize("keys", [{"ema": 0.9}, {"last": 2}])
def test_in_place_puts_everything_back(keys: dict[str, float]) -> None:
    weight = torch.randn(5)
    average = Average({"w": weight}, **keys)
    average.at_validation()
    weight.add_(1.0)
    average.after_update(0)
    before = weight.clone()
    with average.in_place():
        assert torch.equal(weight, average.values()["w"]) and not torch.equal(weight, before)
    assert torch.equal(weight, before)


def test_no_average_changes_nothing() -> None:
    weight = torch.randn(5)
    average = Average({"w": weight})
    average.at_validation()
    average.after_update(0)
    assert average.values() == {} and average.tensors() == {}
    with average.in_place():
        pass


@pytest.mark.parametrize("keys", [{"ema": 0.9}, {"last": 3}])
def test_tensors_go_to_another_average(keys: dict[str, float]) -> None:
    weight = torch.randn(5)
    one, other = Average({"w": weight}, **keys), Average({"w": weight.clone()}, **keys)
    for update in range(2):
        weight.add_(1.0)
        one.after_update(update)
        one.at_validation()
    other.load(one.tensors())
    assert torch.equal(one.values()["w"], other.values()["w"])


def test_one_average_at_a_time() -> None:
    with pytest.raises(ValueError, match=r"train.ema and train.average_last both average"):
        TrainConfig(ema=0.9, average_last=2)
