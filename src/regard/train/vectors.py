"""Pretrained word vectors in word2vec's text format: a line `count dim`, then `word x x x …` lines.

The file is read as a stream: only the vectors of pieces in the vocabulary are kept.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from regard.data.tokenizer import RESERVED, Tokenizer
from regard.errors import RegardError
from regard.train.start import TABLES

MAX_LINE = 1 << 20
"""Longest line that is read, in bytes: 4,000 numbers and any word fit 100 times."""


def use_vectors(model: nn.Module, side: str, path: str, tokenizer: Tokenizer) -> dict[str, float]:
    """Start one side's embedding table from a file; returns how many pieces it covers.

    The vectors are scaled by one number so that their mean length is that of the table's first values; pieces
    that the file lacks keep those. A piece that begins a word is looked up with its `▁`, then without.
    """
    table = model.get_parameter(TABLES[side])
    names = _names(tokenizer)
    found = read_vectors(Path(path), {name for either in names.values() for name in either}, table.shape[1])
    best = {row: found[name] for row, either in names.items() for name in reversed(either) if name in found}
    if not best:
        raise RegardError(f"{path}: no vector for any of the {len(names):,} pieces of the {side} vocabulary.")
    _fill(table, torch.tensor(list(best)), torch.from_numpy(np.stack(list(best.values()))).to(table))
    return {"pieces": len(names), "covered": len(best)}


@torch.no_grad()
def _fill(table: Tensor, ids: Tensor, values: Tensor) -> None:
    length = values.norm(dim=1).mean().clamp_min(1e-12)
    table[ids] = values * (table[ids].norm(dim=1).mean() / length)


def check_vectors(path: Path, dim: int) -> None:
    """Refuse a file that cannot be read, or whose vectors have another size; its first line tells."""
    with contextlib.closing(_lines(path)) as lines:
        _header(path, next(lines, ""), dim)


def read_vectors(path: Path, words: set[str], dim: int) -> dict[str, np.ndarray]:
    """The vectors of those `words` that the file has; of two lines for a word the first counts."""
    found: dict[str, np.ndarray] = {}
    lines = _lines(path)
    count = _header(path, next(lines, ""), dim)
    number = 1
    for number, line in enumerate(lines, start=2):
        word, *numbers = line.rstrip(" ").rsplit(" ", dim)
        if len(numbers) != dim:
            raise RegardError(
                f"{path} line {number}: {len(numbers)} numbers, expected {dim} after the word: mend or remove the line."
            )
        if word in words and word not in found:
            try:
                vector = np.array([float(x) for x in numbers], dtype=np.float32)
            except ValueError as error:
                raise RegardError(f"{path} line {number}: {error}: mend or remove the line.") from None
            if not np.isfinite(vector).all():
                raise RegardError(f"{path} line {number}: a number that is not finite: mend or remove the line.")
            found[word] = vector
    if number - 1 != count:
        raise RegardError(f"{path} line 1: {count:,} words announced, {number - 1:,} found: is the file complete?")
    return found


def _header(path: Path, line: str, dim: int) -> int:
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise RegardError(
            f"{path} line 1: expected two numbers, how many words and their size, found {line[:40]!r}: vectors "
            f"without that line (GloVe's) need it added."
        )
    if int(parts[1]) != dim:
        size = parts[1]
        raise RegardError(f"{path} line 1: vectors of size {size}, the model has {dim}: set model.embed={size}.")
    return int(parts[0])


def _lines(path: Path) -> Generator[str]:
    """Lines as text, also of a .gz file."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            while raw := file.readline(MAX_LINE + 1):
                number += 1
                if len(raw) > MAX_LINE:
                    raise RegardError(f"{path} line {number}: longer than {MAX_LINE:,} bytes: is this a text file?")
                yield raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise RegardError(
            f"{path} line {number}: not UTF-8 (byte {error.start}): is this word2vec's binary format?"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RegardError(f"{path}: damaged after line {number:,} ({error}): fetch or pack the file again.") from None
    except OSError as error:
        raise RegardError(f"{path}: cannot be read ({error}); set train.pretrained to an existing file.") from None


def _names(tokenizer: Tokenizer) -> dict[int, list[str]]:
    """What each learned piece may be called in a file of vectors, likelier names first."""
    names = {}
    for row in range(len(RESERVED), tokenizer.size):
        (piece,) = tokenizer.pieces([row])
        names[row] = [piece, piece.removeprefix("▁")] if piece != "▁" else [piece]
    return names
