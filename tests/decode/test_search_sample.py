"""Sampling: the right frequencies, only allowed tokens, and the same draws in every batch."""

from __future__ import annotations

import torch

from regard.data.tokenizer import BOS, EOS
from regard.decode.config import SearchConfig
from regard.decode.draw import uniform
from regard.decode.search import search


def first_tokens(toy, config: SearchConfig) -> list[int]:
    [outputs] = search(toy, toy.source([2]), config)
    return [one.tokens[0] if one.tokens else EOS for one in outputs]


def chi_square(observed: list[int], expected: dict[int, float]) -> float:
    total = len(observed)
    return sum((observed.count(token) - total * p) ** 2 / (total * p) for token, p in expected.items())


def expected_first(toy, temperature: float = 1.0) -> dict[int, float]:
    allowed = [EOS, 4, 5, 6]
    probs = (toy.table[2, BOS, BOS, allowed].double() / temperature).softmax(-1)
    return dict(zip(allowed, probs.tolist(), strict=True))


def test_frequencies_follow_the_distribution(toys):
    """Chi-square with 3 degrees of freedom: 16.3 is exceeded once in a thousand seeds; the seed is fixed."""
    toy = toys.Toy()
    for temperature in (1.0, 0.5, 2.0):
        config = SearchConfig(method="sample", n_best=4000, temperature=temperature, max_length=1)
        expected = expected_first(toy, temperature)
        assert chi_square(first_tokens(toy, config), expected) < 16.3


def test_whole_outputs_follow_the_distribution(toys):
    """Lengths 0, 1, 2, more; special tokens are never drawn, so what is left is renormalized at each step."""
    toy = toys.Toy(seed=1)
    toy.table[..., :EOS] = -torch.inf
    config = SearchConfig(method="sample", n_best=4000, max_length=30, max_length_ratio=0, max_length_extra=30)
    [outputs] = search(toy, toy.source([2]), config)
    chance = {
        length: sum(
            2.718281828459045 ** sum(toy.terms(2, tokens))
            for tokens in toys.every_output(length)
            if len(tokens) == length
        )
        for length in range(3)
    }
    chance[3] = 1 - sum(chance.values())
    assert chi_square([min(len(one.tokens), 3) for one in outputs], chance) < 16.3


def test_top_k_and_top_p_draw_only_what_they_allow(toys):
    toy = toys.Toy()
    probs = expected_first(toy)
    likely = sorted(probs, key=lambda token: -probs[token])
    options = {"method": "sample", "n_best": 500, "max_length": 1}
    assert set(first_tokens(toy, SearchConfig(top_k=1, **options))) == set(likely[:1])
    assert set(first_tokens(toy, SearchConfig(top_k=2, **options))) == set(likely[:2])
    just_over_two = probs[likely[0]] + probs[likely[1]] + 1e-6
    assert set(first_tokens(toy, SearchConfig(top_p=just_over_two, **options))) == set(likely[:3])
    assert set(first_tokens(toy, SearchConfig(top_p=just_over_two - 2e-6, **options))) == set(likely[:2])
    assert set(first_tokens(toy, SearchConfig(top_p=1e-6, **options))) == set(likely[:1])


def test_top_k_of_one_is_greedy(toys):
    toy = toys.Toy()
    kinds = list(range(6))
    drawn = search(toy, toy.source(kinds), SearchConfig(method="sample", top_k=1))
    assert toys.same_bits(drawn, search(toy, toy.source(kinds), SearchConfig(method="greedy")))


def test_seed_sentence_and_sample_each_matter(toys):
    toy = toys.Toy()

    def drawn(seed: int, sentence: int) -> list[list[int]]:
        config = SearchConfig(method="sample", n_best=20, seed=seed)
        return [one.tokens for one in search(toy, toy.source([3]), config, ids=[sentence])[0]]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert len(set(map(tuple, drawn(1, 0)))) > 5


def test_log_probs_are_the_models_own(toys):
    toy = toys.Toy()
    config = SearchConfig(method="sample", n_best=30, temperature=0.3, top_p=0.8)
    [outputs] = search(toy, toy.source([4]), config)
    for one in outputs:
        expected = toy.terms(4, tuple(one.tokens), one.finished)
        torch.testing.assert_close(torch.tensor(one.token_log_probs), torch.tensor(expected))


def mix(bits: int) -> int:
    """splitmix64's finalizer in Python's unbounded integers."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
    return bits ^ (bits >> 31)


def test_uniform_is_splitmix():
    sentence, sample = torch.tensor([0, 7, 2**40]), torch.tensor([0, 3, 1])
    drawn = uniform(12345, sentence, sample, 6).tolist()
    for i in range(3):
        bits = 12345 * 0x9E3779B97F4A7C15 % 2**64
        for counter in (int(sentence[i]), int(sample[i]), 6):
            bits = mix(((bits ^ counter) + 0x9E3779B97F4A7C15) % 2**64)
        assert drawn[i] == (bits >> 16) / 2**48


def test_splitmix_reference_values():
    """The first outputs of the generator seeded with 0, as in its authors' C code."""
    increment = 0x9E3779B97F4A7C15
    assert [mix(increment * i % 2**64) for i in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_uniform_is_even():
    """256 boxes over neighbouring sentences, samples and steps: chi-square of 255 degrees, 330 is one in 1,000."""
    sentence = torch.arange(100).repeat_interleave(100)
    drawn = torch.cat([uniform(1, sentence, torch.arange(100).repeat(100), step) for step in range(10)])
    counts = torch.bincount((drawn * 256).long(), minlength=256).double()
    expected = len(drawn) / 256
    assert float(((counts - expected) ** 2 / expected).sum()) < 330
    assert drawn.min() >= 0 and drawn.max() < 1
