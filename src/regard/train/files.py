"""Writing files so that a crash, a full disk or a second reader never meets half of one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from regard.errors import RegardError

FORMAT = 1
"""Version of run.json and of checkpoints. Raise it when an older Regard could misread what is written."""

TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")
"""What `temporary_path` makes of a name."""


def temporary_path(path: Path) -> Path:
    """Where a file or folder is written before it gets its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def check_format(found: Any, path: Path) -> None:
    """The reading policy: every format up to ours is read (older ones are upgraded here), newer ones are refused."""
    if not isinstance(found, int) or found < 1:
        raise RegardError(f"{path}: no format version (found {found!r}): this is no file that regard wrote.")
    if found > FORMAT:
        raise RegardError(f"{path}: format {found}, and this Regard reads up to {FORMAT}: update Regard.")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` as a whole: temporary name, fsync, rename. On any failure the old file stays."""
    temporary = temporary_path(path)
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Create folder `path` with these files in one step: it is either absent or complete."""
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, content in files.items():
            write_synced(temporary / name, content)
        sync_folder(temporary)
        if path.exists():  # the same update once more, after resuming from an older checkpoint
            shutil.rmtree(path)
        os.rename(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder (a rename is only then safe from a power cut)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: Path) -> RegardError:
    """The sentence for a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RegardError(f"{path}: no space left on the disk; what was complete is kept: make room, then resume.")
    return RegardError(f"{path}: cannot be written ({error.strerror or error}); what was complete is kept.")


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as a safetensors file. Copies: neither sharing storage nor strides matter."""
    return safetensors.torch.save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()})


def unpack(path: Path, digests: list[str]) -> dict[str, Tensor]:
    """Read a safetensors file, whose SHA-256 must be one of `digests`. Nothing in it can execute."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RegardError(f"{path}: the file is missing: the run has no weights, or they were moved away.") from None
    except OSError as error:
        raise RegardError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if digest(content) not in digests:
        raise RegardError(
            f"{path}: truncated or changed since it was written ({len(content):,} bytes, SHA-256 differs from the "
            f"recorded one): restore the file from a copy, or train again."
        )
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise RegardError(f"{path}: not a safetensors file ({error}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, with one sentence for what can be wrong."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RegardError(f"{path}: the file is missing.") from None
    except OSError as error:
        raise RegardError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise RegardError(f"{path}: not valid JSON ({error}): truncated or changed since it was written.") from None
    if not isinstance(value, dict):
        raise RegardError(f"{path}: a JSON object was expected, found {type(value).__name__}.")
    return value


def json_bytes(value: Any) -> bytes:
    """Readable JSON; floats come back exactly as they were."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
