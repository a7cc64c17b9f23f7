"""Batches: every example once, within the budget, hardly any padding, a pure function of (seed, epoch)."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regard.data.batches import BatchPlan, collate
from regard.data.bucket import BATCH_COST, GRAIN, cut
from regard.data.config import TextConfig
from regard.data.tokenizer import BOS, EOS, PAD, Tokenizer
from regard.errors import RegardError


def lengths(count: int, seed: int = 0, most: int = 40) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    source = random.integers(0, most, count, dtype=np.int32)
    return source, np.maximum(0, source + random.integers(-3, 4, count, dtype=np.int32))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 400),
    most=st.integers(1, 60),
    tokens=st.integers(1, 300),
    window=st.integers(1, 500),
    ranks=st.integers(1, 4),
    seed=st.integers(0, 2**40),
)
def test_every_example_once_within_the_budget(
    count: int, most: int, tokens: int, window: int, ranks: int, seed: int
) -> None:
    source, target = lengths(count, seed % 1000, most)
    if count < ranks:
        return
    plan = BatchPlan(source, target, tokens=tokens, seed=seed, window=window, ranks=ranks)
    batches = list(plan.epoch(3))
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert len(batches) == plan.count(3) == plan.count(0)
    assert len(batches) % ranks == 0
    for batch in batches:
        longest = max(source[batch].max(), target[batch].max()) + 1
        if ranks == 1:  # otherwise over-long sentences may have to be joined to share the work
            assert len(batch) == 1 or len(batch) * longest <= tokens


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_hardly_wait_for_each_other(ranks: int) -> None:
    """What the slowest of each update computes, against what they compute on average."""
    source, target = lengths(6000)
    plan = BatchPlan(source, target, tokens=500, seed=1, ranks=ranks)
    cost = [len(batch) * (source[batch].max() + target[batch].max() + 2) for batch in plan.epoch(0)]
    updates = np.array(cost).reshape(-1, ranks)
    assert updates.max(1).sum() < 1.01 * updates.mean(1).sum()
    by_chance = np.random.default_rng(1).permutation(cost).reshape(-1, ranks)
    assert by_chance.max(1).sum() > 1.04 * by_chance.mean(1).sum()


def test_the_plan_is_a_function_of_seed_and_epoch() -> None:
    source, target = lengths(3000)

    def plan(seed: int) -> BatchPlan:
        return BatchPlan(source, target, tokens=500, seed=seed, window=700)

    def flat(batches: list[npt.NDArray[np.int64]]) -> list[list[int]]:
        return [batch.tolist() for batch in batches]

    first = flat(list(plan(1).epoch(2)))
    used = plan(1)
    list(used.epoch(0)), used.count(5)
    assert flat(list(used.epoch(2))) == first
    assert flat(list(plan(1).epoch(3))) != first
    assert flat(list(plan(2).epoch(2))) != first


def test_resuming_at_any_batch_goes_on_the_same() -> None:
    source, target = lengths(2000)
    plan = BatchPlan(source, target, tokens=400, seed=7, window=500)
    whole = [batch.tolist() for batch in plan.epoch(1)]
    for start in range(0, len(whole) + 1, 25):
        fresh = BatchPlan(source, target, tokens=400, seed=7, window=500)
        assert [batch.tolist() for batch in fresh.epoch(1, start)] == whole[start:]


def test_batches_and_neighbours_change_from_epoch_to_epoch() -> None:
    source, target = lengths(5000)
    plan = BatchPlan(source, target, tokens=500, seed=1)
    first, second = ({frozenset(batch.tolist()) for batch in plan.epoch(e)} for e in (0, 1))
    assert len(first & second) < 0.3 * len(first)  # rare lengths have no other company
    assert [len(b) for b in plan.epoch(0)] != [len(b) for b in plan.epoch(1)]  # the order of batches is drawn anew


def test_common_source_lengths_are_not_mixed() -> None:
    source, target = lengths(20000)
    plan = BatchPlan(source, target, tokens=1000, seed=1)
    alike = sum(len(batch) for batch in plan.epoch(0) if len(set(source[batch].tolist())) == 1)
    assert alike > 0.95 * len(source)


def test_padding_is_what_collate_computes() -> None:
    source, target = lengths(500)
    plan = BatchPlan(source, target, tokens=300, seed=1)
    real, computed = np.zeros(2), np.zeros(2)
    for indices in plan.epoch(0):
        batch = collate(Made(source, target), indices)
        real += np.array([int(batch.source_lengths.sum()), batch.tokens])
        computed += np.array([batch.source.numel(), batch.target_out.numel()])
        assert int((batch.target_out != PAD).sum()) == batch.tokens
    found = plan.padding(0)
    assert [found["source"], found["target"]] == pytest.approx(((computed - real) / computed).tolist())


@settings(max_examples=60, deadline=None)
@given(target=st.lists(st.integers(1, 12), min_size=1, max_size=9), tokens=st.integers(1, 80), source=st.integers(1, 9))
@example(target=[1, 1, 1, 3], tokens=32, source=1)  # where sizes are multiples of two
def test_cut_is_the_cheapest_of_all_cuts(target: list[int], tokens: int, source: int) -> None:
    """Few enough examples to try every way of cutting; of large budgets, those at multiples of the grain."""
    target = sorted(target)
    grain = max(1, tokens // max(source, target[len(target) // 2]) // GRAIN)
    costs = []
    for mask in range(2 ** (len(target) - 1)):
        edges = [0, *(i for i in range(1, len(target)) if mask >> (i - 1) & 1), len(target)]
        spans = list(pairwise(edges))
        fits = all(b - a == 1 or (b - a) * max(source, target[b - 1]) <= tokens for a, b in spans)
        if fits and all(edge % grain == 0 for edge in edges[:-1]):
            costs.append(_cost(spans, target, tokens))
    found = cut(source, np.array(target), tokens)
    assert all(b - a == 1 or (b - a) * max(source, target[b - 1]) <= tokens for a, b in found)
    assert [0, *(b for _, b in found)] == [*(a for a, _ in found), len(target)]  # all of them, in order
    if costs:  # else a span of the grain is too large by itself, and is cut where it has to be
        assert _cost(found, target, tokens) == pytest.approx(min(costs))


def _cost(spans: list[tuple[int, int]], target: list[int], tokens: int) -> float:
    return sum((b - a) * target[b - 1] + BATCH_COST * tokens for a, b in spans)


class Made:
    """Pairs with made-up ids, whose lengths are given."""

    def __init__(self, source: npt.NDArray[np.int32], target: npt.NDArray[np.int32]):
        self.source, self.target = source, target

    def ids(self, i: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        return tuple(np.arange(10, 10 + side[i], dtype=np.int32) for side in (self.source, self.target))  # type: ignore[return-value]


def test_collate_by_hand() -> None:
    batch = collate(Made(np.array([2, 0]), np.array([1, 2])), [0, 1])
    assert batch.source.tolist() == [[10, 11, EOS], [EOS, PAD, PAD]]
    assert batch.source_lengths.tolist() == [3, 1]
    assert batch.target_in.tolist() == [[BOS, 10, PAD], [BOS, 10, 11]]
    assert batch.target_out.tolist() == [[10, EOS, PAD], [10, 11, EOS]]
    assert batch.tokens == 5
    assert batch.source.dtype == batch.target_in.dtype == batch.source_lengths.dtype == torch.int64
    assert len(batch.to("cpu")) == 2


def test_fewer_examples_than_ranks_is_refused() -> None:
    for count, ranks in ((0, 1), (2, 3)):
        with pytest.raises(RegardError, match=f"{count} examples cannot be shared by {ranks}"):
            BatchPlan(np.ones(count, np.int32), np.ones(count, np.int32), tokens=9, seed=1, ranks=ranks)


@pytest.mark.slow
def test_padding_on_multi30k_is_at_most_five_percent(data_root: Path) -> None:
    sides = []
    for language in ("en", "de"):
        with gzip.open(data_root / f"multi30k/tok/train.lc.norm.tok.{language}.gz", "rt", encoding="utf-8") as file:
            sides.append(file.read().splitlines())
    tokenizer = Tokenizer.train([*sides[0], *sides[1]], TextConfig(vocab=6000))
    one, other = (np.array([len(ids) for ids in tokenizer.encode(side)]) for side in sides)
    for tokens in (1600, 4000):
        for source, target in ((one, other), (other, one)):
            padding = BatchPlan(source, target, tokens=tokens, seed=1).padding(0)
            assert padding["source"] <= 0.05, padding
            assert padding["target"] <= 0.05, padding
