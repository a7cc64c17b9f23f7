"""Search against enumeration, against a plain-Python beam search, and against itself in other batches."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from regard.data.tokenizer import BOS, EOS, PAD, UNK
from regard.decode.config import SearchConfig
from regard.decode.protocol import StepOutput
from regard.decode.rescore import score_targets
from regard.decode.search import SEARCHES, search
from regard.errors import RegardError

KINDS = list(range(6))
SHORT = {"max_length": 4, "max_length_ratio": 0, "max_length_extra": 4}


def found(outputs):
    return [(tuple(one.tokens), one.finished) for one in outputs]


def test_every_method_is_a_choice():
    assert tuple(SEARCHES) == get_args(SearchConfig.model_fields["method"].annotation)
    assert all(one.__doc__ for one in SEARCHES.values())


@pytest.mark.parametrize("coverage", [0.0, 0.4])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wide_beam_finds_the_best_of_all(toys, dtype, alpha, coverage):
    """3 words, at most 4 of them: 121 outputs; a beam of 324 (81 beginnings of 4 words, 4 ways on) sees them all."""
    toy = toys.Toy(dtype=dtype)
    config = SearchConfig(beam=324, n_best=121, stop="bound", length_penalty=alpha, coverage_penalty=coverage, **SHORT)
    for kind, outputs in zip(KINDS, search(toy, toy.source(KINDS), config), strict=True):
        best = sorted(toys.every_output(4), key=lambda tokens: -toy.score(kind, tokens, config))
        assert found(outputs) == [(tokens, True) for tokens in best]
        scores = [toy.score(kind, tokens, config) for tokens in best]
        assert [one.score for one in outputs] == pytest.approx(scores, rel=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("stop", ["beam", "bound"])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_penalty": 0.0},
        {"coverage_penalty": 0.5, "length_penalty": 0.7},
        {"min_length": 2},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2, "min_length": 5},
        {"max_length_ratio": 1.5, "max_length_extra": 0},
        {"max_length": 2},
    ],
    ids=str,
)
def test_same_as_plain_beam_search(toys, options, beam, stop):
    for end in (-2.0, 1.0):
        toy = toys.Toy(seed=beam, end=end)
        config = SearchConfig(**{"max_length": 7, "beam": beam, "n_best": beam, "stop": stop} | options)
        for kind, outputs in zip(KINDS, search(toy, toy.source(KINDS), config), strict=True):
            expected = toys.plain_beam(toy, kind, config)
            assert found(outputs) == [one[:2] for one in expected]
            assert [one.score for one in outputs] == pytest.approx([one[2] for one in expected])


def test_beam_of_one_is_greedy(toys):
    for seed in range(5):
        toy = toys.Toy(seed)
        greedy = search(toy, toy.source(KINDS), SearchConfig(method="greedy"))
        assert toys.same_bits(greedy, search(toy, toy.source(KINDS), SearchConfig(beam=1)))
        for kind, [output] in zip(KINDS, greedy, strict=True):
            tokens, path = [], (BOS, BOS)
            while len(tokens) <= toys.limit(kind, SearchConfig()):
                row = toy.table[kind][path]
                token = max((EOS, *toys.WORDS), key=lambda one, row=row: float(row[one]))
                if token == EOS:
                    break
                tokens.append(token)
                path = (path[1], token)
            assert output.tokens == tokens[: toys.limit(kind, SearchConfig())]
            assert output.finished == (token == EOS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"length_penalty": 0.3, "coverage_penalty": 0.2}], ids=str)
def test_scores_are_those_of_forced_scoring(toys, dtype, options):
    toy = toys.Toy(dtype=dtype)
    config = SearchConfig(n_best=5, **options)
    outputs = search(toy, toy.source(KINDS), config, keep_weights=True)
    for rank in range(5):
        kinds = [kind for kind in KINDS if len(outputs[kind]) > rank and outputs[kind][rank].finished]
        mine = [outputs[kind][rank] for kind in kinds]
        again = score_targets(toy, toy.source(kinds), [one.tokens for one in mine], config, keep_weights=True)
        assert toys.same_bits([mine], [again])
        for kind, one in zip(kinds, mine, strict=True):
            assert one.token_log_probs == pytest.approx(toy.terms(kind, tuple(one.tokens)), rel=1e-5)
            assert one.log_prob == sum(one.token_log_probs)
            expected = toy.attention(kind, tuple(one.tokens))
            torch.testing.assert_close(one.weights, expected)


def test_n_best_changes_nothing_else(toys):
    toy = toys.Toy()
    for method in ("beam", "sample"):
        full = search(toy, toy.source(KINDS), SearchConfig(method=method, n_best=5))
        for n in range(1, 5):
            fewer = search(toy, toy.source(KINDS), SearchConfig(method=method, n_best=n))
            assert toys.same_bits(fewer, [outputs[:n] for outputs in full])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"method": "greedy"},
        {"beam": 3, "n_best": 3, "coverage_penalty": 0.3},
        {"beam": 5, "stop": "bound", "no_repeat_ngram": 2},
        {"method": "sample", "n_best": 3, "top_p": 0.9},
    ],
    ids=str,
)
def test_same_output_whatever_the_batch(toys, dtype, options):
    toy, config = toys.Toy(dtype=dtype), SearchConfig(**options)
    kinds = [(7 * i) % 6 for i in range(29)]
    prefix = [[4 + i % 3] * (i % 4) for i in range(29)]
    whole = search(toy, toy.source(kinds), config, prefix=prefix, keep_weights=True)
    for size in (1, 7, 8):
        parts = []
        for first in range(0, 29, size):
            part = slice(first, first + size)
            parts += search(
                toy,
                toy.source(kinds[part], src_len=9),
                config,
                prefix=prefix[part],
                ids=range(29)[part],
                keep_weights=True,
            )
        assert toys.same_bits(parts, whole)


class Net:
    """A recurrent network with dot attention: unlike a table's, its rows pass through matrix products."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(3)
        sizes = {"embed": (90, 48), "inner": (96, 48), "out": (48, 90)}
        self.maps = {name: torch.randn(size, generator=draw) * 0.4 for name, size in sizes.items()}

    def prepare(self, memories):
        return NetSource(memories[0])

    def start(self, source, beam=1):
        return {"hidden": source.values.mean(1).repeat_interleave(beam, 0)}

    def step(self, tokens, state, source):
        beam = len(tokens) // source.rows
        hidden = state["hidden"].view(source.rows, beam, -1)
        weights = (hidden @ source.values.transpose(1, 2)).softmax(-1)
        seen = (weights @ source.values).flatten(0, 1) + self.maps["embed"][tokens]
        hidden = torch.tanh(torch.cat([state["hidden"], seen], 1) @ self.maps["inner"])
        return StepOutput(hidden @ self.maps["out"], weights=weights.flatten(0, 1)), {"hidden": hidden}


