"""IBM Model 1 against its definition, written with dictionaries."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from regard.data import lexicon
from regard.data.lexicon import lexical_best, target_counts

EXAMPLES = [([4, 5], [7, 8]), ([4, 6], [7, 9]), ([5], [8]), ([6, 6, 4], [9, 7, 7]), ([], [8]), ([5], []), ([4], [7])]


class Some:
    """What `lexical_best` looks at in prepared pairs."""

    def __init__(self, examples: list[tuple[list[int], list[int]]]) -> None:
        self.examples = [tuple(np.array(side, np.int32) for side in pair) for pair in examples]
        self.source_lengths, self.target_lengths = (
            np.array([len(pair[side]) for pair in self.examples], np.int32) for side in (0, 1)
        )

    def __len__(self) -> int:
        return len(self.examples)

    def ids(self, i: int) -> tuple[np.ndarray, ...]:
        return self.examples[i]


def model1(iterations: int) -> dict[int, dict[int, float]]:
    """t(target | source) after so many passes, NULL as source 10."""
    chance: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(lambda: 1.0))
    for _ in range(iterations):
        expected: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for source, target in EXAMPLES:
            for word in target:
                total = sum(chance[one][word] for one in [*source, 10])
                for one in [*source, 10]:
                    expected[one][word] += chance[one][word] / total
        chance = defaultdict(lambda: defaultdict(lambda: 1.0))
        for one, row in expected.items():
            chance[one].update({word: value / sum(row.values()) for word, value in row.items()})
    return chance


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_probabilities_and_their_order(monkeypatch: pytest.MonkeyPatch, iterations: int, chunk: int) -> None:
    monkeypatch.setattr(lexicon, "ITERATIONS", iterations)
    monkeypatch.setattr(lexicon, "CHUNK", chunk)
    pairs = Some(EXAMPLES)
    cells, found = lexicon._model1(pairs, 10, 10)
    expected = model1(iterations)
    for cell, chance in zip(cells.tolist(), found.tolist(), strict=True):
        assert chance == pytest.approx(expected[cell // 10][cell % 10])
    best = lexical_best(pairs, 10, 10, 2)
    assert best.shape == (10, 2) and (best[[0, 1, 2, 3, 7, 8, 9]] == -1).all()
    for source in (4, 5, 6):
        ranked = sorted(expected[source], key=lambda word: (-expected[source][word], word))[:2]
        assert best[source].tolist() == ranked + [-1] * (2 - len(ranked))


def test_counts() -> None:
    assert target_counts(Some(EXAMPLES), 10).tolist() == [0, 0, 0, 0, 0, 0, 0, 5, 3, 2]
    assert target_counts(Some([([4], [7])] * 2500), 10)[7] == 2500


def test_large_data_is_thinned_where_words_are_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 examples with the same pair some are left out; the word in a late one is learned."""
    pairs = Some([([4], [7])] * 300 + [([4, 5], [7, 8])])
    assert lexicon._chosen(pairs, 10) == list(range(301))
    monkeypatch.setattr(lexicon, "MOST_LINKS", 250)
    assert lexicon._chosen(pairs, 10) == [*range(100), 300]
    assert lexical_best(pairs, 10, 10, 1)[5].tolist() == [8]
