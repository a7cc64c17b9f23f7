"""What the data of a run was, so that resuming on other data is refused: hashes of all that training and validation
see, ids and texts.

The store is read as a stream through its memory map: a gigabyte takes a second or two and no memory of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from regard.data.store import Pairs
from regard.errors import RegardError


def data_fingerprint(prepared: Any) -> dict[str, str]:
    """SHA-256 of the content of each part of prepared data."""
    tokenizers = hashlib.sha256()
    for side in sorted(prepared.tokenizers):
        tokenizers.update(prepared.tokenizers[side].to_json().encode())
    return {
        "train": pairs_digest(prepared.train),
        "valid": pairs_digest(prepared.valid),
        "tokenizers": tokenizers.hexdigest(),
    }


def check_data(known: dict[str, str] | None, found: dict[str, str], run: object) -> None:
    """Refuse data that is not what the run was begun with. `known` is what run.json says: None in a new run."""
    words = {"train": "the training data", "valid": "the validation data", "tokenizers": "the tokenizer"}
    changed = [words[part] for part in words if known and known.get(part) != found[part]]
    if changed:
        are = "is" if len(changed) == 1 else "are"
        raise RegardError(
            f"{run}: {' and '.join(changed)} {are} not what this run was begun with: restore the files, or choose "
            f"another run folder."
        )


def pairs_digest(pairs: Pairs) -> str:
    """SHA-256 of ids and texts, whatever version of Arrow wrote them and however it pads."""
    digest = hashlib.sha256(str(len(pairs)).encode())
    with pa.memory_map(str(pairs.folder / "pairs.arrow")) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            for column in reader.get_batch(number).columns:
                for content in _contents(column):
                    digest.update(content)
    return digest.hexdigest()


def _contents(array: Any) -> Iterator[Any]:
    """The bytes of a list or text column: its lengths, level by level, then its values."""
    while not pa.types.is_primitive(array.type):
        wide = pa.types.is_large_list(array.type) or pa.types.is_large_string(array.type)
        offsets = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32)
        offsets = offsets[array.offset : array.offset + len(array) + 1]
        yield np.diff(offsets).astype(np.int32)
        if pa.types.is_large_string(array.type) or pa.types.is_string(array.type):
            values = array.buffers()[2]
            if values is not None:
                yield memoryview(values)[int(offsets[0]) : int(offsets[-1])]
            return
        array = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    yield array.to_numpy(zero_copy_only=True)
