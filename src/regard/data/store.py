"""Prepared examples on disk: written in a stream, read through memory maps.

A store is a folder:

    pairs.arrow          ids (of series: numbers, step by step) and original texts, Arrow IPC, `ROWS` examples in each
                         record batch but the last
    source_lengths.i32   one int32 per example: tokens without end marks
    target_lengths.i32
    meta.json            counts, and the size of every file, by which a cut-off store is noticed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from regard.data.batches import Batch, Indices, collate
from regard.data.config import BYTES, SPECIALS, TextConfig
from regard.data.places import pointers
from regard.data.read import Example
from regard.data.text import normalize, without_surrogates
from regard.data.tokenizer import UNK, Tokenizer

Ids = npt.NDArray[np.int32]

FORMAT = 1
ROWS = 8192  # 10 million examples are some 1,200 batches: few objects, and little to hold while one is written
SIDES = ("source", "target")
_TEXTS_AT_ONCE = 1000  # the tokenizer's own objects for this many texts are alive together


def _schema(series: bool) -> Any:
    return pa.schema(
        [
            ("source_ids", pa.large_list(pa.float32() if series else pa.int32())),
            ("target_ids", pa.large_list(pa.int32())),
            ("source", pa.large_string()),
            ("targets", pa.list_(pa.large_string())),
        ]
    )


class Pairs:
    """A prepared split, memory-mapped: what is not being looked at takes no memory.

    source_lengths, target_lengths   int32, tokens without end marks
    meta                             lines read, bad lines, examples left out, tokens and byte pieces per side
    """

    def __init__(self, folder: Path, target_config: TextConfig):
        self.folder = folder
        self.meta: dict[str, Any] = read_meta(folder)
        self._target_config = target_config
        self._length = int(self.meta["examples"])
        self._channels: int = self.meta.get("channels", 0)
        self.source_lengths, self.target_lengths = (self._map(side) for side in SIDES)
        self._file = pa.ipc.open_file(pa.memory_map(str(folder / "pairs.arrow")))
        self._chunks: list[_Chunk | None] = [None] * self._file.num_record_batches

    def __len__(self) -> int:
        return self._length

    def ids(self, i: int) -> tuple[Ids, Ids]:
        """Source and target ids of example i, without BOS and EOS: read-only views of the file, not copies. Of
        series, frames (steps, channels) in the place of ids."""
        chunk, row = self._at(i)
        source = chunk.source[chunk.source_offsets[row] : chunk.source_offsets[row + 1]]
        return (
            source.reshape(-1, self._channels) if self._channels else source,
            chunk.target[chunk.target_offsets[row] : chunk.target_offsets[row + 1]],
        )

    def batch(self, indices: Sequence[int] | Indices) -> Batch:
        """These examples, padded."""
        return collate(self, indices)

    def in_epoch(self, epoch: int) -> Pairs:
        """The same in every epoch."""
        return self

    def source_text(self, i: int) -> str:
        """The source as its file has it."""
        return self.original(i)[0]

    def target_texts(self, i: int) -> list[str]:
        """The references of example i, cleaned as the recipe says (lower-casing, `remove`, …), so that they can be
        compared with what the model writes. `original` has them as they were."""
        return [normalize(text, self._target_config) for text in self.original(i)[1]]

    def original(self, i: int) -> tuple[str, list[str]]:
        """Source and references of example i as their file has them."""
        chunk, row = self._at(i)
        return chunk.texts[0][row].as_py(), chunk.texts[1][row].as_py()

    def _map(self, side: str) -> Ids:
        if self._length == 0:
            return np.zeros(0, dtype=np.int32)  # an empty file cannot be mapped
        return np.memmap(self.folder / f"{side}_lengths.i32", dtype=np.int32, mode="r", shape=(self._length,))

    def _at(self, i: int) -> tuple[_Chunk, int]:
        if not -self._length <= i < self._length:
            raise IndexError(f"example {i} of {self._length}")
        number, row = divmod(i % self._length, ROWS)
        chunk = self._chunks[number]
        if chunk is None:
            chunk = self._chunks[number] = _Chunk.of(self._file.get_batch(number))
        return chunk, row


class _Chunk(NamedTuple):
    """Views of one record batch."""

    source: Ids
    source_offsets: npt.NDArray[np.int64]
    target: Ids
    target_offsets: npt.NDArray[np.int64]
    texts: tuple[Any, Any]

    @classmethod
    def of(cls, batch: Any) -> _Chunk:
        source, target = batch[0], batch[1]
        views = [
            a.to_numpy(zero_copy_only=True) for a in (source.values, source.offsets, target.values, target.offsets)
        ]
        return cls(views[0], views[1], views[2], views[3], (batch[2], batch[3]))


@dataclass
class Counts:
    """What was seen while a store was written."""

    examples: int = 0
    too_long: int = 0
    empty: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    byte_pieces: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    left_out_empty: int = 0
    unknown: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    """tokens that the vocabulary lacks (`unknown: hash`)"""
    not_found: int = 0
    """answers that are not in their passage, left out in training"""
    channels: int = 0
    """of series; 0: sources are ids"""
    unwritable: int = 0
    """of the target's those that its source lacks too, which copying cannot write"""


