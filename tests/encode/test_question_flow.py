"""A question and its passage in one source: taken apart, read as `Flow` reads them, and put back in place."""

import pytest
import torch

from regard.attend.memory import valid_steps
from regard.data.tokenizer import EOS, PAD, TURN_END
from regard.encode import QuestionFlow
from regard.encode.packed import PackedQuestionFlow
from regard.encode.question_flow import END, PASSAGE, QUESTION, Parts, matches
from regard.ops import native
from regard.ops.noise import Noise

SIZE = 8
ROWS = [[7, 8, TURN_END, 9, 7, 10, 11, 9, EOS], [9, TURN_END, 8, 9, EOS], [TURN_END, 7, EOS], [7, 8, 9, EOS]]
"""The usual, a short one, one without a question, and one without a passage."""


def batch(rows=ROWS):
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([len(row) for row in rows])


def build(**config):
    torch.manual_seed(0)
    settings = {"hidden": SIZE, "modelling": {"hidden": SIZE, "layers": 2}, **config}
    return QuestionFlow(QuestionFlow.Config.model_validate(settings), input_size=6)


def embed(ids):
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(3))[ids.clamp(max=19)]


def test_parts_are_where_the_tab_says():
    ids, lengths = batch()
    parts = Parts.of(ids, lengths)
    assert parts.tab.tolist() == [2, 1, 0, 3] and parts.asked.tolist() == [3, 2, 1, 4]
    assert parts.read.tolist() == [7, 4, 3, 1]
    x = torch.arange(ids.numel(), dtype=torch.float32).view(*ids.shape, 1)
    again = parts.back(parts.passage(x))
    there = (torch.arange(ids.shape[1]) >= parts.tab[:, None]) & valid_steps(lengths, ids.shape[1])
    assert torch.equal(again[..., 0], x[..., 0] * there)


def test_a_match_is_a_piece_that_both_have():
    ids, lengths = batch()
    found = matches(ids, Parts.of(ids, lengths))
    expected = torch.zeros_like(ids, dtype=torch.bool)
    for row, tokens in enumerate(ROWS):
        if TURN_END in tokens:
            tab = tokens.index(TURN_END)
            question, passage = tokens[:tab], tokens[tab + 1 : -1]
            for step in range(tab):
                expected[row, step] = question[step] in passage
            for step, token in enumerate(passage, start=tab + 1):
                expected[row, step] = token in question
    assert torch.equal(found, expected) and found.any()


@pytest.mark.parametrize("modelling", ["none", {"hidden": SIZE}])
@pytest.mark.parametrize("matching", [True, False])
def test_it_is_flow_over_both_parts(modelling, matching):
    encoder = build(modelling=modelling, matches=matching)
    ids, lengths = batch(ROWS[:2])
    x = embed(ids)
    memory = encoder(x, lengths, ids=ids)
    assert memory.values.shape == (2, ids.shape[1], encoder.dim) == (2, ids.shape[1], encoder.config.memory_dim)
    for row, tokens in enumerate(ROWS[:2]):
        tab, own = tokens.index(TURN_END), x[row : row + 1, : len(tokens)]
        if matching:
            own = torch.cat([own, matches(ids, Parts.of(ids, lengths))[row : row + 1, : len(tokens), None].float()], -1)
        asked, read = torch.tensor([tab + 1]), torch.tensor([len(tokens) - tab])
        flowed = encoder.flow(encoder.recurrence(own[:, tab:], read), encoder.recurrence(own[:, : tab + 1], asked))
        values = [flowed.merged] if modelling == "none" else [flowed.merged, flowed.memory.values]
        torch.testing.assert_close(memory.values[row, tab : len(tokens)], torch.cat(values, -1)[0])
        torch.testing.assert_close(memory.asked[row, tab : len(tokens), : tab + 1], flowed.to_question[0])
        assert not memory.values[row, :tab].any() and not memory.values[row, len(tokens) :].any()
        levels = [QUESTION] * tab + [PASSAGE] * (len(tokens) - 1 - tab) + [END] * (ids.shape[1] - len(tokens) + 1)
        assert memory.levels[row, 0].tolist() == levels


def test_without_a_tab_the_passage_is_its_end_alone():
    ids, lengths = batch()
    memory = build()(embed(ids), lengths, ids=ids)
    assert (memory.levels[3, 0] == PASSAGE).nonzero().tolist() == [[3]] and memory.values.isfinite().all()


def test_padding_and_other_rows_change_nothing():
    encoder = build().double()
    ids, lengths = batch()
    junk = embed(ids).double().masked_fill(ids[..., None] == PAD, 1e3)
    together = encoder(junk, lengths, ids=ids)
    for row, length in enumerate(lengths.tolist()):
        own = ids[row : row + 1, :length]
        alone = encoder(embed(own).double(), lengths[row : row + 1], ids=own)
        torch.testing.assert_close(together.values[row, :length], alone.values[0])
        torch.testing.assert_close(together.summary[row], alone.summary[0])


def test_dropout_is_a_function_of_the_noise():
    encoder = build()
    encoder.recurrence.dropout = 0.5
    ids, lengths = batch()
    first, again, other = (encoder(embed(ids), lengths, Noise(1, step), ids=ids).values for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("modelling", ["none", {"hidden": SIZE, "layers": 2}])
def test_the_packed_form_gives_a_row_its_bits_in_any_batch(modelling):
    encoder = build(modelling=modelling).eval().requires_grad_(False)
    if not PackedQuestionFlow.takes(encoder):
        assert native.kernels() is None
        pytest.skip("no compiled kernels here")
    packed, (ids, lengths) = PackedQuestionFlow(encoder), batch()
    plain, found = encoder(embed(ids), lengths, ids=ids), packed(embed(ids), lengths, ids=ids)
    torch.testing.assert_close(found.values, plain.values)
    torch.testing.assert_close(found.summary, plain.summary)
    torch.testing.assert_close(found.asked, plain.asked)
    assert torch.equal(found.levels, plain.levels)
    for row, length in enumerate(lengths.tolist()):
        own = ids[row : row + 1, :length]
        alone = packed(embed(own), lengths[row : row + 1], ids=own)
        assert torch.equal(alone.values[0], found.values[row, :length])
