"""Scheduled sampling: the tokens that are told are those that the model gives there, and no others change."""

import numpy as np
import pytest
import torch
from tests.resuming import check_resumes, small_recipe
from tests.test_model import Lines, reversals, tiny

from regard.data.batches import collate
from regard.data.config import SPECIALS
from regard.data.tokenizer import PAD
from regard.errors import RegardError
from regard.objectives.scheduled import drawn, with_own_tokens
from regard.ops.noise import Noise
from regard.recipe import load_recipe
from regard.tasks.translate import Translate


def batch_of(count=12, longest=9):
    return collate(Lines(reversals(count, longest)), np.arange(count))


@pytest.mark.parametrize("decoder", [{}, {"type": "deep"}, {"input_feeding": False}])
def test_own_tokens_are_those_that_chance_picks_of_what_the_model_gives_after_all_it_was_told(decoder):
    """One road is a step at a time; the other reads the whole result again, teacher-forced."""
    model, batch, noise = tiny(decoder={"type": "recurrent", "hidden": 16, **decoder}), batch_of(), Noise(3, 7)
    told = with_own_tokens(model, batch, 0.5, noise)
    source = model.decoder.prepare([model.encode(told.source, told.source_lengths)])
    features, _ = model.decoder.teacher_forced(source, told.target_in)
    scores = model.decoder.readout.logits(features)
    scores[..., :SPECIALS] = -torch.inf
    chances = Noise(3, 7).uniform("own.draws", told.target_in.shape, torch.float64)
    own = (Noise(3, 7).uniform("own.which", told.target_in.shape) < 0.5) & (batch.target_in != PAD)
    changed = 0
    for row, t in (own[:, 1:].nonzero()).tolist():
        below = scores[row, t].softmax(-1).cumsum(-1)
        right = int((below <= chances[row, t + 1]).sum())
        assert told.target_in[row, t + 1] == right
        changed += right != int(batch.target_in[row, t + 1])
    assert changed > 10
    kept = ~own
    kept[:, 0] = True
    assert (told.target_in == batch.target_in)[kept].all()
    assert (told.target_out == batch.target_out).all() and (told.source == batch.source).all()


def test_the_share_is_that_of_real_tokens_and_none_is_none():
    model, batch = tiny(), batch_of(60)
    assert (with_own_tokens(model, batch, 0.0, Noise(1, 1)).target_in == batch.target_in).all()
    real = (batch.target_in != PAD)[:, 1:].sum()
    apart = (with_own_tokens(model, batch, 0.4, Noise(1, 1)).target_in != batch.target_in).sum() / real
    assert 0.3 < apart < 0.42  # sometimes the model gives the right one


def test_tokens_are_drawn_by_their_probability_and_special_ones_never():
    scores = torch.tensor([[9.0, 9.0, 9.0, 9.0, 0.0, 1.0, -1.0, 0.5]], dtype=torch.float64).repeat(20_000, 1)
    before = scores.clone()
    named = [4, 5, 6, 7]  # 0 to 3: padding, unknown, begin and end of sentence
    found = drawn(scores, torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    shares = torch.bincount(found, minlength=8) / 20_000
    assert not shares[:4].any() and (scores == before).all()
    torch.testing.assert_close(shares[named].double(), scores[0, named].softmax(0), atol=0.01, rtol=0)
    ends = drawn(scores[:2], torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)).tolist()
    assert ends[0] == named[0] and ends[1] == named[-1]


def test_it_grows_over_the_run_and_is_for_training_alone():
    recipe = load_recipe("translate-multi30k-de-en", ["train.scheduled_sampling=1"])
    task, model, batch = Translate(recipe), tiny(), batch_of()
    plain = Translate(load_recipe("translate-multi30k-de-en")).loss(model, batch, Noise(1, 1)).loss
    losses = [task.loss(model, batch, Noise(1, 1), done).loss for done in (0.0, 0.2, 1.0)]
    assert losses[0] == plain and losses[1] != losses[0] and losses[2] != losses[1]
    assert task.loss(model, batch, None).loss == model.loss(batch, smoothing=0.1).loss


def test_it_resumes_bit_for_bit(tmp_path, monkeypatch):
    check_resumes(small_recipe(tmp_path, scheduled_sampling=0.8), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("demo-cmudict", ["model.decoder=marginal"], "is not for model.decoder marginal: set it to 0"),
        ("summarize-aeslc", [], "is not for model.readout copy: set it to 0"),
        ("write-ptb", [], "is for pairs of texts: set it to 0"),
        ("classify-vowels", [], "is not for model.decoder labels"),
    ],
)
def test_what_it_is_not_for(recipe, changes, sentence):
    with pytest.raises(RegardError, match=f"train.scheduled_sampling {sentence}"):
        load_recipe(recipe, ["train.scheduled_sampling=0.2", *changes])
