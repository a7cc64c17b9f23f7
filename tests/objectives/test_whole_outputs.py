"""Objectives of whole outputs: likelihoods and losses by hand, what outputs cost, and models that get better."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.resuming import check_resumes, small_recipe
from tests.test_model import Lines, reversals, tiny

from regard.data.batches import collate
from regard.data.tokenizer import EOS
from regard.decode import readout
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.objectives import OBJECTIVES, Judge
from regard.objectives.judge import log_likelihoods
from regard.ops.noise import Noise
from regard.recipe import load_recipe
from regard.score import TEXT_METRICS
from regard.tasks.transduce import Transduce

PAIRS = reversals(5, 6)


def words(tokens):
    return " ".join(map(str, tokens))


class Told(Judge):
    """A judge whose samples are given."""

    given: ClassVar = [
        [(5, 6, EOS), (7, EOS), (5, 6, EOS)],
        [(8, EOS), (EOS,), (9, 9)],
        *[[(5, EOS), (6, EOS), (4, EOS)]] * 3,
    ]

    def sampled(self, model, batch, count, noise):
        return self.given

    def greedy(self, model, batch):
        return [(4, EOS)] * len(self.given)


def judge(kind=Judge, metric="wer"):
    return kind(TEXT_METRICS[metric](), words, SearchConfig())


def batch_of(pairs=PAIRS):
    return collate(Lines(pairs), np.arange(len(pairs)))


def alone(model, source, output):
    """log p of one output, as the model's loss has it."""
    ended = output[-1] == EOS
    found = collate(Lines([(source, list(output[:-1] if ended else output))]), np.arange(1))
    if not ended:  # cut off: all but the end
        found = dataclasses.replace(found, target_in=found.target_in[:, :-1], target_out=found.target_out[:, :-1])
    return -model.loss(found).loss