class NetSource:
    src_len = 6

    def __init__(self, values):
        self.values, self.rows = values, len(values)
        self.valid = torch.ones(self.rows, 6, dtype=torch.bool)

    def select(self, rows):
        return NetSource(self.values[rows])


@pytest.mark.parametrize("options", [{"method": "greedy"}, {"n_best": 5}, {"method": "sample"}], ids=str)
def test_same_bits_through_matrix_products(toys, options):
    net, config = Net(), SearchConfig(**options)
    values = torch.randn(45, 6, 48, generator=torch.Generator().manual_seed(4))
    whole = search(net, NetSource(values), config, keep_weights=True)
    for size in (1, 7, 16):
        parts = []
        for first in range(0, 45, size):
            part, ids = values[first : first + size], range(45)[first : first + size]
            parts += search(net, NetSource(part), config, ids=ids, keep_weights=True)
        assert toys.same_bits(parts, whole)


def test_finished_sentences_leave(toys):
    toy = toys.Toy(end=1.0)
    search(toy, toy.source(KINDS * 8), SearchConfig(beam=2))
    assert toy.steps[0] == 96
    assert toy.steps[-1] < 96
    assert sorted(toy.steps, reverse=True) == toy.steps


def test_equal_scores_go_to_the_lower_index(toys):
    """All tokens equally likely: the end (3) comes before 4, 4 before 5, and the first hypothesis's before others'."""
    toy = toys.Toy()
    toy.table.zero_()
    config = SearchConfig(beam=3, n_best=3, stop="bound", max_length=2, length_penalty=0)
    [outputs] = search(toy, toy.source([0]), config)
    assert [one.tokens for one in outputs] == [[], [4], [4, 4]]
    toy.table[..., EOS] = -1.0  # never among the best three: the same order among outputs cut off
    [outputs] = search(toy, toy.source([0]), config)
    assert [one.tokens for one in outputs] == [[4, 4], [4, 5], [4, 6]]


def test_forced_prefix(toys):
    """The best of all that begin so; the prefix may be longer than the limit and hold unknowns."""
    toy = toys.Toy()
    config = SearchConfig(beam=324, n_best=3, stop="bound", **SHORT)
    prefixes = [[], [4], [6, 6], [5, 4, 4, 5, 4, 4], [UNK], [4, 5]]
    for kind, prefix, outputs in zip(
        KINDS, prefixes, search(toy, toy.source(KINDS), config, prefix=prefixes), strict=True
    ):
        head = tuple(prefix)
        more = toys.every_output(max(4 - len(head), 0))
        best = sorted((head + rest for rest in more), key=lambda tokens: -toy.score(kind, tokens, config))
        assert found(outputs)[0] == (best[0], True)
        assert found(outputs) == [(tokens, True) for tokens in best[:3]]


def test_prefix_goes_past_the_filters(toys):
    toy = toys.Toy()
    config = SearchConfig(no_repeat_ngram=1, max_length=6)
    for [output] in search(toy, toy.source(KINDS), config, prefix=[[4, 4, 4]] * 6):
        assert output.tokens[:3] == [4, 4, 4]
        assert sorted(output.tokens[3:]) == sorted(set(output.tokens[3:]) - {4})


