"""Which target pieces translate a source piece, learned from the training pairs themselves."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from regard.data.store import Pairs

ITERATIONS = 5
"""Passes of EM: Model 1 is convex and nearly there (Brown et al. 1993 used as many or fewer of each model)."""
MOST_LINKS = 20_000_000
"""Source × target pieces that are looked at, 16 bytes each; of larger data every n-th pair."""


def lexical_best(pairs: Pairs, source_vocab: int, target_vocab: int, count: int) -> npt.NDArray[np.int32]:
    """(source_vocab, count): the likeliest target pieces of each source piece, best first, then -1.

    By p(target | source) of IBM Model 1 (Brown et al. 1993, section 4.1, equations 17 and 18), with a NULL word on the
    source side that takes up what belongs to no word.
    """
    cells, links, tokens = _links(pairs, source_vocab, target_vocab)
    chance = _model1(cells, links, tokens, target_vocab)
    sources, targets = np.divmod(cells, target_vocab)
    order = np.lexsort((targets, -chance, sources))  # by source, best first, equal ones by lower target
    sources, targets = sources[order], targets[order]
    rank = np.arange(len(sources)) - np.searchsorted(sources, sources)  # place within its source
    kept = (rank < count) & (sources < source_vocab)  # not NULL's
    best = np.full((source_vocab, count), -1, np.int32)
    best[sources[kept], rank[kept]] = targets[kept]
    return best


def target_counts(pairs: Pairs, target_vocab: int) -> npt.NDArray[np.int64]:
    """How often each target piece occurs."""
    counts = np.zeros(target_vocab, np.int64)
    for i in range(len(pairs)):
        counts += np.bincount(pairs.ids(i)[1], minlength=target_vocab)
    return counts


def _links(
    pairs: Pairs, source_vocab: int, target_vocab: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Cells (source · target_vocab + target) that occur, in order; and for every pair of pieces that stand in one
    example its cell's index and its target token's number."""
    sizes = (pairs.source_lengths.astype(np.int64) + 1) * pairs.target_lengths
    step = max(1, math.ceil(int(sizes.sum()) / MOST_LINKS))
    codes, tokens, seen = [], [], 0
    for i in range(0, len(pairs), step):
        source, target = pairs.ids(i)
        source = np.append(source, source_vocab).astype(np.int64)  # and NULL
        codes.append((source[:, None] * target_vocab + target).ravel())
        tokens.append(np.tile(np.arange(seen, seen + len(target), dtype=np.int32), len(source)))
        seen += len(target)
    cells, links = np.unique(np.concatenate(codes), return_inverse=True)
    return cells, links.astype(np.int32), np.concatenate(tokens)


def _model1(
    cells: npt.NDArray[np.int64], links: npt.NDArray[np.int32], tokens: npt.NDArray[np.int32], target_vocab: int
) -> npt.NDArray[np.float64]:
    """p(target | source) of every cell, from a uniform start."""
    sources = cells // target_vocab
    chance = np.ones(len(cells))
    for _ in range(ITERATIONS):
        each = chance[links]
        each /= np.bincount(tokens, each)[tokens]  # how much of the token this source piece accounts for
        expected = np.bincount(links, each, minlength=len(cells))
        chance = expected / np.bincount(sources, expected)[sources]
    return chance
