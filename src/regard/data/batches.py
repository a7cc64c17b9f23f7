"""Which examples make a batch, in which order, and what a batch holds.

The plan is a pure function of (seed, epoch): a run that stops at batch 812 of epoch 3 goes on from there with
nothing to restore. Examples are taken in windows, so that planning needs memory for one window only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regard.data import bucket
from regard.data.tokenizer import BOS, EOS, PAD
from regard.errors import RegardError

Indices = npt.NDArray[np.int64]
WINDOW = 2**18  # about 20 MB while it is planned; Multi30k and smaller sets are one window


class HasIds(Protocol):
    """What `collate` needs of prepared data."""

    def ids(self, i: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]: ...


class InEpoch(Protocol):
    """Examples as they are in one epoch."""

    @property
    def source_lengths(self) -> Any:
        """[indices] → int32, without end marks"""

    @property
    def target_lengths(self) -> Any: ...

    def batch(self, indices: Sequence[int] | Indices) -> Batch:
        """These, padded."""


class Examples(Protocol):
    """What a model learns from; lengths are without end marks."""

    source_lengths: npt.NDArray[np.int32]
    target_lengths: npt.NDArray[np.int32]

    def __len__(self) -> int: ...

    def source_text(self, i: int) -> str:
        """One of them in words, for an error."""

    def in_epoch(self, epoch: int) -> InEpoch:
        """As they are in an epoch: numbers are the same, contents and lengths may not be."""


@dataclass(frozen=True)
class Batch:
    """Padded ids of some examples, batch first.

    source          (batch, src_len) int64: ids, EOS, then PAD. Even an empty source has one step, EOS.
    source_lengths  (batch,) int64, always on the CPU, the EOS counted
    target_in       (batch, tgt_len) int64: BOS, ids, PAD
    target_out      (batch, tgt_len) int64: ids, EOS, PAD
    tokens          real target tokens, the EOS of each sentence counted
    indices         (batch,) which examples these are
    """

    source: Tensor
    source_lengths: Tensor
    target_in: Tensor
    target_out: Tensor
    tokens: int
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def twice(self) -> Batch:
        """Each example once more, after all of them."""
        parts = ("source", "source_lengths", "target_in", "target_out")
        doubled: dict[str, Any] = {name: torch.cat([getattr(self, name)] * 2) for name in parts}
        return replace(self, **doubled, tokens=2 * self.tokens, indices=np.concatenate([self.indices] * 2))

    def to(self, device: torch.device | str) -> Batch:
        """The ids on another device; lengths stay on the CPU."""
        return replace(
            self,
            source=self.source.to(device),
            target_in=self.target_in.to(device),
            target_out=self.target_out.to(device),
        )


class BatchPlan:
    """Batches by token budget: rows x longest source and rows x longest target (each with its end mark) are at
    most `tokens`; a longer sentence is a batch by itself.

    Wherever enough sentences share a source length, a batch has one source length only.

    >>> plan = BatchPlan(np.array([3, 3, 5]), np.array([2, 2, 4]), tokens=20, seed=1)
    >>> sorted(map(len, plan.epoch(0)))
    [1, 2]
    """

    def __init__(
        self,
        source_lengths: npt.NDArray[np.integer],
        target_lengths: npt.NDArray[np.integer],
        *,
        tokens: int,
        seed: int,
        window: int = WINDOW,
        ranks: int = 1,
    ):
        """Lengths without end marks, such as `Pairs` gives them; they may be memory maps.

        With several ranks, batch i is for rank i % ranks. Each window's number of batches is made a multiple of
        `ranks` by halving its largest batches (where there are too few sentences for that: by joining the shortest).
        Batches that take about as long go together, since ranks wait for each other.
        """
        if len(source_lengths) != len(target_lengths):
            raise ValueError(f"{len(source_lengths)} source lengths but {len(target_lengths)} target lengths")
        if len(source_lengths) < max(1, ranks):
            raise RegardError(f"{len(source_lengths)} examples cannot be shared by {ranks} processes: add data.")
        if tokens < 1 or window < 1 or ranks < 1:
            raise ValueError(f"tokens, window and ranks are at least 1, found {tokens}, {window}, {ranks}")
        self.source_lengths, self.target_lengths = source_lengths, target_lengths
        self.tokens, self.seed, self.ranks = tokens, seed, ranks
        examples = len(source_lengths)
        # Windows of equal size, so that the last one is no leftover; each has an example for every rank.
        self._windows = min(-(-examples // window), examples // ranks)
        self._starts = [examples * w // self._windows for w in range(self._windows + 1)]
        self._counts: list[int | None] = [None] * self._windows

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Indices]:
        """The batches of an epoch, from batch number `start` on, each an array of example numbers."""
        passed = 0
        for w in _random(self.seed, epoch, 0).permutation(self._windows).tolist():
            if start - passed >= self._count(w):  # resuming: no need to fill windows that are done
                passed += self._count(w)
                continue
            for indices in self._batches(w, epoch):
                if passed >= start:
                    yield indices
                passed += 1

    def count(self, epoch: int = 0) -> int:
        """Batches per epoch, over all ranks together; the same for every epoch."""
        return sum(self._count(w) for w in range(self._windows))

    def padding(self, epoch: int = 0) -> dict[str, float]:
        """(computed - real) / computed positions of an epoch, end marks counted."""
        real = np.zeros(2, dtype=np.int64)
        computed = np.zeros(2, dtype=np.int64)
        for indices in self.epoch(epoch):
            for side, lengths in enumerate((self.source_lengths, self.target_lengths)):
                with_end = np.asarray(lengths[indices], dtype=np.int64) + 1
                real[side] += with_end.sum()
                computed[side] += with_end.max() * len(indices)
        source, target = (computed - real) / computed
        return {"source": float(source), "target": float(target)}

    def _count(self, w: int) -> int:
        found = self._counts[w]
        if found is None:
            found = self._counts[w] = len(self._spans(*self._lengths(w)))
        return found

    def _lengths(self, w: int) -> tuple[bucket.Lengths, bucket.Lengths]:
        span = slice(self._starts[w], self._starts[w + 1])
        source = np.asarray(self.source_lengths[span], dtype=np.int64) + 1
        target = np.asarray(self.target_lengths[span], dtype=np.int64) + 1
        return bucket.group(source, target, self.tokens), target

    def _spans(self, groups: bucket.Lengths, target: bucket.Lengths) -> list[tuple[int, int]]:
        """Batches as spans of positions in the order (group, target length)."""
        order = np.lexsort((target, groups))
        groups, target = groups[order], target[order]
        edges = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
        spans: list[tuple[int, int]] = []
        for low, high in pairwise(edges):
            spans += [(low + a, low + b) for a, b in bucket.cut(int(groups[low]), target[low:high], self.tokens)]
        return _share(spans, self.ranks)

    def _batches(self, w: int, epoch: int) -> list[Indices]:
        groups, target = self._lengths(w)
        random = _random(self.seed, epoch, 1, w)
        shuffled = random.permutation(len(groups))  # the sort is stable: examples of equal lengths stay shuffled
        order = shuffled[np.lexsort((target[shuffled], groups[shuffled]))] + self._starts[w]
        spans = self._spans(groups, target)
        updates = _by_cost(spans, self.source_lengths[order], self.target_lengths[order], self.ranks)
        drawn = updates[random.permutation(len(updates))].ravel()
        return [order[spans[i][0] : spans[i][1]] for i in drawn.tolist()]


def _share(spans: list[tuple[int, int]], ranks: int) -> list[tuple[int, int]]:
    """As many spans as a multiple of `ranks`: halve the largest; with too few examples for that, join the first."""
    spans = list(spans)
    missing, over = -len(spans) % ranks, len(spans) % ranks
    if len(spans) + missing <= spans[-1][1]:
        for _ in range(missing):
            i = max(range(len(spans)), key=lambda i: spans[i][1] - spans[i][0])
            low, high = spans[i]
            spans[i : i + 1] = [(low, (low + high) // 2), ((low + high) // 2, high)]
    else:
        for _ in range(over):
            spans[:2] = [(spans[0][0], spans[1][1])]
    return spans


def _by_cost(
    spans: list[tuple[int, int]], source: npt.NDArray[np.integer], target: npt.NDArray[np.integer], ranks: int
) -> Indices:
    """(len(spans) / ranks, ranks): numbers of batches that are computed at the same time, alike in computed tokens."""
    if ranks == 1:
        return np.arange(len(spans))[:, None]
    tokens = [(high - low) * (int(source[low:high].max()) + int(target[low:high].max()) + 2) for low, high in spans]
    return np.argsort(tokens, kind="stable").reshape(-1, ranks)


def _random(seed: int, *counters: int) -> np.random.Generator:
    """Counter-based: the same (seed, counters) give the same numbers, wherever they are asked for."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *counters])))


