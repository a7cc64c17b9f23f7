"""An ensemble of one is the model; of two, a model with the mean of their probabilities."""

from __future__ import annotations

import pytest
import torch

from regard.decode.config import SearchConfig
from regard.decode.ensemble import Ensemble, EnsembleSource
from regard.decode.rescore import score_targets
from regard.decode.search import search
from regard.errors import RegardError

KINDS = list(range(6)) * 2


def together(*toys_):
    return Ensemble(toys_), EnsembleSource(tuple(toy.source(KINDS) for toy in toys_))


@pytest.mark.parametrize(
    "options", [{"method": "greedy"}, {"n_best": 5, "coverage_penalty": 0.1}, {"method": "sample"}], ids=str
)
def test_one_is_the_model(toys, options):
    toy, config = toys.Toy(), SearchConfig(**options)
    alone = search(toy, toy.source(KINDS), config)
    for one, two in zip(alone, search(*together(toy), config), strict=True):
        assert [a.tokens for a in one] == [b.tokens for b in two]
        assert [a.score for a in one] == pytest.approx([b.score for b in two], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_are_the_mean_of_their_tables(toys, dtype):
    first, second, mean = (toys.Toy(seed, dtype=dtype) for seed in (1, 2, 3))
    probs = first.table.double().softmax(-1) + second.table.double().softmax(-1)
    mean.table = (probs / 2).log().to(dtype)
    config = SearchConfig(n_best=5)
    both = search(*together(first, second), config)
    for one, two in zip(search(mean, mean.source(KINDS), config), both, strict=True):
        assert [a.tokens for a in one] == [b.tokens for b in two]
        assert [a.score for a in one] == pytest.approx([b.score for b in two], rel=1e-5)
    targets = [outputs[0].tokens for outputs in both]
    again = score_targets(*together(first, second), targets, config)
    assert toys.same_bits([[one] for one in again], [outputs[:1] for outputs in both])


def test_models_may_differ_in_state_and_source(toys):
    """The second reads nine source steps and carries more state: no common attention, so none is given."""

    class Counting(toys.Toy):
        def start(self, source, beam=1):
            return super().start(source, beam) | {"count": torch.zeros(source.rows * beam, 3)}

        def step(self, tokens, state, source):
            output, after = super().step(tokens, state, source)
            return output, after | {"count": state["count"] + 1}

    first, second = toys.Toy(1), Counting(2)
    source = EnsembleSource((first.source(KINDS), second.source(KINDS, src_len=9)))
    both = Ensemble([first, second])
    state = both.start(source.select(torch.arange(8)), beam=2)
    assert {name: tuple(values.shape) for name, values in state.items()} == {
        "0.before": (16,),
        "1.before": (16,),
        "1.count": (16, 3),
    }
    found = search(both, source, SearchConfig(), keep_weights=True)
    same = search(*together(first, toys.Toy(2)), SearchConfig(), keep_weights=True)
    assert all(outputs[0].weights is None for outputs in found)
    assert [outputs[0].tokens for outputs in found] == [outputs[0].tokens for outputs in same]
    assert same[0][0].weights is not None


def test_errors(toys):
    with pytest.raises(RegardError, match="an ensemble of no models"):
        Ensemble([])
    first, second = toys.Toy(), toys.Toy()
    second.table = second.table[..., :6]
    with pytest.raises(RegardError, match=r"one target vocabulary, these have \[7, 6\]"):
        search(*together(first, second), SearchConfig())