@pytest.mark.parametrize(
    "options", [{"min_length": 3}, {"no_repeat_ngram": 1}, {"no_repeat_ngram": 2}, {"max_length": 2}], ids=str
)
def test_limits_against_enumeration(toys, options):
    toy = toys.Toy(seed=5)
    config = SearchConfig(**SHORT | {"beam": 324, "n_best": 121, "stop": "bound"} | options)
    allowed = [
        tokens
        for tokens in toys.every_output(config.max_length)
        if len(tokens) >= config.min_length and not toys.repeats(tokens, config.no_repeat_ngram)
    ]
    for kind, outputs in zip(KINDS, search(toy, toy.source(KINDS), config), strict=True):
        best = sorted(allowed, key=lambda tokens: -toy.score(kind, tokens, config))
        assert [tokens for tokens, finished in found(outputs) if finished] == best


def test_cut_off_where_nothing_is_left(toys):
    """Three words, none twice, and at least five of them: every output gets stuck after three."""
    toy = toys.Toy()
    config = SearchConfig(no_repeat_ngram=1, min_length=5, n_best=5)
    for outputs in search(toy, toy.source(KINDS), config):
        assert outputs
        for one in outputs:
            assert not one.finished
            assert sorted(one.tokens) == [4, 5, 6]
            assert len(one.token_log_probs) == 3


def test_coverage_penalty_by_hand(toys):
    """Output "4" of sentence 1, two source steps. Reading BOS looks (0.75, 0.25), reading 4 looks (0.5, 0.5):
    coverage (1.25, 0.75), so the penalty is β (log 1 + log 0.75); log p = log 1/4 twice, over 2 tokens.
    """
    toy = toys.Toy()
    toy.table[1] = torch.full((7,), -torch.inf).index_fill(0, torch.tensor([EOS, *toys.WORDS]), 0.0)
    toy.look[1, BOS, :2] = torch.tensor([0.75, 0.25], dtype=torch.float64)
    toy.look[1, 4, :2] = torch.tensor([0.5, 0.5], dtype=torch.float64)
    config = SearchConfig(beam=30, n_best=30, coverage_penalty=2.0, max_length=2, stop="bound")
    [outputs] = search(toy, toy.source([1]), config)
    [output] = [one for one in outputs if one.tokens == [4]]
    log = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    assert output.score == pytest.approx(float(2 * log[0] / 2 + 2.0 * log[1]), rel=1e-12)


def test_never_a_special_token(toys):
    toy = toys.Toy()
    toy.table[..., [PAD, UNK, BOS]] += 5.0
    for method in SEARCHES:
        for [output] in search(toy, toy.source(KINDS), SearchConfig(method=method)):
            assert set(output.tokens) <= set(toys.WORDS)


def test_no_sentences(toys):
    toy = toys.Toy()
    assert search(toy, toy.source([]), SearchConfig()) == []
    assert score_targets(toy, toy.source([]), []) == []


def test_errors(toys):
    toy = toys.Toy()
    config = SearchConfig()
    with pytest.raises(RegardError, match="prefix: 1 of them for 2 sentences"):
        search(toy, toy.source([0, 1]), config, prefix=[[4]])
    with pytest.raises(RegardError, match="prefix of sentence 1: token 3 cannot be forced"):
        search(toy, toy.source([0, 1]), config, prefix=[[4], [EOS]])
    with pytest.raises(RegardError, match="prefix: token 7 is not among the model's 7"):
        search(toy, toy.source([0]), config, prefix=[[7]])
    with pytest.raises(RegardError, match="ids: 1 of them for 2 sentences"):
        search(toy, toy.source([0, 1]), config, ids=[3])
    with pytest.raises(RegardError, match="targets: 1 of them for 2 sentences"):
        score_targets(toy, toy.source([0, 1]), [[4]])
    toy.table[0, BOS, BOS, 5] = torch.nan
    with pytest.raises(RegardError, match="scores are not finite"):
        search(toy, toy.source([0]), config)


def test_coverage_needs_attention(toys):
    class Blind(toys.Toy):
        def step(self, tokens, state, source):
            output, state = super().step(tokens, state, source)
            output.weights = None
            return output, state

    toy = Blind()
    config = SearchConfig(coverage_penalty=0.1)
    with pytest.raises(RegardError, match="coverage_penalty needs attention"):
        search(toy, toy.source([0]), config)
    with pytest.raises(RegardError, match="coverage_penalty needs attention"):
        score_targets(toy, toy.source([0]), [[4]], config)
    [[output]] = search(toy, toy.source([0]), SearchConfig(), keep_weights=True)
    assert output.weights is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_best": 6}, "n_best is 6, more than beam, 5; raise beam to 6"),
        ({"method": "greedy", "n_best": 2}, "greedy search finds one output"),
        ({"min_length": 9, "max_length": 8}, "min_length is 9, more than max_length, 8"),
    ],
)
def test_settings_that_disagree(options, message):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**options)
