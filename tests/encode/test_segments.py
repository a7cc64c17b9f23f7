"""Segments: from documents to sentences and back, and from token ids to segments."""

import random

import pytest
import torch

from regard.attend.memory import valid_steps
from regard.cells import cell
from regard.encode.segments import Segments, segment_ids

LEVELS = torch.tensor(
    [
        [[0, 0, 1, 1, 1, 4, 9, 9], [0, 0, 0, 0, 0, 1, 7, 7]],  # ids leave numbers out: 2, 3, 1 and padding
        [[0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 2, 2]],  # counted anew; where a paragraph ends a sentence does
        [[5, 5, 5, 5, 5, 5, 5, 5], [0, 0, 0, 0, 0, 0, 0, 0]],
    ]
)
LENGTHS = torch.tensor([6, 8, 1])
RUNS = [[[0, 1], [2, 3, 4], [5]], [[0], [1], [2], [3, 4, 5], [6, 7]], [[0]]]
ABOVE = [[0, 0, 1], [0, 0, 0, 1, 2], [0]]
"""The paragraph of each sentence, by its id."""


def test_runs_by_hand():
    found = Segments.of(LEVELS, LENGTHS)
    assert found.counts.tolist() == [3, 5, 1] and found.sizes.tolist() == [len(run) for row in RUNS for run in row]
    for row, above in enumerate(ABOVE):
        assert found.levels[row, 0, : len(above)].tolist() == above
    higher = Segments.of(found.levels, found.counts)
    assert higher.counts.tolist() == [2, 3, 1] and higher.sizes.tolist() == [2, 1, 3, 1, 1, 1]


@pytest.mark.parametrize("least", [2, 16])
def test_there_and_back(least, monkeypatch):
    monkeypatch.setattr(cell, "LEAST_ROWS", least)
    x = torch.randn(3, 8, 4, dtype=torch.float64)
    found = Segments.of(LEVELS, LENGTHS, grouped=True)
    assert len(found.groups) == (3 if least == 2 else 1)
    split = found.split(x)
    flat = [(row, run) for row, runs in enumerate(RUNS) for run in runs]
    for rows, part in zip(found.groups, split, strict=True):
        for place, (row, run) in enumerate([flat[segment] for segment in rows.tolist()]):
            assert torch.equal(part[place, : len(run)], x[row, run])
            assert torch.equal(part[place, len(run) :], x[row, run[-1:]].expand(part.shape[1] - len(run), -1))
    valid = valid_steps(LENGTHS, 8)[..., None]
    assert torch.equal(found.unsplit(split), x * valid)
    vectors = torch.randn(9, 4, dtype=torch.float64)
    rows = found.join([vectors[rows] for rows in found.groups])
    spread = found.spread(rows)
    for segment, (row, run) in enumerate(flat):
        assert torch.equal(rows[row, RUNS[row].index(run)], vectors[segment])
        assert all(torch.equal(spread[row, t], vectors[segment]) for t in run)
    assert (spread[~valid[..., 0]] == 0).all()
    torch.testing.assert_close(
        found.mean([vectors[rows, 0] for rows in found.groups]),
        torch.stack([part.mean() for part in vectors[:, 0].split([3, 5, 1])]),
    )


@pytest.mark.parametrize("seed", range(5))
def test_gradients_are_those_of_indexing(seed):
    draw = torch.Generator().manual_seed(seed)
    levels = torch.randint(3, (4, 2, 9), generator=draw)
    lengths = torch.randint(1, 10, (4,), generator=draw)
    found = Segments.of(levels, lengths)
    x = torch.randn(4, 9, 2, dtype=torch.float64, generator=draw, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: found.unsplit([part.sin() for part in found.split(x)]), x)
    vectors = torch.randn(len(found.sizes), 2, dtype=torch.float64, generator=draw, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: found.spread(found.join([v[rows] for rows in found.groups]).sin()), vectors
    )


def test_gradients_are_the_same_bits_on_any_number_of_threads():
    """A sentence's state is told to each of its words; resuming exactly needs their gradients in one order."""
    levels, lengths = (
        torch.arange(6400).view(1, 1, 64, 100).div(20, rounding_mode="floor")[0, 0],
        torch.full((64,), 100),
    )
    found = Segments.of(levels[:, None], lengths)
    draw = torch.Generator().manual_seed(0)
    vectors, factor = torch.randn(64, 5, 256, generator=draw), torch.randn(64, 100, 256, generator=draw)
    before, grads = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2, 2):
            torch.set_num_threads(threads)
            leaf = vectors.clone().requires_grad_()
            (found.spread(leaf) * factor).sum().backward()
            grads.append(leaf.grad)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(grads[0], grad) for grad in grads)
    torch.testing.assert_close(grads[0], factor.unflatten(1, (5, 20)).sum(2))


STOP, ASK, PARAGRAPH = 4, 5, 6


def test_ids_by_hand():
    ids = torch.tensor([[9, 8, 4, 9, 5, 4, 6, 7, 6, 6, 4, 8], [4, 6, 8, 8, 7, 4, 0, 0, 0, 0, 0, 0]])
    found = segment_ids(ids, [[STOP, ASK], [PARAGRAPH]])
    assert found[0].tolist() == [[0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3], [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2]]
    assert found[1, 0, :6].tolist() == [0, 0, 1, 1, 1, 1] and found[1, 1, :6].tolist() == [0, 0, 1, 1, 1, 1]


def test_ids_of_no_level_and_without_separators():
    ids = torch.randint(4, 9, (2, 5))
    assert segment_ids(ids, []).shape == (2, 0, 5)
    assert (segment_ids(ids, [[], [77]]) == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_ids_equal_a_loop(seed):
    draw = random.Random(seed)
    row = draw.choices(range(4, 10), k=15)
    found = segment_ids(torch.tensor([row]), [[STOP, ASK], [PARAGRAPH]])[0].tolist()
    for level, ends in enumerate([{STOP, ASK, PARAGRAPH}, {PARAGRAPH}]):
        expected, now = [], 0
        for t, token in enumerate(row):
            now += t > 0 and row[t - 1] in ends and token not in ends
            expected.append(now)
        assert found[level] == expected