@pytest.mark.parametrize("elements", [20, 10_000])
def test_likelihoods_of_outputs_are_those_of_targets_with_gradients(monkeypatch, elements):
    monkeypatch.setattr(readout, "CHUNK_ELEMENTS", elements)
    model, outputs = tiny(dropout=0.3), Told.given
    found = torch.cat(log_likelihoods(model, batch_of(), outputs))
    right = torch.stack([alone(model, PAIRS[i][0], one) for i, several in enumerate(outputs) for one in several])
    torch.testing.assert_close(found, right)
    weights = torch.randn(len(found), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    parameters = [one for one in model.parameters() if one.requires_grad]
    ours, theirs = (torch.autograd.grad(each @ weights, parameters, allow_unused=True) for each in (found, right))
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch.testing.assert_close(mine, other)


def test_outputs_cost_what_their_sentence_loses():
    batch = batch_of([([4], [5, 6, 7, 8]), ([4], [5, 6])])
    outputs = [[(5, 6, 7, 8, EOS), (5, 6, EOS), (5, 6, 7, 9)], [(5, 6, EOS), (7, EOS), (EOS,)]]
    # Words that have to be changed or added, of four and of two; an output that was cut off counts as it is.
    assert judge(metric="ter").costs(outputs, batch) == [[0.0, 0.5, 0.25], [0.0, 1.0, 1.0]]
    bleu = judge(metric="bleu")
    costs = bleu.costs(outputs, batch)
    right = [0.0, 1 - bleu.metric.corpus(["5 6"], [["5 6 7 8"]]) / 100]
    assert costs[0][:2] == pytest.approx(right, abs=1e-12)


def by_hand(model, kind, more, likelihood):
    batch, config = batch_of(), OBJECTIVES[kind].Config(samples=3, likelihood=likelihood, **more)
    told = model.loss(batch, smoothing=0.1)
    found = OBJECTIVES[kind](config)(model, batch, Noise(1, 1), lambda: told, judge(Told))
    log_p = [[alone(model, PAIRS[i][0], one) for one in several] for i, several in enumerate(Told.given)]
    costs = judge().costs(Told.given, batch)
    return found.loss, told, batch, log_p, costs


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("likelihood", [0.0, 0.4])
def test_minimum_risk_is_the_cost_that_is_expected_of_different_outputs(likelihood, reference):
    model = tiny()
    more = {"sharpness": 0.2, "reference": reference}
    found, told, batch, log_p, costs = by_hand(model, "minimum_risk", more, likelihood)
    risks = []
    for i, (several, chances, lost) in enumerate(zip(Told.given, log_p, costs, strict=True)):
        different = {one: (chance, cost) for one, chance, cost in zip(several, chances, lost, strict=True)}
        if reference:
            target = (*PAIRS[i][1], EOS)
            different[target] = (alone(model, PAIRS[i][0], target), 0.0)
        weights = torch.stack([(0.2 * chance).exp() for chance, _ in different.values()])
        risks.append(sum(w * cost for w, (_, cost) in zip(weights, different.values(), strict=True)) / weights.sum())
    right = likelihood * told.loss + (1 - likelihood) * batch.tokens * sum(risks) / len(risks)
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("baseline", ["greedy", "others"])
def test_self_critical_weighs_each_output_by_how_much_better_it_is(baseline):
    model = tiny()
    found, told, batch, log_p, costs = by_hand(model, "self_critical", {"baseline": baseline}, 0.25)
    greedy = judge().costs([[(4, EOS)]] * len(costs), batch)
    total = 0.0
    for chances, lost, (own,) in zip(log_p, costs, greedy, strict=True):
        for j, (chance, cost) in enumerate(zip(chances, lost, strict=True)):
            against = own if baseline == "greedy" else sum(lost[:j] + lost[j + 1 :]) / 2
            total = total - (against - cost) * chance / 3
    torch.testing.assert_close(found, 0.25 * told.loss + 0.75 * total)


def test_samples_are_a_function_of_seed_and_step():
    model, batch = tiny(torch.float32), batch_of(reversals(30, 6))
    one, same, other = (judge().sampled(model, batch, 4, Noise(1, step)) for step in (3, 3, 4))
    assert one == same != other and {len(several) for several in one} == {4}
    assert judge().greedy(model, batch) == [
        several[0] for several in judge()._found(model, batch, {"method": "beam", "beam": 1, "n_best": 1})
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minimum_risk", "self_critical"])
def test_outputs_get_better(kind):
    """A model that has learned a little by likelihood; then by this alone."""
    model, batch = tiny(torch.float32, as_built=True), batch_of(reversals(64, 4))
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(150):
        adam.zero_grad()
        (model.loss(batch, noise=Noise(1, step)).loss / batch.tokens).backward()
        adam.step()
    more = {"sharpness": 1.0} if kind == "minimum_risk" else {}
    objective = OBJECTIVES[kind](OBJECTIVES[kind].Config(samples=8, likelihood=0.0, **more))
    adam = torch.optim.Adam(model.parameters(), 1e-3)

    def cost():
        return np.mean(judge().costs(judge().sampled(model, batch, 20, Noise(9, 9)), batch))

    before = cost()
    for step in range(40):
        adam.zero_grad()
        told = objective(model, batch, Noise(2, step), lambda: model.loss(batch), judge())
        (told.loss / batch.tokens).backward()
        adam.step()
    assert cost() < 0.85 * before, (before, cost())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minimum_risk", "self_critical"])
def test_runs_resume_bit_for_bit(tmp_path, monkeypatch, kind):
    seen = check_resumes(small_recipe(tmp_path, objective={"type": kind, "samples": 3}), tmp_path, monkeypatch)
    assert len(seen) > 8


def test_a_task_is_judged_by_its_own_metric_or_another():
    recipe = load_recipe("demo-cmudict", ["train.objective=self_critical"])
    assert Transduce(recipe)._judged_by().name == Transduce.default_metric
    changed = load_recipe("demo-cmudict", ["train.objective=self_critical", "train.objective.metric=chrf"])
    assert Transduce(changed)._judged_by().name == "chrf"
    wrong = load_recipe("demo-cmudict", ["train.objective=self_critical", "train.objective.metric=blue"])
    with pytest.raises(RegardError, match=r"train.objective.metric: no metric 'blue' compares texts; there are"):
        Transduce(wrong).check_scorers()


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("demo-cmudict", ["model.decoder=marginal"], "is not for model.decoder marginal: set it to likelihood"),
        ("summarize-aeslc", [], "is not for model.readout copy"),
        ("write-ptb", [], "is for pairs of texts"),
        ("demo-cmudict", ["train.objective.samples=1"], "baseline others compares samples, and there is one"),
    ],
)
def test_what_they_are_not_for(recipe, changes, sentence):
    with pytest.raises(RegardError, match=sentence):
        load_recipe(recipe, ["train.objective=self_critical", *changes])
