"""Cutting a window of examples into batches of nearly equal lengths: which positions, in sorted order.

The cut depends on lengths alone, so every epoch has the same number of batches; which of the examples of equal
lengths go where is drawn anew in every epoch (`BatchPlan`). The numbers below trade padding, batch size and the
share of batches with one source length against each other; they were chosen on Multi30k.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.int64]

SMALL = 1.0
"""Source lengths whose sentences fill less than this share of the budget are joined with the next lengths."""
SPREAD = 1.2
"""Joined source lengths are at most this factor apart."""
BATCH_COST = 0.1
"""One more batch is worth saving this share of the budget in padding."""
GRAIN = 16
"""A batch's size is chosen among about this many."""


def group(source: Lengths, target: Lengths, tokens: int) -> Lengths:
    """For each example, the longest source length of the group it is batched with: most groups are one length,
    rare lengths are joined with neighbouring ones. Lengths with the end mark."""
    lengths, inverse, counts = np.unique(source, return_inverse=True, return_counts=True)
    cost = np.maximum(np.bincount(inverse, weights=target), counts * lengths)
    owner = np.arange(len(lengths))
    first, filled = 0, 0.0
    for i in range(len(lengths)):
        full = filled >= SMALL * tokens or cost[i] >= SMALL * tokens
        if i > first and (full or lengths[i] > max(lengths[first] * SPREAD, lengths[first] + 1)):
            first, filled = i, 0.0
        filled += cost[i]
        owner[first : i + 1] = i
    return np.asarray(lengths[owner][inverse], dtype=np.int64)


def cut(source: int, target: Lengths, tokens: int) -> list[tuple[int, int]]:
    """Batches as [start, stop) of one group: the cheapest cut within the budget, by dynamic programming.

        cost = sum over batches of (rows x longest target) + BATCH_COST x tokens

    source  the group's longest source; every batch is taken to be that long
    target  rising lengths. An example that exceeds the budget is a batch by itself.
    """
    count = len(target)
    step = max(1, tokens // max(source, int(target[count // 2])) // GRAIN)
    stops = np.append(np.arange(0, count, step), count)
    cheapest = np.zeros(len(stops))
    came_from = np.zeros(len(stops), dtype=np.int64)
    for j in range(1, len(stops)):
        longest = int(target[stops[j] - 1])
        most = tokens // max(source, longest)
        i = min(j - 1, int(np.searchsorted(stops, stops[j] - most)))  # the earliest start within the budget
        costs = cheapest[i:j] + (stops[j] - stops[i:j]) * longest
        best = int(costs.argmin())
        cheapest[j] = costs[best] + BATCH_COST * tokens
        came_from[j] = i + best
    batches: list[tuple[int, int]] = []
    j = len(stops) - 1
    while j > 0:
        batches.append((int(stops[came_from[j]]), int(stops[j])))
        j = int(came_from[j])
    return [part for low, high in reversed(batches) for part in _fitting(low, high, source, target, tokens)]


def _fitting(low: int, high: int, source: int, target: Lengths, tokens: int) -> list[tuple[int, int]]:
    """A span of one step may exceed the budget, where sentences are much longer than the median: cut it further."""
    parts: list[tuple[int, int]] = []
    while low < high:
        rows = max(1, min(high - low, tokens // max(source, int(target[low]))))
        while rows > 1 and rows * max(source, int(target[low + rows - 1])) > tokens:
            rows -= 1
        parts.append((low, low + rows))
        low += rows
    return parts
