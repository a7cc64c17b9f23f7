"""Words that must appear: against enumeration, alone and in a crowd, and where they cannot be."""

from __future__ import annotations

import pytest
import torch

from regard.data.tokenizer import EOS
from regard.decode.config import SearchConfig
from regard.decode.constraints import Constraints, had
from regard.decode.search import search
from regard.errors import RegardError

KINDS = list(range(6))
PHRASES = [[[5, 6]], [], [[4], [6]], [[4, 4], [4, 5]], [[6, 6, 4]], [[5], [5, 4], [6]]]
"""of each kind: words are 4, 5 and 6"""
SHORT = {"max_length": 4, "max_length_ratio": 0, "max_length_extra": 4}


def appears(tokens, phrase, solid=()):
    """Whether it is there, and no token of `solid` goes on with it."""
    size = len(phrase)
    return any(
        list(tokens[i : i + size]) == list(phrase) and (i + size == len(tokens) or tokens[i + size] not in solid)
        for i in range(len(tokens) - size + 1)
    )


def breaks(solid):
    return torch.tensor([token not in solid for token in range(7)])


@pytest.mark.parametrize("solid", [(), (5,), (4, 6)])
def test_wide_beam_finds_the_best_of_all_that_have_them(toys, solid):
    toy = toys.Toy()
    config = SearchConfig(beam=324, n_best=121, stop="bound", **SHORT)
    constraints = Constraints(PHRASES, breaks(solid) if solid else None)
    for kind, outputs in zip(KINDS, search(toy, toy.source(KINDS), config, constraints=constraints), strict=True):
        allowed = [
            tokens for tokens in toys.every_output(4) if all(appears(tokens, phrase, solid) for phrase in PHRASES[kind])
        ]
        best = sorted(allowed, key=lambda tokens, kind=kind: -toy.score(kind, tokens, config))
        assert best and [tuple(one.tokens) for one in outputs if one.finished] == best
        assert [one.score for one in outputs[: len(best)]] == [
            pytest.approx(toy.score(kind, tokens, config)) for tokens in best
        ]


@pytest.mark.parametrize("beam", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("end", [-2.0, 0.0, 3.0])
def test_they_are_in_every_output_of_a_narrow_beam(toys, beam, end):
    """Even where ends are likely, and where the limit is as short as the phrases are."""
    toy = toys.Toy(seed=beam, end=end)
    for most in (5, 12):
        config = SearchConfig(beam=beam, n_best=beam, max_length=most)
        found = search(toy, toy.source(KINDS), config, constraints=Constraints(PHRASES))
        for kind, outputs in zip(KINDS, found, strict=True):
            assert outputs
            assert all(appears(one.tokens, phrase) for one in outputs for phrase in PHRASES[kind])


def test_there_is_room_for_them(toys):
    config = SearchConfig(beam=2, max_length=1)
    toy = toys.Toy(end=3.0)
    [[found]] = search(toy, toy.source([3]), config, constraints=Constraints([[[4, 5], [6, 6, 4]]]))
    assert appears(found.tokens, [4, 5]) and appears(found.tokens, [6, 6, 4])


def test_a_sentence_without_any_is_searched_as_ever(toys):
    toy = toys.Toy()
    config = SearchConfig(beam=3, n_best=3)
    plain = search(toy, toy.source(KINDS), config)
    none = search(toy, toy.source(KINDS), config, constraints=Constraints([[] for _ in KINDS]))
    mixed = search(toy, toy.source(KINDS), config, constraints=Constraints(PHRASES))
    assert toys.same_bits(plain, none)
    assert toys.same_bits([plain[1]], [mixed[1]])


def test_outputs_do_not_depend_on_the_batch(toys):
    toy = toys.Toy(dtype=torch.float32)
    config = SearchConfig(beam=4, n_best=4, length_penalty=0.6)
    together = search(toy, toy.source(KINDS), config, constraints=Constraints(PHRASES))
    for kind in KINDS:
        alone = search(toy, toy.source([kind]), config, constraints=Constraints([PHRASES[kind]]))
        assert toys.same_bits([together[kind]], alone)


def test_after_a_prefix(toys):
    toy = toys.Toy()
    constraints = Constraints([[[5, 6]]])
    [[found]] = search(toy, toy.source([2]), SearchConfig(), prefix=[[4, 5]], constraints=constraints)
    assert found.tokens[:2] == [4, 5] and appears(found.tokens, [5, 6])
    [[found]] = search(toy, toy.source([2]), SearchConfig(), prefix=[[5, 6]], constraints=constraints)
    assert found.tokens[:2] == [5, 6]


def test_what_a_hypothesis_has():
    """A phrase in the middle, at the end, left unfinished, and one that another piece goes on with."""
    history = torch.tensor([[[4, 5, 6, 4], [6, 6, 5, 6], [5, 4, 6, 6]]])
    required = Constraints([[[5, 6], [4], [6, 6, 4], []]]).required(1)
    have = had(history, required, breaks((4,)))
    assert have.settled.tolist() == [
        [[False, True, False, True], [False, False, False, True], [False, True, False, True]]
    ]
    assert have.last.tolist() == [[[False, True, False, False], [True, False, False, False], [False] * 4]]


def test_errors(toys):
    toy, constraints = toys.Toy(), Constraints([[[4]]])
    for config in (SearchConfig(method="greedy"), SearchConfig(method="sample"), SearchConfig(beam=4, groups=2)):
        with pytest.raises(RegardError, match="for beam search without groups"):
            search(toy, toy.source([0]), config, constraints=constraints)
    with pytest.raises(RegardError, match="1 of them for 2 sentences"):
        search(toy, toy.source([0, 1]), SearchConfig(), constraints=constraints)
    with pytest.raises(RegardError, match="special token"):
        search(toy, toy.source([0]), SearchConfig(), constraints=Constraints([[[4, EOS]]]))
    with pytest.raises(RegardError, match="token 99 is not among the model's 7"):
        search(toy, toy.source([0]), SearchConfig(), constraints=Constraints([[[99]]]))
