"""Tasks whose examples are made up, so that what they ask for is known exactly.

    copy        b a d c            →  b a d c </s>
    lookup      adg3 bfh7 cdi1     →  bfh7 adg3 …         the keys are given, the digits are to be found
    induction   a3 d7 b1 | d7 b1 a3                       after each key's second coming: what followed its first

An example is a function of (seed, index, steps) and of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regard.data.batches import Batch, collate
from regard.data.config import SPECIALS

Ids = npt.NDArray[np.int32]


class Example(NamedTuple):
    """One source and its target, neither with an end mark."""

    source: Ids
    target: Ids
    scored: npt.NDArray[np.bool_]
    """for every target token and the end mark: whether it is to be found (or was given)"""


@dataclass(frozen=True)
class Copy:
    """The source again: `steps` symbols of a few kinds, so that what a symbol is does not tell where it stands."""

    kinds: int = 8

    @property
    def vocab(self) -> int:
        return SPECIALS + self.kinds

    @property
    def chance(self) -> float:
        """The share that is right without looking."""
        return 1 / self.kinds

    def example(self, seed: int, index: int, steps: int) -> Example:
        symbols = _draw(seed, index).integers(SPECIALS, self.vocab, steps).astype(np.int32)
        return Example(symbols, symbols, np.ones(steps + 1, bool))


@dataclass(frozen=True)
class Lookup:
    """Keys of three letters with a digit each, then some of the keys in any order, whose digits are asked for.

    `steps` // 4 entries, whose keys are distinct. Each place of a key has letters of its own: 9 · 9 · 9 keys are enough
    for 2,916 steps. The decoder, not the encoder, is given the keys that are asked for, so that no step of the memory
    can know which of them it will be.
    """

    letters: int = 9
    places: int = 3
    digits: int = 10
    asked: int = 12
    """keys; of a shorter list all, over again"""

    @property
    def vocab(self) -> int:
        return SPECIALS + self.places * self.letters + self.digits

    @property
    def chance(self) -> float:
        return 1 / self.digits

    def example(self, seed: int, index: int, steps: int) -> Example:
        random, entries, keys = _draw(seed, index), max(steps // (self.places + 1), 1), self.letters**self.places
        assert entries <= keys, f"{steps} steps need more keys than the {keys} there are"
        drawn, digits = random.permutation(keys)[:entries], random.integers(0, self.digits, entries)
        places = np.arange(self.places)
        letters = drawn[:, None] // self.letters**places % self.letters + self.letters * places
        listed = np.concatenate([letters, self.letters * self.places + digits[:, None]], 1).astype(np.int32) + SPECIALS
        target = listed[np.resize(random.permutation(entries), self.asked)].ravel()
        return Example(listed.ravel(), target, np.arange(len(target) + 1) % (self.places + 1) == self.places)


Task = Copy | Lookup
TASKS: dict[str, Task] = {"copy": Copy(), "lookup": Lookup()}


class Induction:
    """Keys and values in turn, then the same pairs in another order: the value after a key is to be predicted.

    Each half of the list is shuffled by itself, so that the second coming is `steps` / 4 steps away at least. Recall
    of many associations ("Zoology", Arora et al. 2023, section 3), as one sequence that is read from left to right.
    """

    keys, values = 256, 8
    vocab = keys + values
    chance = 1 / values

    @classmethod
    def example(cls, seed: int, index: int, steps: int) -> Ids:
        """(steps,) ids; every second of the latter half is to be predicted from what comes before it."""
        random, pairs = _draw(seed, index), steps // 4
        assert steps % 8 == 0 and 0 < pairs <= cls.keys, f"{steps}: a multiple of 8, 1024 at most"
        first = np.stack([random.permutation(cls.keys)[:pairs], cls.keys + random.integers(0, cls.values, pairs)], 1)
        half = pairs // 2
        order = np.concatenate([random.permutation(half), half + random.permutation(pairs - half)])
        return np.concatenate([first, first[order]]).ravel().astype(np.int32)


def training_steps(seed: int, update: int, low: int, high: int) -> int:
    """How long an update's examples are: from `low` to `high`, as many from 10 to 20 as from 20 to 40."""
    return round(low * (high / low) ** float(np.random.default_rng([seed, update, 1]).random()))


def batch_of(task: Task, seed: int, indices: Sequence[int], steps: int) -> tuple[Batch, Tensor]:
    """Examples of one length as a batch, and (batch, tgt_len) which tokens are to be found."""
    examples = {index: task.example(seed, index, steps) for index in indices}
    scored = torch.from_numpy(np.stack([example.scored for example in examples.values()]))
    return collate(_Pairs(examples), list(examples)), scored


@dataclass(frozen=True)
class _Pairs:
    examples: dict[int, Example]

    def ids(self, i: int) -> tuple[Ids, Ids]:
        return self.examples[i][:2]


def _draw(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, index])
