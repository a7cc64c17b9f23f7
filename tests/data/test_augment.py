"""Training examples made of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import regard
from regard.data.augment import Hallucinated, Joined, letters_of
from regard.data.batches import BatchPlan
from regard.data.config import TextConfig
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError
from regard.recipe import Recipe
from regard.tasks.transduce import Transduce


class Words:
    """Pairs of 1 to 9 tokens."""

    source_lengths = np.arange(1, 10, dtype=np.int32)
    target_lengths = source_lengths[::-1].copy()

    def __len__(self) -> int:
        return 9

    def ids(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(i + 1, i, dtype=np.int32), np.full(9 - i, 10 + i, dtype=np.int32)

    def source_text(self, i: int) -> str:
        return f"word {i}"


def test_the_pairs_come_first_and_then_two_at_a_time() -> None:
    pairs, joined = Words(), Joined(Words(), share=1.5, seed=3)
    assert len(joined) == 9 + 14 == len(joined.source_lengths) == len(joined.target_lengths)
    for i in range(9):
        assert joined.source_text(i) == pairs.source_text(i)
        assert all(np.array_equal(one, other) for one, other in zip(joined.ids(i), pairs.ids(i), strict=True))
    for i, (one, other) in enumerate(joined.halves.tolist(), start=9):
        source, target = joined.ids(i)
        assert source.tolist() == [one] * (one + 1) + [other] * (other + 1)
        assert target.tolist() == [10 + one] * (9 - one) + [10 + other] * (9 - other)
        assert joined.source_text(i) == f"word {one} + word {other}"
    lengths = [tuple(map(len, joined.ids(i))) for i in range(len(joined))]
    assert lengths == list(zip(joined.source_lengths, joined.target_lengths, strict=True))
    spaced = Joined(Words(), share=1.5, seed=3, between=([7], [5, 6]))
    (source, target), (one, other) = spaced.ids(9), spaced.halves[0].tolist()
    assert source.tolist() == [one] * (one + 1) + [7] + [other] * (other + 1) and 5 in target and 6 in target
    assert len(source) == spaced.source_lengths[9] and len(target) == spaced.target_lengths[9]
    assert spaced.source_lengths[:9].tolist() == Words.source_lengths.tolist()


def test_which_they_are_is_a_function_of_the_seed() -> None:
    one, same, other = (Joined(Words(), share=4.0, seed=seed).halves for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert set(one.ravel().tolist()) == set(range(9))  # nothing is out of reach


def test_a_plan_takes_each_once() -> None:
    joined = Joined(Words(), share=2.0, seed=1)
    plan = BatchPlan(joined.source_lengths, joined.target_lengths, tokens=40, seed=1)
    assert sorted(np.concatenate(list(plan.epoch(0))).tolist()) == list(range(27))


@pytest.mark.slow
def test_a_run_trains_on_them_and_validates_without(tmp_path: Path, no_shape_checks: None) -> None:
    lines = [f"{'ab' * n}\t{'x y ' * n}".strip() for n in range(1, 13)]
    for name in ("train", "valid"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = {
        "task": "transduce",
        "data": {
            "root": str(tmp_path),
            "train": {"table": "train.tsv"},
            "valid": {"table": "valid.tsv"},
            "source": {"tokenizer": "char"},
            "target": {"tokenizer": "word"},
        },
        "model": {"embed": 8, "encoder": {"hidden": 8}, "attention": {"dim": 8}, "decoder": {"hidden": 8}},
        "train": {"epochs": 1, "batch_tokens": 60, "joined": 1.0, "threads": 1},
    }
    run = regard.train(Recipe.from_dict(recipe), tmp_path / "run")
    log = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    start, epoch = (next(each for each in log if each["type"] == kind) for kind in ("start", "epoch"))
    assert start["examples"] == 24
    prepared = Transduce(run.recipe).prepare()
    between = prepared.tokenizers["source"].space, prepared.tokenizers["target"].space
    assert [len(ids) for ids in between] == [1, 0]  # letters have a space, words bring theirs
    pairs = Joined(prepared.train, share=1.0, seed=run.recipe.seed, between=between)
    assert epoch["tokens"] == int(pairs.target_lengths.sum()) + 24
    assert prepared.tokenizers["source"].decode(pairs.ids(12)[0]) == pairs.source_text(12).replace(" + ", " ")


# Other stems


class Forms:
    """Lemmas with a feature, and their forms, in ids: letters from 10 on, marks below, features from 100 on."""

    pairs = (
        ([10, 11, 12, 13, 100], [10, 11, 12, 13, 20, 21]),  # an ending
        ([30, 31, 32, 5, 33, 34, 35, 101], [25, 30, 31, 32, 33, 34, 35]),  # two runs, a mark between
        ([40, 41, 102], [40, 41, 42]),  # too short to be a stem
        ([10, 11, 5, 12, 13, 103], [10, 11, 5, 12, 13]),  # a mark inside
        ([50, 51, 52, 53, 54, 55, 104], [20, 50, 51, 52, 53, 54, 55]),  # so long that both ends stay
    )
    source_lengths = np.array([len(source) for source, _ in pairs], dtype=np.int32)
    target_lengths = np.array([len(target) for _, target in pairs], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.pairs)

    def ids(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        source, target = self.pairs[i]
        return np.array(source, dtype=np.int32), np.array(target, dtype=np.int32)

    def source_text(self, i: int) -> str:
        return f"lemma {i}"


LETTERS = np.arange(10, 60, dtype=np.int32)


def test_another_stem_is_the_same_on_both_sides() -> None:
    forms, more = Forms(), Hallucinated(Forms(), share=50.0, seed=1, letters=LETTERS)
    assert len(more) == 5 + 250 and set(more.models.tolist()) == {0, 1, 3, 4}
    places = {
        0: ([0, 1, 2, 3], [0, 1, 2, 3]),
        1: ([0, 1, 2, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        3: ([0, 1, 3, 4], [0, 1, 3, 4]),
        4: ([1, 2, 3, 4], [2, 3, 4, 5]),
    }
    changed = letters = 0
    for i, model in enumerate(more.models.tolist(), start=5):
        (source, target), (at, to) = more.ids(i), places[model]
        was_source, was_target = forms.ids(model)
        assert source[at].tolist() == target[to].tolist() and set(source[at].tolist()) <= set(LETTERS.tolist())
        assert np.array_equal(np.delete(source, at), np.delete(was_source, at))
        assert np.array_equal(np.delete(target, to), np.delete(was_target, to))
        assert (len(source), len(target)) == (more.source_lengths[i], more.target_lengths[i])
        changed += int((source[at] != was_source[at]).sum())
        letters += len(at)
        again, _ = Hallucinated(Forms(), share=50.0, seed=1, letters=LETTERS).ids(i)
        assert np.array_equal(source, again)  # a function of seed and number
    assert letters > 1000 and 0.4 < changed / letters < 0.6  # half of them; one in fifty is the same when drawn
    assert forms.ids(0)[0].tolist() == [10, 11, 12, 13, 100]  # what they are made of stays
    assert more.source_text(5) == f"lemma {more.models[0]} with another stem"


def test_nothing_in_common_is_said() -> None:
    class Apart(Forms):
        pairs = (([10, 11], [12, 13]),)
        source_lengths = target_lengths = np.array([2], dtype=np.int32)

    with pytest.raises(RegardError, match=r"train\.hallucinated: no training pair has 3 letters in a row"):
        Hallucinated(Apart(), share=1.0, seed=1, letters=LETTERS)


def test_letters_are_of_any_script_and_no_marks_or_tags() -> None:
    config = TextConfig(tokenizer="char", tags=True, vocab=400)
    tokenizer = Tokenizer.train(["aé-1 ش\u064eक\tN;PL"], config)
    assert sorted(tokenizer.name(i) for i in letters_of(tokenizer)) == ["a", "é", "ش", "क"]


def test_it_needs_one_vocabulary() -> None:
    data = {"train": {"table": "a.tsv"}, "valid": {"table": "b.tsv"}}
    with pytest.raises(RegardError, match=r"train\.hallucinated looks for .* needs data\.shared_vocabulary=true"):
        Recipe.from_dict({"task": "transduce", "data": data, "train": {"hallucinated": 10}})
