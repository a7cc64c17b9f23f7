"""The block-wise top-k against a stable sort."""

from __future__ import annotations

import pytest
import torch

from regard.decode.topk import plain_topk, topk


@pytest.mark.parametrize("width", [1, 7, 300, 1536, 2000, 3072, 6001, 12000])
@pytest.mark.parametrize("k", [1, 2, 6])
@pytest.mark.parametrize("levels", [2, 30, 10**9])
def test_same_as_sorting(width, k, levels):
    """Few levels: ties everywhere, at the border and inside."""
    draw = torch.Generator().manual_seed(width + k)
    whole = torch.randint(levels, (12, width), generator=draw).double()
    k = min(k, width)
    for values in (whole, whole - 1e6, whole.float()):
        expected = plain_topk(values, k)
        found = topk(values, k)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("width", [10, 10000])
def test_forbidden_entries_come_last(width):
    values = torch.full((3, width), -torch.inf)
    values[0, 9] = -5.0
    values[1, [3, 7]] = -1.0
    best, index = topk(values, 4)
    assert best[0].tolist() == [-5.0] + [-torch.inf] * 3
    assert index[0, 0] == 9
    assert index[1, :2].tolist() == [3, 7]
    assert bool((best[2] == -torch.inf).all())
    assert int(index.max()) < width and int(index.min()) >= 0