def write_store(
    folder: Path, examples: Iterable[Example], tokenizers: Mapping[str, Tokenizer], max_length: int | None
) -> Counts:
    """Tokenize and write, `ROWS` examples at a time. With a `max_length` (training), examples with a longer side,
    or with a side that cleaning left empty, are left out and counted. `finish` makes the store complete."""
    counts = Counts(channels=tokenizers["source"].channels)
    stream = iter(examples)
    schema = _schema(counts.channels > 0)
    with (
        pa.OSFile(str(folder / "pairs.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, schema) as arrow,
        (folder / "source_lengths.i32").open("wb") as source_lengths,
        (folder / "target_lengths.i32").open("wb") as target_lengths,
    ):
        for rows in _kept(stream, tokenizers, max_length, counts):
            columns = []
            for side, file in zip(SIDES, (source_lengths, target_lengths), strict=True):
                arrays = [row.source if side == "source" else row.target for row in rows]
                lengths = np.array([len(array) for array in arrays], dtype=np.int32)
                file.write(lengths.tobytes())
                values: Ids = np.concatenate([array.reshape(-1) for array in arrays])
                pointing = side == "target" and tokenizers[side].config.pointing  # at steps, which are no pieces
                _count(counts, side, lengths, values, 2**31 if pointing else tokenizers[side].size)
                offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays], dtype=np.int64)])
                columns.append(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)))
            size = tokenizers["target"].size
            if counts.unknown["target"]:
                for row in rows:
                    beyond = row.target[row.target >= size]
                    counts.unwritable += int((~np.isin(beyond, row.source)).sum())
            texts = [without_surrogates(row.example.source) for row in rows]
            targets = [[without_surrogates(text) for text in row.example.targets] for row in rows]
            columns += [pa.array(texts, schema.field("source").type), pa.array(targets, schema.field("targets").type)]
            arrow.write_batch(pa.record_batch(columns, schema=schema))
            counts.examples += len(rows)
    return counts


def finish(folder: Path, meta: dict[str, Any]) -> None:
    """Write meta.json, last, with the sizes of the files; everything is on the disk when this returns."""
    sizes = {}
    for path in sorted(folder.iterdir()):
        with path.open("r+b") as file:  # Windows syncs nothing that is open for reading only
            os.fsync(file.fileno())
        sizes[path.name] = path.stat().st_size
    with (folder / "meta.json").open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **meta, "files": sizes}, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read_meta(folder: Path) -> dict[str, Any]:
    """The contents of meta.json; ValueError or OSError if the store is not whole."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if meta.get("format") != FORMAT:
        raise ValueError(f"{folder} has store format {meta.get('format')}, expected {FORMAT}")
    for name, size in meta["files"].items():
        found = (folder / name).stat().st_size
        if found != size:
            raise ValueError(f"{folder / name} has {found} bytes, expected {size}")
    return meta


class _Row(NamedTuple):
    source: Ids
    target: Ids
    example: Example


def _kept(
    stream: Iterator[Example], tokenizers: Mapping[str, Tokenizer], max_length: int | None, counts: Counts
) -> Iterator[list[_Row]]:
    """Lists of exactly ROWS rows, but for the last."""
    rows: list[_Row] = []
    written = tokenizers["target"].config
    optional, pointing = written.tokenizer == "labels", written.pointing
    while texts := list(islice(stream, _TEXTS_AT_ONCE)):
        sources = tokenizers["source"].encode_arrays([example.source for example in texts])
        targets = _target_arrays(texts, tokenizers)
        for row in map(_Row, sources, targets, texts):
            shortest, longest = sorted((len(row.source), len(row.target)))
            if pointing and not len(row.target):
                counts.not_found += 1
            if max_length is not None and longest > max_length:
                counts.too_long += 1
            elif max_length is not None and pointing and not len(row.target):
                continue
            elif max_length is not None and shortest == 0 and not (optional and len(row.source)):
                counts.left_out_empty += 1
            else:
                rows.append(row)
        if len(rows) >= ROWS:
            yield rows[:ROWS]
            rows = rows[ROWS:]
    if rows:
        yield rows


def _target_arrays(examples: Sequence[Example], tokenizers: Mapping[str, Tokenizer]) -> list[Ids]:
    """Ids of each first reference, which may be a part of its source; nothing for one that is not there."""
    sources, targets = [example.source for example in examples], [example.targets[0] for example in examples]
    return [np.array(ids, dtype=np.int32) for ids in target_ids(tokenizers, sources, targets)]


def target_ids(tokenizers: Mapping[str, Tokenizer], sources: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
    """Ids of what is to be written from each source; nothing for an answer that is not in its passage."""
    read, written = tokenizers["source"], tokenizers["target"]
    if not written.config.pointing:
        return written.encode(targets)
    return [pointers(read, *pair, written.size) or [] for pair in zip(sources, targets, strict=True)]


def _count(counts: Counts, side: str, lengths: Ids, values: Ids, size: int) -> None:
    counts.empty[side] += int((lengths == 0).sum())
    counts.tokens[side] += int(lengths.sum())
    if values.dtype != np.int32:  # numbers, which are no pieces
        return
    counts.byte_pieces[side] += int(((values >= SPECIALS) & (values < SPECIALS + BYTES)).sum())
    counts.unknown[side] += int(((values >= size) | (values == UNK)).sum())
