"""Groups, clipping, frozen parameters, accumulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.train.config import TrainConfig
from regard.train.log import read_metrics
from regard.train.loop import Trainer
from regard.train.optimise import Optimiser, freeze
from regard.train.weights import model_tensors

Make = Callable[..., Trainer]


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2)).double()


def test_weight_decay_spares_vectors() -> None:
    built = model()
    optimiser = Optimiser(built, TrainConfig(weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in built.named_parameters()}
    for parameter in built.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step(0.1, optimiser.norm())
    for name, parameter in built.named_parameters():
        factor = 1 - 0.1 * 0.5 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_rates_of_parts_are_shares_of_the_rate() -> None:
    """The first pattern that matches counts; a share of Adam's step is that share of the way."""
    ours, plain = model(), model()
    rates = [("0.weight", 0.5), ("0.*", 0.1)]
    optimisers = [Optimiser(ours, TrainConfig(rates=rates)), Optimiser(plain, TrainConfig())]
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for built, optimiser in zip((ours, plain), optimisers, strict=True):
        for index, parameter in enumerate(built.parameters()):
            torch.manual_seed(index)
            parameter.grad = torch.randn_like(parameter)
        optimiser.step(0.1, optimiser.norm())
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        share = {"0.weight": 0.5, "0.bias": 0.1}.get(name, 1.0)
        torch.testing.assert_close(mine - before[name], share * (other - before[name]))
    with pytest.raises(RegardError, match=r"train.rates: no parameter matches 'encoder.\*'"):
        Optimiser(model(), TrainConfig(rates=[("encoder.*", 0.1)]))


def test_clips_the_norm_of_the_whole_gradient() -> None:
    built = model()
    optimiser = Optimiser(built, TrainConfig(clip=0.5))
    seen: list[Tensor] = []
    optimiser.adamw.register_step_pre_hook(lambda *_: seen.extend(p.grad.clone() for p in optimiser.parameters))
    for parameter in built.parameters():
        parameter.grad = torch.randn_like(parameter)
    norm = torch.cat([p.grad.flatten() for p in built.parameters()]).norm()
    torch.testing.assert_close(optimiser.norm(), norm)
    optimiser.step(0.1, optimiser.norm())
    assert float(torch.cat([g.flatten() for g in seen]).norm()) == pytest.approx(0.5, rel=1e-5)
    assert all(p.grad is None for p in optimiser.parameters)


def test_agrees_with_plain_adamw() -> None:
    ours, plain = model(), model()
    optimiser = Optimiser(ours, TrainConfig(weight_decay=0.0, clip=0.0, betas=(0.9, 0.98)))
    adamw = torch.optim.AdamW(plain.parameters(), lr=0.1, betas=(0.9, 0.98), weight_decay=0.0, foreach=False)
    for seed in range(4):
        torch.manual_seed(seed)
        x = torch.randn(5, 4, dtype=torch.float64)
        for each in (ours, plain):
            each(x).square().sum().backward()
        optimiser.step(0.1, optimiser.norm())
        adamw.step()
        adamw.zero_grad()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_frozen_parts_stay_and_the_rest_learns(tmp_path: Path, trainer: Make, copy_task: Any) -> None:
    class Frozen(copy_task):
        def build(self) -> nn.Module:
            built = super().build()
            assert freeze(built, ["source.*", "hidden.bias"]) == ["source.weight", "hidden.bias"]
            return built

    trained = trainer(tmp_path / "run", Frozen(), epochs=1, ema=0.9)
    before = {name: value.clone() for name, value in model_tensors(trained.model).items()}
    trained.run_to_end()
    changed = [n for n, value in model_tensors(trained.model).items() if not torch.equal(value, before[n])]
    assert sorted({*before} - {*changed}) == ["hidden.bias", "source.weight"]


def test_frozen_pattern_that_matches_nothing_or_all() -> None:
    with pytest.raises(RegardError, match=r"train.frozen: no parameter matches 'encoder.\*'; parts are 0, 1, 2"):
        freeze(model(), ["encoder.*"])
    with pytest.raises(RegardError, match="matches every parameter"):
        freeze(model(), ["*"])


