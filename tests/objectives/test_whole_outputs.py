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
from regard.recipe import Recipe, load_recipe
from regard.score import TEXT_METRICS
from regard.tasks.reply import Reply
from regard.tasks.transduce import Transduce
from regard.train.log import read_metrics

PAIRS = reversals(5, 6)


def words(tokens):
    return " ".join(map(str, tokens))


class Told(Judge):
    """A judge whose samples are given."""

    given: ClassVar = [
        [(5, 4, 8, 8, EOS), (5, 4, EOS), (5, 4, 8, 8, EOS)],
        [(6, EOS), (6, 7, EOS), (9, 9)],
        [(19, 13, 12, EOS), (19, EOS), (14, EOS)],
        [(8, 18, 12, 12, 14, EOS), (8, 18, EOS), (8, EOS)],
        [(12, 17, EOS), (4, EOS), (EOS,)],
    ]

    def sampled(self, model, batch, count, noise):
        return self.given

    def greedy(self, model, batch):
        return [(4, EOS)] * len(self.given)


def judge(kind=Judge, metric="ter", pairs=PAIRS):
    return kind(TEXT_METRICS[metric](), words, lambda i: [words(pairs[i][1])], SearchConfig())


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
    pairs = [([4], [5, 6, 7, 8]), ([4], [5, 6])]
    outputs = [[(5, 6, 7, 8, EOS), (5, 6, EOS), (5, 6, 7, 9)], [(5, 6, EOS), (7, EOS), (7, 8, 9, 9, 9, 9, EOS)]]
    # Words that have to be changed or added, of four and of two; an output that was cut off counts as it is, and one
    # that is worse than nothing as much as nothing.
    assert judge(metric="ter", pairs=pairs).costs(outputs, batch_of(pairs)) == [[0.0, 0.5, 0.25], [0.0, 1.0, 1.0]]


@pytest.mark.parametrize("metric", [name for name, kind in TEXT_METRICS.items() if not kind.of_outputs_alone])
@pytest.mark.parametrize("length", range(1, 7))
def test_nothing_is_better_than_what_is_right(metric, length):
    """By any metric, of short sentences too, of which BLEU as of a corpus says 0."""
    right = [5, 6, 7, 8, 9, 10][:length]
    pairs = [([4], right)]
    others = [(*right[:-1], EOS), (*right, right[-1], EOS), (*right, *right, EOS), (*reversed(right), 11, EOS), (EOS,)]
    [[best, *rest]] = judge(metric=metric, pairs=pairs).costs([[(*right, EOS), *others]], batch_of(pairs))
    if metric == "rouge2" and length == 1:  # which has no two words
        assert best == 1.0 and rest == [1.0] * len(rest)
    else:
        assert best == pytest.approx(0.0, abs=1e-9) and all(best < cost <= 1.0 for cost in rest)


def test_all_answers_to_a_source_are_right(tmp_path):
    (tmp_path / "words.tsv").write_text("ab\tx y\nab\tx z\ncd\tw\n" * 4)
    files = {split: {"table": str(tmp_path / "words.tsv")} for split in ("train", "valid")}
    values = {"task": "transduce", "data": {**files, "source": {"tokenizer": "char"}, "target": {"tokenizer": "word"}}}
    recipe = Recipe.from_dict({**values, "train": {"objective": "self_critical"}})
    task = Transduce(recipe)
    prepared = task.prepare()
    task.training(prepared, 1)
    batch = collate(prepared.train, np.arange(3))
    several = [[tuple(ids) for ids in prepared.tokenizers["target"].encode(["x y", "x z", "w"])]] * 3
    assert task._judge.costs(several, batch) == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


def by_hand(model, kind, more, likelihood):
    batch, config = batch_of(), OBJECTIVES[kind].Config(samples=3, likelihood=likelihood, **more)
    told = model.loss(batch, smoothing=0.1)
    found = OBJECTIVES[kind](config)(model, batch, Noise(1, 1), lambda: told, judge(Told))
    log_p = [[alone(model, PAIRS[i][0], one) for one in several] for i, several in enumerate(Told.given)]
    costs = judge().costs(Told.given, batch)
    assert all(len({*lost}) > 1 for lost in costs)
    return found, told, batch, log_p, costs


def mean_cost(costs):
    """Of what the judge was given, each different one once, summed over sentences."""
    each = [dict(zip(several, lost, strict=True)) for several, lost in zip(Told.given, costs, strict=True)]
    return sum(sum(different.values()) / len(different) for different in each)


