"""Which target pieces translate a source piece, learned from the training pairs themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from regard.data.store import Pairs

ITERATIONS = 5
"""Passes of EM over Model 1, whose likelihood has one maximum: past some five, little moves (Brown et al. 1993, 6)."""
MOST_LINKS = 50_000_000
"""Source × target pieces that are looked at, a few seconds for each million; larger data is thinned."""
OFTEN = 100
"""When thinning: pairs are left out whose source pieces have all been seen so often."""
CHUNK = 2_000_000
"""Links at a time, some 50 bytes each; besides there are some 30 bytes for each pair of pieces that ever meets."""

Ints = npt.NDArray[np.int64]


def lexical_best(pairs: Pairs, source_vocab: int, target_vocab: int, count: int) -> npt.NDArray[np.int32]:
    """(source_vocab, count): the likeliest target pieces of each source piece, best first, then -1.

    By t(target | source) of IBM Model 1 (Brown et al. 1993, section 4.1, equations 17 and 18), with a NULL word on the
    source side that takes up what belongs to no word.
    """
    cells, probability = _model1(pairs, source_vocab, target_vocab)
    sources, targets = np.divmod(cells, target_vocab)
    order = np.lexsort((targets, -probability, sources))  # by source, best first, equal ones by lower target
    sources, targets = sources[order], targets[order]
    rank = np.arange(len(sources)) - np.searchsorted(sources, sources)  # place within its source
    kept = (rank < count) & (sources < source_vocab)  # not NULL's
    best = np.full((source_vocab, count), -1, np.int32)
    best[sources[kept], rank[kept]] = targets[kept]
    return best


def target_counts(pairs: Pairs, target_vocab: int) -> Ints:
    """How often each target piece occurs."""
    counts = np.zeros(target_vocab, np.int64)
    for first in range(0, len(pairs), 1000):
        some = [pairs.ids(i)[1] for i in range(first, min(first + 1000, len(pairs)))]
        counts += np.bincount(np.concatenate(some), minlength=target_vocab)
    return counts


def _model1(pairs: Pairs, source_vocab: int, target_vocab: int) -> tuple[Ints, npt.NDArray[np.float64]]:
    """The codes of all pieces that meet (see `_links`), rising, and t(target | source), from a uniform start."""
    chosen = _chosen(pairs, source_vocab)
    cells = np.empty(0, np.int64)
    for codes, _ in _links(pairs, chosen, source_vocab, target_vocab):
        cells = np.union1d(cells, codes)
    probability, sources = np.ones(len(cells)), cells // target_vocab
    for _ in range(ITERATIONS):
        counts = np.zeros(len(cells))
        for codes, tokens in _links(pairs, chosen, source_vocab, target_vocab):
            cell = np.searchsorted(cells, codes)
            posterior = probability[cell]
            posterior /= np.bincount(tokens, posterior)[tokens]  # the share of the token that is this source piece's
            counts += np.bincount(cell, posterior, minlength=len(cells))
        probability = counts / np.bincount(sources, counts)[sources]
    return cells, probability


def _chosen(pairs: Pairs, source_vocab: int) -> list[int]:
    """The pairs to learn from: all, or, of more than MOST_LINKS allows, those with a piece that was seldom so far."""
    links = (pairs.source_lengths.astype(np.int64) + 1) * pairs.target_lengths
    if int(links.sum()) <= MOST_LINKS:
        return list(range(len(pairs)))
    seen, chosen, total = np.zeros(source_vocab, np.int64), [], 0
    for i in range(len(pairs)):
        source = pairs.ids(i)[0]
        if total <= MOST_LINKS and len(source) and seen[source].min() < OFTEN:
            seen[source] += 1
            total += int(links[i])
            chosen.append(i)
    return chosen


def _links(pairs: Pairs, chosen: list[int], source_vocab: int, target_vocab: int) -> Iterator[tuple[Ints, Ints]]:
    """In chunks, for every source and target piece that stand in one example: the code of the two, which is
    source · target_vocab + target, and the number of the target token in its chunk."""
    codes: list[Ints] = []
    tokens: list[Ints] = []
    size = seen = 0
    for i in chosen:
        source, target = pairs.ids(i)
        with_null = np.append(source, source_vocab).astype(np.int64)
        codes.append((with_null[:, None] * target_vocab + target).ravel())
        tokens.append(np.tile(np.arange(seen, seen + len(target)), len(with_null)))
        size, seen = size + len(codes[-1]), seen + len(target)
        if size >= CHUNK:
            yield np.concatenate(codes), np.concatenate(tokens)
            codes, tokens, size, seen = [], [], 0, 0
    if codes:
        yield np.concatenate(codes), np.concatenate(tokens)