def collate(pairs: HasIds, indices: Sequence[int] | Indices) -> Batch:
    """The examples as one padded batch; see `Batch` for what is added where."""
    if len(indices) == 0:
        raise ValueError("a batch needs at least one example")
    examples = [pairs.ids(int(i)) for i in indices]
    source, lengths = padded([source for source, _ in examples])
    target_lengths = np.array([len(target) + 1 for _, target in examples], dtype=np.int64)
    target_in = np.full((len(examples), target_lengths.max()), PAD, dtype=np.int64)
    target_out = np.full_like(target_in, PAD)
    for row, (_, target_ids) in enumerate(examples):
        target_in[row, 0] = BOS
        target_in[row, 1 : len(target_ids) + 1] = target_ids
        target_out[row, : len(target_ids)] = target_ids
        target_out[row, len(target_ids)] = EOS
    return Batch(
        source=source,
        source_lengths=lengths,
        target_in=torch.from_numpy(target_in),
        target_out=torch.from_numpy(target_out),
        tokens=int(target_lengths.sum()),
        indices=np.asarray(indices, dtype=np.int64),
    )


def padded(sources: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Sources side by side, (batch, longest), each with an EOS behind it and then PAD; and their lengths, on the CPU.

    Series, (steps, channels) each, are (batch, longest, channels) of float32, with zeros for both.
    """
    lengths = torch.tensor([len(source) + 1 for source in sources])
    first = np.asarray(sources[0])
    series = first.ndim == 2
    shape = (len(sources), int(lengths.max()), *first.shape[1:])
    found = np.zeros(shape, dtype=np.float32) if series else np.full(shape, PAD, dtype=np.int64)
    for row, source in enumerate(sources):
        found[row, : len(source)] = source
        if not series:
            found[row, len(source)] = EOS
    return torch.from_numpy(found), lengths