@pytest.mark.parametrize("likelihood", [0.0, 0.4])
def test_minimum_risk_is_the_cost_that_is_expected_of_different_outputs(likelihood):
    model = tiny()
    found, told, _, log_p, costs = by_hand(model, "minimum_risk", {"sharpness": 0.2}, likelihood)
    risk = 0.0
    for (_, target), several, chances, lost in zip(PAIRS, Told.given, log_p, costs, strict=True):
        different = {one: (chance, cost) for one, chance, cost in zip(several, chances, lost, strict=True)}
        weights = torch.stack([(0.2 * chance).exp() for chance, _ in different.values()])
        expected = sum(w * cost for w, (_, cost) in zip(weights, different.values(), strict=True)) / weights.sum()
        risk = risk + (len(target) + 1) * expected
    torch.testing.assert_close(found.loss, likelihood * told.loss + (1 - likelihood) * risk)
    assert found.judged == len(PAIRS) and found.cost == pytest.approx(mean_cost(costs)) and found.nll == told.nll


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
    torch.testing.assert_close(found.loss, 0.25 * told.loss + 0.75 * total)


def test_samples_are_a_function_of_seed_and_step():
    model, batch = tiny(torch.float32), batch_of(reversals(30, 6))
    one, same, other = (judge().sampled(model, batch, 4, Noise(1, step)) for step in (3, 3, 4))
    assert one == same != other and {len(several) for several in one} == {4}
    assert judge().greedy(model, batch) == [
        several[0] for several in judge()._found(model, batch, method="beam", beam=1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minimum_risk", "self_critical"])
def test_outputs_get_better(kind):
    """A model that has learned a little by likelihood; then by this alone."""
    pairs = reversals(64, 4)
    model, batch, deciding = tiny(torch.float32, as_built=True), batch_of(pairs), judge(pairs=pairs)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(150):
        adam.zero_grad()
        (model.loss(batch, noise=Noise(1, step)).loss / batch.tokens).backward()
        adam.step()
    more = {"sharpness": 1.0} if kind == "minimum_risk" else {}
    objective = OBJECTIVES[kind](OBJECTIVES[kind].Config(samples=8, likelihood=0.0, **more))
    adam = torch.optim.Adam(model.parameters(), 1e-3)

    def cost():
        return np.mean(deciding.costs(deciding.sampled(model, batch, 20, Noise(9, 9)), batch))

    before = cost()
    for step in range(40):
        adam.zero_grad()
        told = objective(model, batch, Noise(2, step), lambda: model.loss(batch), deciding)
        (told.loss / batch.tokens).backward()
        adam.step()
    assert cost() < 0.85 * before, (before, cost())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minimum_risk", "self_critical"])
def test_runs_resume_bit_for_bit(tmp_path, monkeypatch, kind):
    check_resumes(small_recipe(tmp_path, objective={"type": kind, "samples": 3}), tmp_path, monkeypatch)
    log = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert all(0 < line["cost"] <= 1 and line["nll"] > line["loss"] for line in log if line["type"] == "train")


def test_a_task_is_judged_by_its_own_metric_or_another():
    recipe = load_recipe("demo-cmudict", ["train.objective=self_critical"])
    assert Transduce(recipe)._judged_by().name == Transduce.default_metric
    changed = load_recipe("demo-cmudict", ["train.objective=self_critical", "train.objective.metric=chrf"])
    assert Transduce(changed)._judged_by().name == "chrf"
    wrong = load_recipe("demo-cmudict", ["train.objective=self_critical", "train.objective.metric=blue"])
    with pytest.raises(RegardError, match=r"train.objective.metric: no metric 'blue' compares texts; there are"):
        Transduce(wrong).check_scorers()
    with pytest.raises(RegardError, match="no output has a perplexity; name a metric of texts, such as chrf"):
        Reply(load_recipe("reply-self-dialogue", ["train.objective=self_critical"])).check_scorers()


def test_a_task_learns_by_it_and_says_what_outputs_cost():
    changes = ["train.objective=minimum_risk", "train.objective.likelihood=0", "train.objective.metric=chrf"]
    task, model = Transduce(load_recipe("demo-cmudict", changes)), tiny()
    task._judge = judge(Told)
    found, plain = (task.loss(model, batch_of(), noise) for noise in (Noise(1, 1), None))
    assert found.judged == len(PAIRS) and 0 < found.cost < len(PAIRS) and plain.judged == 0
    assert 0 < found.loss < 0.8 * batch_of().tokens


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("demo-cmudict", ["model.decoder=marginal"], "is not for model.decoder marginal: set it to likelihood"),
        ("summarize-aeslc", [], "is not for model.readout copy"),
        ("write-ptb", [], "is for pairs of texts"),
        ("demo-cmudict", ["train.objective.samples=1"], "baseline others compares samples, and there is one"),
        ("demo-cmudict", ["model.attention.normalizer=hard"], "no gradient for where attention looks"),
        (
            "demo-cmudict",
            ["model.attention.normalizer=monotonic", "model.attention.normalizer.mode=hard"],
            "no gradient for where attention looks",
        ),
        ("demo-cmudict", ["train.joined=1"], "goes with neither train.joined nor hallucinated"),
        ("demo-cmudict", ["train.objective.likelihood=0", "train.r_drop=1"], "are about the likelihood, whose share"),
    ],
)
def test_what_they_are_not_for(recipe, changes, sentence):
    with pytest.raises(RegardError, match=sentence):
        load_recipe(recipe, ["train.objective=self_critical", *changes])
