"""Diverse beam search: against plain Python, alone and in a crowd."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from regard.data.tokenizer import EOS
from regard.decode.config import SearchConfig
from regard.decode.search import search

KINDS = list(range(6))


def plain_groups(toy, toys, kind, config):
    """Group after group, each a beam search of its own that is told, for every step, what those before chose."""
    width, chosen, found = config.beam // config.groups, [Counter() for _ in range(99)], []
    for _ in range(config.groups):
        live, pool = [()], []
        mine = []
        for step in range(toys.limit(kind, config) + 1):
            candidates = []
            for parent, tokens in enumerate(live):
                total = sum(toy.terms(kind, tokens, finished=False))
                for token in (EOS, *toys.WORDS):
                    path = tokens if token == EOS else (*tokens, token)
                    term = toy.terms(kind, path, finished=token == EOS)[-1]
                    cost = config.diversity * chosen[step][token]
                    candidates.append((-(total + term - cost), parent, token))
            candidates.sort(key=lambda one: one[0])
            ended = [parent for _, parent, token in candidates[:width] if token == EOS]
            pool += [(live[parent], True, toy.score(kind, live[parent], config)) for parent in ended]
            pool = sorted(pool, key=lambda one: -one[2])[:width]
            going = [(live[parent], token) for _, parent, token in candidates if token != EOS][:width]
            if step == toys.limit(kind, config):
                cut = [(tokens, False) for parent, tokens in enumerate(live) if parent not in ended]
                cut = [(tokens, False, toy.score(kind, tokens, config, finished=False)) for tokens, _ in cut]
                pool = (pool + sorted(cut, key=lambda one: -one[2]))[:width]
                break
            mine.append(Counter(token for _, token in going))
            if len(pool) == width:
                break
            live = [(*tokens, token) for tokens, token in going]
        for step, counted in enumerate(mine):
            chosen[step] += counted
        found += pool
    best = {}
    for tokens, finished, score in sorted(found, key=lambda one: (not one[1], -one[2])):
        best.setdefault(tokens, (finished, score))
    return [(tokens, *rest) for tokens, rest in best.items()][: config.n_best]


@pytest.mark.parametrize("beam, groups", [(2, 2), (4, 2), (6, 3), (4, 4), (9, 3)])
@pytest.mark.parametrize("diversity", [0.0, 0.7, 50.0])
def test_same_as_group_after_group(toys, beam, groups, diversity):
    toy = toys.Toy(seed=beam)
    config = SearchConfig(beam=beam, n_best=beam, groups=groups, diversity=diversity, max_length=7)
    for kind, outputs in zip(KINDS, search(toy, toy.source(KINDS), config), strict=True):
        expected = plain_groups(toy, toys, kind, config)
        assert [(tuple(one.tokens), one.finished) for one in outputs] == [one[:2] for one in expected]
        assert [one.score for one in outputs] == pytest.approx([one[2] for one in expected])


def test_without_diversity_every_group_finds_the_same(toys):
    toy = toys.Toy()
    groups = search(toy, toy.source(KINDS), SearchConfig(beam=6, n_best=6, groups=2, diversity=0.0))
    plain = search(toy, toy.source(KINDS), SearchConfig(beam=3, n_best=3))
    assert toys.same_bits(groups, plain)


def test_outputs_do_not_depend_on_the_batch(toys):
    toy = toys.Toy(dtype=torch.float32)
    config = SearchConfig(beam=6, n_best=6, groups=3, diversity=0.8)
    together = search(toy, toy.source(KINDS), config, keep_weights=True)
    for kind in KINDS:
        assert toys.same_bits([together[kind]], search(toy, toy.source([kind]), config, keep_weights=True))


def test_more_of_it_makes_outputs_that_differ_more(toys):
    """Not of every sentence, but of many."""
    toy = toys.Toy(kinds=40)
    distinct = []
    for diversity in (0.0, 0.5, 5.0):
        config = SearchConfig(beam=5, n_best=5, groups=5, diversity=diversity)
        found = search(toy, toy.source(list(range(40))), config)
        distinct.append(sum(len({tuple(one.tokens) for one in outputs}) for outputs in found))
    assert distinct[0] == 40 and distinct[0] < distinct[1] < distinct[2]


def test_settings_that_disagree():
    for options in ({"beam": 5, "groups": 2}, {"method": "sample", "groups": 2}, {"beam": 1, "groups": 2}):
        with pytest.raises(ValidationError, match="share a beam evenly"):
            SearchConfig(**options)
    assert SearchConfig(beam=4, groups=4, mbr="chrf", candidates=10).compared().beam == 12
