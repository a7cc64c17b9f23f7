"""R-Drop: the divergence is torch's, its fast form the plain one, and a model's loss the mean of two readings."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.test_model import Lines, reversals, tiny

from regard.data.batches import collate
from regard.data.config import BYTES, SPECIALS
from regard.data.tokenizer import PAD
from regard.errors import RegardError
from regard.model import Seq2Seq, seeded
from regard.model_config import ModelConfig
from regard.ops import loss
from regard.ops.agreement import disagreement, summed_nll
from regard.ops.loss import plain_nll
from regard.ops.noise import Noise
from regard.recipe import load_recipe
from regard.tasks.classify import Classify
from regard.tasks.translate import Translate

F64 = torch.float64


def logits(rows=7, columns=5, seed=3):
    return torch.randn(rows, columns, dtype=F64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def test_the_disagreement_is_the_mean_of_both_divergences():
    one, other = logits().log_softmax(-1), logits(seed=4).log_softmax(-1)
    both = [F.kl_div(p, q, log_target=True, reduction="none").sum(-1) for p, q in ((one, other), (other, one))]
    torch.testing.assert_close(disagreement(one, other), (both[0] + both[1]) / 2)
    assert (disagreement(one, one) == 0).all() and (disagreement(one, other) > 0).all()


def test_decisions_disagree_as_distributions_of_two_outcomes_do():
    one, other = logits(), logits(seed=4)
    pairs = [torch.stack([F.logsigmoid(each), F.logsigmoid(-each)], -1).flatten(0, 1) for each in (one, other)]
    torch.testing.assert_close(disagreement(one, other, each=True), disagreement(*pairs).view(one.shape).sum(-1))


def test_what_is_impossible_in_both_adds_nothing_and_has_gradients():
    impossible = torch.tensor([False, True, False, False, True])
    leaves = logits(), logits(seed=4)
    masked = [leaf.masked_fill(impossible, -torch.inf).log_softmax(-1) for leaf in leaves]
    found = disagreement(*masked).sum()
    alone = disagreement(*(leaf[:, ~impossible].log_softmax(-1) for leaf in leaves)).sum()
    torch.testing.assert_close(found, alone)
    for mine, right in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(alone, leaves), strict=True):
        torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("chunk_pairs", [1, 3, 1000])
@pytest.mark.parametrize("bias", [True, False])
def test_the_chunked_form_is_the_plain_one_with_gradients(monkeypatch, bias, chunk_pairs):
    features, weight, offset = logits(14, 4), logits(9, 4, seed=5), logits(1, 9, seed=6)[0] if bias else None
    targets = torch.randint(9, (7,), generator=torch.Generator().manual_seed(1)).repeat(2)
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", chunk_pairs * 2 * len(weight))
    inputs = [features, weight] + ([offset] if bias else [])
    plain, fast = (
        plain_nll(features, weight, offset, targets, 0.1),
        summed_nll(features, weight, offset, targets, 0.1, 0.7),
    )
    halves = F.linear(features, weight, offset).log_softmax(-1).chunk(2)
    total = plain.loss + 0.7 * disagreement(*halves).sum()
    torch.testing.assert_close(fast.loss, total)
    torch.testing.assert_close(fast.nll, plain.nll)
    assert fast.correct == plain.correct
    for mine, right in zip(
        torch.autograd.grad(fast.loss * 0.3, inputs), torch.autograd.grad(total * 0.3, inputs), strict=True
    ):
        torch.testing.assert_close(mine, right)


def readings(model, pairs, **more):
    """Loss with R-Drop, and that of both readings by hand: the same masks, since there is one batch of both."""
    batch = collate(Lines(pairs), np.arange(len(pairs)))
    found = model.loss(batch, noise=Noise(1, 5), agreement=2.0, **more)
    both = model.loss(batch.twice(), noise=Noise(1, 5), **more)
    return found, both, batch


@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize("sampled", [0, 20])
def test_the_loss_of_a_model_is_the_mean_of_two_readings_and_their_divergence(feeding, sampled):
    model = tiny(dropout=0.4, decoder={"hidden": 16, "input_feeding": feeding})
    found, both, batch = readings(model, reversals(6, 7), sampled=sampled)
    noise, given = Noise(1, 5), batch.twice()
    source = model.decoder.prepare([model.encode(given.source, given.source_lengths, noise)])
    features, _ = model.decoder.teacher_forced(source, given.target_in, noise)
    real = (given.target_out != PAD).flatten()
    halves = model.decoder.readout.logits(features.flatten(0, 1)[real], noise=noise).log_softmax(-1).chunk(2)
    torch.testing.assert_close(found.loss, both.loss / 2 + disagreement(*halves).sum())
    torch.testing.assert_close(found.nll, both.nll / 2)
    assert found.tokens == batch.tokens and found.correct == both.correct / 2


def test_without_noise_there_is_one_reading():
    model, lines = tiny(dropout=0.4), Lines(reversals(6, 7))
    batch = collate(lines, np.arange(6))
    assert model.loss(batch, agreement=2.0).loss == model.loss(batch).loss


@pytest.mark.parametrize("several", [False, True])
def test_decisions_agree_too(several):
    head, label = {"type": "labels", "hidden": 16, "several": several}, SPECIALS + BYTES
    config = ModelConfig.model_validate({"embed": 8, "attention": None, "decoder": head, "dropout": 0.4})
    model = seeded(1, Seq2Seq, config, source_vocab=20, target_vocab=label + 3).double()
    pairs = [([6, 7, 8], [label]), ([9, 6], [label + 1]), ([7], [label + 2])]
    found, both, batch = readings(model, pairs)
    noise, given = Noise(1, 5), batch.twice()
    source = model.decoder.prepare([model.encode(given.source, given.source_lengths, noise)])
    scores = model.decoder.logits(source, noise)
    halves = (scores if several else scores.log_softmax(-1)).chunk(2)
    torch.testing.assert_close(found.loss, both.loss / 2 + disagreement(*halves, each=several).sum())


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("demo-cmudict", ["model.decoder=marginal"], "train.r_drop is not for model.decoder marginal"),
        ("summarize-aeslc", [], "train.r_drop is not for model.readout copy"),
        (
            "demo-cmudict",
            ["model.dropout=0", "model.output_dropout=0"],
            "there is none of their own",
        ),
        ("demo-cmudict", ["model.dropout=0", "model.output_dropout=0", "model.word_dropout=0.2"], "there is none"),
        ("answer-jaquad", ["model.dropout=0"], "there is none"),
        (
            "demo-cmudict",
            ["model.attention.normalizer=hard"],
            "no gradient for where attention of normalizer hard looks",
        ),
    ],
)
def test_what_cannot_be_read_twice_is_refused(recipe, changes, sentence):
    with pytest.raises(RegardError, match=sentence):
        load_recipe(recipe, ["train.r_drop=1", *changes])


def test_tasks_train_with_it():
    for weights in ("none", "balanced"):
        head = {"type": "labels", "hidden": 16}
        values = {"embed": 8, "attention": None, "decoder": head, "dropout": 0.4}
        label = SPECIALS + BYTES
        model = seeded(1, Seq2Seq, ModelConfig.model_validate(values), source_vocab=20, target_vocab=label + 3)
        batch = collate(Lines([([6, 7, 8], [label]), ([9, 6], [label + 1])]), np.arange(2))
        found = []
        for strength in (0, 4):
            task = Classify(load_recipe("classify-vowels", [f"train.r_drop={strength}"]))
            task._importance = None if weights == "none" else torch.ones(label + 3)
            found.append(task.loss(model, batch, Noise(1, 5)))
        assert found[1].loss > found[0].loss
    plain, more = (
        Translate(load_recipe("translate-multi30k-de-en", [f"train.r_drop={strength}"])).loss(
            tiny(dropout=0.4), collate(Lines(reversals(6, 7)), np.arange(6)), Noise(1, 5)
        )
        for strength in (0.0, 50.0)
    )
    assert more.loss > plain.loss + 1.0
