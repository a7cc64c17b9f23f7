"""Multi30k German to English as piece ids, the same for every racer, and the batches they train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regard.data.config import SPECIALS, TextConfig
from regard.data.files import find, lines
from regard.data.tokenizer import Tokenizer

NAMES = {"src": "de", "tgt": "en"}
VOCAB = 8000
TEST = "test_2016_flickr"


def export(folder: Path, root: str | None = None, sentences: int | None = None) -> dict[str, int]:
    """Write `train.src`, `train.tgt`, `test.src` and `pieces.json`: lower-cased text in pieces of a BPE for each
    language, which is learnt here. Returns the number of pieces of each side."""
    pieces: dict[str, int] = {}
    for side, language in NAMES.items():
        train = read(f"multi30k/tok/train.lc.norm.tok.{language}.gz", root)
        tokenizer = Tokenizer.train(train, TextConfig(tokenizer="bpe", vocab=VOCAB))
        pieces[side] = tokenizer.size - SPECIALS
        write(folder / f"train.{side}", tokenizer.encode(train[:sentences]))
        if side == "src":
            test = read(f"multi30k/tok/{TEST}.lc.norm.tok.{language}.gz", root)
            write(folder / "test.src", tokenizer.encode(test))
    (folder / "pieces.json").write_text(json.dumps(pieces), encoding="ascii")
    return pieces


def read(name: str, root: str | None) -> list[str]:
    return [str(text) for _, text in lines(find(name, root))]


def write(path: Path, rows: Sequence[Sequence[int]]) -> None:
    """A line for each sentence. Pieces count from 0 there: each racer has marks of its own."""
    text = "".join(" ".join(str(piece - SPECIALS) for piece in row) + "\n" for row in rows)
    path.write_text(text, encoding="ascii")


Lengths = Sequence[int]


def sorted_batches(source: Lengths, target: Lengths, sentences: int) -> list[list[int]]:
    """Full batches of sentences of nearly one length, short ones first: sorted by source, then target length."""
    order = np.lexsort((target, source))
    return [order[i : i + sentences].tolist() for i in range(0, len(order) - sentences + 1, sentences)]


def random_batches(source: Lengths, target: Lengths, sentences: int) -> list[list[int]]:
    """Full batches of sentences as a shuffle brings them; lengths do not matter."""
    order = np.random.default_rng(1).permutation(len(source))
    return [order[i : i + sentences].tolist() for i in range(0, len(order) - sentences + 1, sentences)]


BATCHES = {"sorted": sorted_batches, "random": random_batches}


def spread(batches: Sequence[list[int]], count: int, seed: int = 1) -> list[list[int]]:
    """`count` batches evenly from all of them, in random order, such that their lengths are those of the whole set."""
    if count > len(batches):
        raise ValueError(f"{count} batches asked for, there are {len(batches)}")
    chosen = [batches[int((i + 0.5) * len(batches) / count)] for i in range(count)]
    return [chosen[i] for i in np.random.default_rng(seed).permutation(count)]


def largest(batches: Sequence[list[int]], lengths: Sequence[Lengths]) -> list[int]:
    """The batch that takes the most memory: sentences × their longest source and target."""
    return max(batches, key=lambda batch: len(batch) * sum(max(side[row] for row in batch) for side in lengths))


def padding(batches: Sequence[Sequence[int]], lengths: Lengths) -> float:
    """Share of the computed positions that are padding; lengths with the end mark."""
    sizes = [[lengths[row] + 1 for row in batch] for batch in batches]
    computed = sum(max(size) * len(size) for size in sizes)
    return 1 - sum(map(sum, sizes)) / computed
