"""A model and a language model: against enumeration, and alone and in a crowd."""

from __future__ import annotations

import pytest
import torch

from regard.data.tokenizer import BOS, EOS
from regard.decode.config import SearchConfig
from regard.decode.ensemble import EnsembleSource
from regard.decode.fusion import Fused
from regard.decode.search import search
from regard.errors import RegardError

KINDS = list(range(6))


def together(first, second, weight, kinds=KINDS):
    return Fused(first, second, weight), EnsembleSource((first.source(kinds), second.source([0] * len(kinds))))


def of_both(first, second, weight, kind, tokens):
    """Log-probability of an output: its own, and that of a line after the end of another."""
    path = (BOS, EOS, *tokens, EOS)
    read = second.table[0].double().log_softmax(-1)
    liked = sum(float(read[a, b, c]) for a, b, c in zip(path, path[1:], path[2:], strict=False))
    return sum(first.terms(kind, tokens)) + weight * liked


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_wide_beam_finds_the_best_of_both(toys, weight):
    first, second = toys.Toy(1), toys.Toy(2)
    short = {"max_length": 4, "max_length_ratio": 0, "max_length_extra": 4}
    config = SearchConfig(beam=324, n_best=121, stop="bound", **short)
    for kind, outputs in zip(KINDS, search(*together(first, second, weight), config), strict=True):
        value = {tokens: of_both(first, second, weight, kind, tokens) for tokens in toys.every_output(4)}
        best = sorted(value, key=lambda tokens, value=value: -value[tokens] / (len(tokens) + 1))
        assert [tuple(one.tokens) for one in outputs] == best
        assert [one.log_prob for one in outputs] == pytest.approx([value[tokens] for tokens in best])


def test_attention_is_the_models_and_the_batch_changes_nothing(toys):
    first, second = toys.Toy(1, dtype=torch.float32), toys.Toy(2, dtype=torch.float32)
    config = SearchConfig(n_best=3, coverage_penalty=0.2)
    found = search(*together(first, second, 0.2), config, keep_weights=True)
    for kind in KINDS:
        alone = search(*together(first, second, 0.2, [kind]), config, keep_weights=True)
        assert toys.same_bits([found[kind]], alone)
        torch.testing.assert_close(alone[0][0].weights, first.attention(kind, tuple(alone[0][0].tokens)))


def test_vocabularies_are_one(toys):
    first, second = toys.Toy(1), toys.Toy(2)
    second.table = second.table[..., :-1]
    with pytest.raises(RegardError, match="shares the target vocabulary: it has 6 tokens, and the model 7"):
        search(*together(first, second, 0.2), SearchConfig())
