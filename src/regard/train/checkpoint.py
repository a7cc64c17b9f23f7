"""Checkpoints: one folder each, `checkpoint/<update>/`, with state.safetensors and state.json.

The folder appears under its name in one rename, when both files are on the disk, and older ones are removed
only then: whenever the power goes, the newest folder is complete and its two files belong together.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from regard.errors import RegardError
from regard.train.files import (
    FORMAT,
    TEMPORARY,
    check_format,
    digest,
    json_bytes,
    pack,
    read_json,
    unpack,
    write_folder,
)


def save_checkpoint(
    folder: Path, update: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int = 1
) -> Path:
    """Write the checkpoint of `update` into `folder`, then remove all but the newest `keep`."""
    content = pack(tensors)
    record = {"format": FORMAT, "update": update, "sha256": digest(content), **state}
    path = folder / f"{update:08d}"
    write_folder(path, {"state.safetensors": content, "state.json": json_bytes(record)})
    for old in _folders(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint in `folder` as (tensors, state), or None where there is none."""
    found = _folders(folder)
    if not found:
        return None
    path = found[-1]
    try:
        state = read_json(path / "state.json")
        check_format(state.get("format"), path / "state.json")
        tensors = unpack(path / "state.safetensors", [str(state.get("sha256"))])
    except RegardError as error:
        then = "resume from the one before" if len(found) > 1 else "start the run again from its beginning"
        raise RegardError(f"{error} To {then}, remove the folder {path}.") from None
    return tensors, state


def newest_update(folder: Path) -> int | None:
    """The update of the newest checkpoint in `folder`, or None where there is none."""
    found = _folders(folder)
    return int(found[-1].name) if found else None


def clean(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what a killed writer left under the temporary names of files with these names; None: of checkpoints.
    Only the holder of the run's lock may."""
    for name in os.listdir(folder) if folder.is_dir() else ():
        temporary = TEMPORARY.fullmatch(name)
        if temporary and (temporary[1].isdigit() if names is None else temporary[1] in names):
            shutil.rmtree(folder / name, ignore_errors=True)
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)


def _folders(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(folder / name for name in os.listdir(folder) if name.isdigit())
