"""BPE dropout: in every epoch the same words in other pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from regard.data.batches import Batch, Indices, collate
from regard.data.config import TextConfig
from regard.data.store import SIDES, Ids, Pairs
from regard.data.tokenizer import Tokenizer
from regard.philox import philox

DRAWS = 64
"""Ways to cut a word that are drawn for it; at each place where it stands one of them is chosen. With a tenth of merges
dropped most are the usual one."""
REMEMBERED = 2**19
"""Ways that are kept of a side, over all words: about 200 MB when there are as many."""


def can_be_cut_anew(config: TextConfig) -> bool:
    """Whether texts of these settings are words of merged pieces, and nothing depends on how many there are."""
    return config.tokenizer == "bpe" and not config.parted and config.truncate is None and config.unknown == "spell"


class Cutter:
    """Words in pieces, of which each merge is left out with probability `drop`.

    Provilkov, Emelianenko & Voita 2020, "BPE-dropout: simple and effective subword regularization" (arXiv:1910.13267),
    algorithm 1: from characters on, every merge that is possible somewhere in the word is dropped there for this step
    with probability `drop`, and the first learned of those that are left is made, until none is left. All that is
    random is a function of the seed, the word and the number of the draw.

    >>> Cutter(tokenizer, drop=0.1, seed=1).cut("unrelated", draw=7)
    (311, 402, 288)
    """

    def __init__(self, tokenizer: Tokenizer, drop: float, seed: int) -> None:
        self.tokenizer, self.drop, self.seed = tokenizer, drop, seed
        self.ids, self.ranks = tokenizer.merges()
        self._known: dict[tuple[str, int], tuple[int, ...]] = {}
        self._alike: dict[tuple[int, ...], tuple[int, ...]] = {}

    def encode(self, text: str, choices: npt.NDArray[np.uint64]) -> list[int]:
        """Ids of a text. choices   random numbers, at least as many as it has words"""
        words = self.tokenizer.words(text)
        assert len(words) <= len(choices), f"{len(words)} words and {len(choices)} numbers to choose by"
        chosen = zip(words, choices.tolist(), strict=False)
        return [i for word, choice in chosen for i in self.cut(word, choice % DRAWS)]

    def cut(self, word: str, draw: int) -> tuple[int, ...]:
        """Ids of a word, in the way of this number."""
        found = self._known.get((word, draw))
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
                self._alike.clear()
            found = self._cut(word, draw)
            found = self._known[word, draw] = self._alike.setdefault(found, found)
        return found

    def _cut(self, word: str, draw: int) -> tuple[int, ...]:
        if any(character not in self.ids for character in word):  # bytes are in no merge
            return tuple(self.tokenizer.encode_word(word))
        pieces, random = list(word), _Uniform(self.seed, word, draw)
        while True:
            possible = [
                (self.ranks[pair], place)
                for place, pair in enumerate(pairwise(pieces))
                if pair in self.ranks and random.next() >= self.drop
            ]
            if not possible:
                return tuple(self.ids[piece] for piece in pieces)
            _, place = min(possible)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]


class _Uniform:
    """Numbers in [0, 1), drawn some at a time: the stream of (seed, word, draw)."""

    def __init__(self, seed: int, word: str, draw: int) -> None:
        self._source = philox(seed, f"bpe.word.{word}", draw, len(word))
        self._left: list[int] = []

    def next(self) -> float:
        if not self._left:
            self._left = self._source.random_raw(32).tolist()
        return (self._left.pop() >> 11) * 2.0**-53


class CutAnew:
    """Training pairs whose words are in other pieces in every epoch.

    Batches are planned by the usual lengths, so that they hold as many more tokens as there are more pieces, a quarter
    with a tenth of merges dropped, and sentences of several lengths, which are padded.

    >>> pairs = CutAnew(prepared.train, prepared.tokenizers, drop=0.1, seed=1)
    >>> pairs.in_epoch(3).ids(17)
    """

    def __init__(self, pairs: Pairs, tokenizers: Mapping[str, Tokenizer], *, drop: float, seed: int) -> None:
        self.pairs, self.seed = pairs, seed
        self.source_lengths, self.target_lengths = pairs.source_lengths, pairs.target_lengths
        self.cutters = [
            Cutter(tokenizers[side], drop, seed) if can_be_cut_anew(tokenizers[side].config) else None for side in SIDES
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def source_text(self, i: int) -> str:
        return self.pairs.source_text(i)

    def in_epoch(self, epoch: int) -> Epoch:
        return Epoch(self, epoch)


class Epoch:
    """The pairs as they are cut in one epoch: a function of (seed, epoch, example). It keeps what it was asked for, and
    is for one update."""

    def __init__(self, whole: CutAnew, epoch: int) -> None:
        self.whole, self.epoch = whole, epoch
        self.source_lengths, self.target_lengths = (_Lengths(self, side) for side in range(len(SIDES)))
        self._cut: dict[int, tuple[Ids, Ids]] = {}

    def batch(self, indices: Sequence[int] | Indices) -> Batch:
        """These examples, padded."""
        return collate(self, indices)

    def ids(self, i: int) -> tuple[Ids, Ids]:
        """Source and target ids of example i, without BOS and EOS."""
        found = self._cut.get(i)
        if found is None:
            source, target = self.whole.pairs.ids(i)
            text, references = self.whole.pairs.original(i)
            found = self._cut[i] = (self._side(0, i, text, source), self._side(1, i, references[0], target))
        return found

    def _side(self, side: int, i: int, text: str, usual: Ids) -> Ids:
        cutter = self.whole.cutters[side]
        if cutter is None:
            return usual
        random = philox(self.whole.seed, f"bpe.{SIDES[side]}", self.epoch, i)
        return np.array(cutter.encode(text, random.random_raw(len(usual))), dtype=np.int32)  # a piece or more a word


class _Lengths:
    """Tokens of some examples, of one side, without end marks."""

    def __init__(self, epoch: Epoch, side: int) -> None:
        self.epoch, self.side = epoch, side

    def __getitem__(self, indices: Iterable[Any]) -> Ids:
        return np.array([len(self.epoch.ids(int(i))[self.side]) for i in indices], dtype=np.int32)
