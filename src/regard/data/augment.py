"""More training examples than there are, made of those there are."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import LCSseq

from regard.data.batches import Batch, Examples, HasIds, Indices, collate
from regard.data.bpe_dropout import CutAnew
from regard.data.store import SIDES, Ids, Pairs
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError

SHORTEST_STEM = 3
"""Symbols in a row that source and target have in common, to be taken for a part of the stem."""
LONG_STEM = 6
"""From so many on, the first and the last of them stay: sounds that what stands beside them depends on."""
DRAWN = 0.5
"""Of the other letters of a stem, the share that is drawn anew; in those that stay there is vowel harmony left."""


class PairsLike(Examples, HasIds, Protocol):
    """What is made more of: pairs, or what was made already."""


class Augmented:
    """All pairs, and after them those that are made. What they are is a function of (seed, number): the same in every
    epoch, and nothing to save."""

    source_lengths: Ids
    target_lengths: Ids

    def __init__(self, pairs: PairsLike, seed: int) -> None:
        self.pairs, self.seed = pairs, seed

    def __len__(self) -> int:
        return len(self.source_lengths)

    def ids(self, i: int) -> tuple[Ids, Ids]:
        """Source and target ids of example i, without BOS and EOS."""
        return self.pairs.ids(i) if i < len(self.pairs) else self.make(i - len(self.pairs))

    def batch(self, indices: Sequence[int] | Indices) -> Batch:
        """These examples, padded."""
        return collate(self, indices)

    def in_epoch(self, epoch: int) -> Augmented:
        """The same in every epoch."""
        return self

    def source_text(self, i: int) -> str:
        """The source as its file has it, or what was made of which."""
        return self.pairs.source_text(i) if i < len(self.pairs) else self.origin(i - len(self.pairs))

    def make(self, number: int) -> tuple[Ids, Ids]:
        """Source and target ids of the example of this number, from 0."""
        raise NotImplementedError

    def origin(self, number: int) -> str:
        """In words, for an error."""
        raise NotImplementedError

    def _random(self, *counters: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, *counters])))


class Joined(Augmented):
    """Two pairs one after the other: sources, and targets.

    Nguyen, Murray & Chiang 2021, "Data augmentation by concatenation for low-resource translation", random pairs. A
    model of few hundred words learns from it to go on to the end of a source and to leave nothing out.

    share     so many times as many as there are
    between   ids to stand between the two, of a source and of a target: `Tokenizer.space`

    >>> pairs = Joined(prepared.train, share=1.0, seed=1)
    >>> len(pairs), pairs.ids(len(pairs) - 1)
    """

    def __init__(
        self, pairs: PairsLike, *, share: float, seed: int, between: Sequence[Sequence[int]] = ((), ())
    ) -> None:
        super().__init__(pairs, seed)
        self.between = [np.array(ids, dtype=np.int32) for ids in between]
        made = round(share * len(pairs))
        self.halves: npt.NDArray[np.int64] = self._random(2).integers(0, len(pairs), (made, 2))
        self.source_lengths, self.target_lengths = (
            np.concatenate([lengths, lengths[self.halves].sum(1, dtype=np.int32) + np.int32(len(space))])
            for lengths, space in zip(_lengths(pairs), self.between, strict=True)
        )

    def make(self, number: int) -> tuple[Ids, Ids]:
        one, other = (self.pairs.ids(int(half)) for half in self.halves[number])
        source, target = map(np.concatenate, zip(one, self.between, other, strict=True))
        return source, target

    def origin(self, number: int) -> str:
        return " + ".join(self.pairs.source_text(int(half)) for half in self.halves[number])


class Hallucinated(Augmented):
    """Pairs with another stem: of what source and target have in common, about half the letters become random ones.

    Anastasopoulos & Neubig 2019, "Pushing the limits of low-resource morphological inflection", section 4: endings and
    features stay, so that a model learns to copy any stem. Common are the runs of three symbols and more of a longest
    common subsequence (theirs is an alignment that was learned); how much of a run is drawn anew is as in their
    published code. Marks stay.

    letters   the ids to draw from: `letters_of` a tokenizer that both sides share
    """

    def __init__(self, pairs: PairsLike, *, share: float, seed: int, letters: npt.NDArray[np.int32]) -> None:
        super().__init__(pairs, seed)
        self.letters = letters
        stems = {i: self._stem(*pairs.ids(i)) for i in range(len(pairs))}
        self.stems = {i: stem for i, stem in stems.items() if len(stem[0])}
        """of each pair that has one, the places in source and target that belong together and hold a letter"""
        if not self.stems:
            raise RegardError(
                f"train.hallucinated: no training pair has {SHORTEST_STEM} letters in a row on both sides, which could "
                "be another stem: set it to 0."
            )
        fit = np.array([*self.stems], dtype=np.int64)
        self.models = fit[self._random(3).integers(0, len(fit), round(share * len(pairs)))]
        self.source_lengths, self.target_lengths = (
            np.concatenate([lengths, lengths[self.models]]) for lengths in _lengths(pairs)
        )

    def make(self, number: int) -> tuple[Ids, Ids]:
        model = int(self.models[number])
        (at, to), (source, target) = self.stems[model], (side.copy() for side in self.pairs.ids(model))
        random = self._random(4, number)
        drawn = random.random(len(at)) < DRAWN
        source[at[drawn]] = target[to[drawn]] = random.choice(self.letters, int(drawn.sum()))
        return source, target

    def origin(self, number: int) -> str:
        return f"{self.pairs.source_text(int(self.models[number]))} with another stem"

    def _stem(self, source: Ids, target: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The places of a stem, if there is one."""
        blocks = LCSseq.opcodes(source.tolist(), target.tolist())
        same = [(b.src_start, b.dest_start, b.src_end - b.src_start) for b in blocks if b.tag == "equal"]
        ends = [(at, to, size, int(size >= LONG_STEM)) for at, to, size in same if size >= SHORTEST_STEM]
        long = [(at + end, to + end, size - 2 * end) for at, to, size, end in ends]
        at = np.array([at + k for at, _, size in long for k in range(size)], dtype=np.int64)
        to = np.array([to + k for _, to, size in long for k in range(size)], dtype=np.int64)
        letter = np.isin(source[at], self.letters)
        return at[letter], to[letter]


def letters_of(tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
    """The ids of single letters of any script."""
    names = ((i, tokenizer.name(i)) for i in range(tokenizer.size))
    return np.array([i for i, name in names if len(name) == 1 and unicodedata.category(name)[0] == "L"], dtype=np.int32)


def augmented(pairs: Pairs, tokenizers: Mapping[str, Tokenizer], config: Any, seed: int) -> Examples:
    """The training pairs with what a recipe's `train.hallucinated` and `train.joined` add, in this order; or as
    `train.bpe_dropout` cuts them, which goes with neither."""
    if config.bpe_dropout:
        return CutAnew(pairs, tokenizers, drop=config.bpe_dropout, seed=seed)
    found: Pairs | Augmented = pairs
    if config.hallucinated:
        letters = letters_of(tokenizers["source"])
        found = Hallucinated(found, share=config.hallucinated, seed=seed, letters=letters)
    if config.joined:
        between = [tokenizers[side].space for side in SIDES]
        found = Joined(found, share=config.joined, seed=seed, between=between)
    return found


def _lengths(pairs: PairsLike) -> tuple[Ids, Ids]:
    return np.asarray(pairs.source_lengths), np.asarray(pairs.target_lengths)