def test_two_accumulated_halves_are_the_whole(tmp_path: Path, trainer: Make) -> None:
    """One update over a group of two batches = one update over both in one batch (float64, no dropout)."""
    halves = trainer(tmp_path / "halves", precision="float64", accumulate=2)
    whole = trainer(tmp_path / "whole", precision="float64")
    for each in (halves, whole):  # dropout draws by batch shape: switch it off
        loss = each.task.loss
        each.task.loss = lambda m, b, noise, done, loss=loss: loss(m, b, None)  # type: ignore[method-assign]
    group = list(halves.plan.epoch(0))[:2]
    halves._update(group)
    whole._update([np.concatenate(group)])
    for name, value in model_tensors(whole.model).items():
        torch.testing.assert_close(value, model_tensors(halves.model)[name], rtol=1e-9, atol=1e-12)


def test_a_loss_that_is_not_finite_names_the_batch(tmp_path: Path, trainer: Make, copy_task: Any) -> None:
    def spoil(loss: Tensor, batch: Any, noise: Any) -> Tensor:
        return loss * float("nan") if noise.step == 9 else loss

    spoilt = trainer(tmp_path / "run", copy_task(spoil), save_every=4)
    batches = list(spoilt.plan.epoch(0))
    with pytest.raises(RegardError) as caught:
        spoilt.run_to_end()
    message = str(caught.value)
    assert message.startswith("the loss is nan at update 10 (epoch 1, batch 9, training examples ")
    assert f"training examples {int(batches[9][0])}" in message
    assert repr(spoilt.examples.source_text(int(batches[9][0]))) in message
    assert f"; {tmp_path / 'run'} keeps its checkpoint of update 8: look at those examples" in message
    assert message.endswith("train.clip in another run folder.")
    resumed = trainer(tmp_path / "run", save_every=4)
    assert resumed.state.update == 8
    assert all(t.isfinite().all() for t in model_tensors(resumed.model).values())


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path, trainer: Make, copy_task: Any) -> None:
    def spoil(loss: Tensor, batch: Any, noise: Any) -> Tensor:
        if noise.step == 2:
            loss.register_hook(lambda grad: grad * float("inf"))
        return loss

    spoilt = trainer(tmp_path / "run", copy_task(spoil))
    with pytest.raises(
        RegardError, match=r"the norm of the gradient is (nan|inf) at update 3 \(epoch 1, batch 2"
    ) as caught:
        spoilt.run_to_end()
    assert "; no checkpoint was written yet: look at those examples" in str(caught.value)
    assert all(t.isfinite().all() for t in model_tensors(spoilt.model).values())


def test_patience_ends_the_run_and_the_best_is_kept(tmp_path: Path, trainer: Make, copy_task: Any) -> None:
    task = copy_task(values=iter([9.0, 4.0, 5.0, float("nan"), 3.0]))
    tired = trainer(tmp_path / "run", task, epochs=9, patience=2)
    tired.run_to_end()
    state = tired.state
    assert state.ended == "patience" and state.epoch == 4
    assert state.best["perplexity"] == 4.0 and state.best_update == 2 * tired.batches
    valid = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["type"] == "valid"]
    assert [r["best"] for r in valid] == [True, True, False, False]
    assert valid[-1]["perplexity"] is None  # JSON has no nan
    assert tired.run.info["best_update"] == state.best_update
    for name, value in tired.run.weights().items():
        assert torch.equal(value, model_tensors(tired.model)[name])


def test_the_first_fifty_updates_are_logged_one_by_one(tmp_path: Path, trainer: Make) -> None:
    long = trainer(tmp_path / "run", epochs=None, updates=73)
    long.run_to_end()
    updates = [r["update"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["type"] == "train"]
    assert updates[:50] == list(range(1, 51))
    ends = {u for u in range(51, 74) if u % 5 == 0 or u % long.batches == 0}
    assert updates[50:] == sorted(ends)
