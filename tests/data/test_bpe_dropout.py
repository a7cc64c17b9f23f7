"""Words in other pieces: nothing dropped is BPE, everything is characters, and all of it is a function of the seed."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest
from tests.resuming import LINES, check_resumes, small_recipe

from regard.data.bpe_dropout import DRAWS, CutAnew, Cutter
from regard.data.config import TextConfig
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError
from regard.recipe import Recipe, load_recipe
from regard.tasks.translate import Translate

WORD = " lowest"


def learned(vocab: int = 320) -> Tokenizer:
    return Tokenizer.train(LINES, TextConfig(tokenizer="bpe", vocab=vocab))


def choices(count: int, seed: int = 1) -> np.ndarray:
    return np.random.Philox(seed).random_raw(count)


@pytest.mark.parametrize("text", [*LINES[:4], "an unseen lowtower", "", "Größe ✓ lower", "x<y> lower..."])
def test_with_nothing_dropped_it_is_bpe(text: str) -> None:
    tokenizer = learned()
    [ids] = tokenizer.encode([text])
    assert Cutter(tokenizer, 0.0, seed=1).encode(text, choices(40)) == ids


def test_however_they_are_cut_texts_are_the_same() -> None:
    tokenizer = learned()
    cutter = Cutter(tokenizer, 0.5, seed=1)
    for k, line in enumerate([*LINES[:4], "Größe lower"]):
        cut = cutter.encode(line, choices(60, seed=k))
        assert tokenizer.decode(cut) == line and cut != tokenizer.encode([line])[0]


def test_with_everything_dropped_it_is_characters() -> None:
    tokenizer = learned()
    cut = Cutter(tokenizer, 1.0 - 1e-12, seed=1).cut(WORD, 3)
    assert [tokenizer.name(i) for i in cut] == list(WORD)


def test_each_merge_is_dropped_where_it_is_possible_with_this_probability() -> None:
    """By hand: of "ab" with the one merge a b, a draw is whole with probability 1 − p, and of "abab" each is."""
    cutter = Cutter(learned(), 0.3, seed=1)
    cutter.ids, cutter.ranks = {"a": 1, "b": 2, "ab": 3}, {("a", "b"): 0}
    found = collections.Counter(len(cutter.cut("ab", draw)) for draw in range(20_000))
    assert found[1] / 20_000 == pytest.approx(0.7, abs=0.01) and found[1] + found[2] == 20_000
    four = collections.Counter(len(cutter.cut("abab", draw)) for draw in range(20_000))
    # Both are merged only if one of two is left (1 − p²), and then the other one is (1 − p).
    assert four[2] / 20_000 == pytest.approx((1 - 0.09) * 0.7, abs=0.01)
    assert four[4] / 20_000 == pytest.approx(0.09, abs=0.01)


def test_draws_are_a_function_of_seed_word_and_number() -> None:
    tokenizer = learned()
    one, same, other = (Cutter(tokenizer, 0.5, seed=seed) for seed in (1, 1, 2))
    draws = [[cutter.cut(WORD, draw) for draw in order] for cutter, order in ((one, range(64)), (other, range(64)))]
    assert [same.cut(WORD, draw) for draw in reversed(range(64))][::-1] == draws[0] != draws[1]
    assert len(set(draws[0])) > 5


def recipe(folder: Path, **train: object) -> Recipe:
    return small_recipe(folder, bpe_dropout=0.3, **train)


def test_an_epochs_pairs_are_other_pieces_of_the_same_texts(tmp_path: Path) -> None:
    task = Translate(recipe(tmp_path))
    prepared = task.prepare()
    pairs = task.training(prepared, 1)
    assert isinstance(pairs, CutAnew) and len(pairs) == len(LINES)
    several = [pairs.in_epoch(epoch) for epoch in (0, 1, 0)]
    for i in range(len(pairs)):
        usual = prepared.train.ids(i)
        for side, name in enumerate(("source", "target")):
            found = [epoch.ids(i)[side] for epoch in several]
            assert {prepared.tokenizers[name].decode(ids) for ids in [*found, usual[side]]} == {LINES[i] + "ab"[side]}
            assert found[0].tolist() == found[2].tolist() and len(found[0]) >= len(usual[side])
    apart = [several[0].ids(i)[0].tolist() != several[1].ids(i)[0].tolist() for i in range(len(pairs))]
    assert sum(apart) > len(pairs) / 2
    indices = np.array([3, 0, 5])
    batch = several[0].batch(indices)
    assert batch.tokens == int((several[0].target_lengths[indices] + 1).sum())
    assert batch.source_lengths.tolist() == (several[0].source_lengths[indices] + 1).tolist()


def test_training_counts_the_tokens_that_it_sees_and_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = check_resumes(recipe(tmp_path), tmp_path, monkeypatch)
    assert len({tokens for _, tokens in seen.values()}) > 2  # more pieces in some epochs than in others


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("write-multi30k-en", [], "is for pairs of texts, and task write has none"),
        ("demo-cmudict", [], "is for tokenizer bpe, found char and word"),
        ("translate-multi30k-de-en", ["train.joined=1"], "goes with neither train.joined nor hallucinated"),
        (
            "translate-multi30k-de-en",
            ["data.source.truncate=50", "data.shared_vocabulary=false", "model.tie=none"],
            "source",
        ),
    ],
)
def test_what_it_is_not_for(name: str, changes: list[str], sentence: str) -> None:
    with pytest.raises(RegardError, match=sentence):
        load_recipe(name, ["train.bpe_dropout=0.1", *changes])


def test_what_is_known_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.data.bpe_dropout.REMEMBERED", 10)
    cutter = Cutter(learned(), 0.5, seed=1)
    before = [cutter.cut(WORD, draw) for draw in range(DRAWS)]
    assert len(cutter._known) <= 10 and [cutter.cut(WORD, draw) for draw in range(DRAWS)] == before
