"""Finding and opening data files, with errors that say where to look."""

from __future__ import annotations

import gzip
import importlib.util
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from regard.errors import RegardError

MAX_LINE_BYTES = 2**20
"""A longer line is bad: no sentence has a mebibyte, and memory stays bounded whatever the file holds."""


class Bad(str):
    """Why a line cannot be used; takes the place of its content."""


def find(name: str, root: str | None, about: object = None) -> Path:
    """The file that a recipe names: below the root, absolute, or inside an installed package ("package:NAME/path").

    about   where the data comes from (title, source, license), for the error of a missing file
    """
    if name.startswith("package:"):
        return _in_package(name)
    base, chosen = _root(root)
    path = base / expanded(name, "the recipe's data")
    if path.is_dir():
        raise RegardError(f"{path} is a folder, expected a file: name a file in it.")
    if not path.exists():
        looked = "" if Path(name).is_absolute() else f" below {base} ({chosen})"
        raise RegardError(
            f"{name}: no such file{looked}; set data.root= or the environment's REGARD_DATA "
            "to the folder that holds it." + describe(about)
        )
    return path


def folder(name: str, root: str | None) -> Path | None:
    """The folder of that name below the root, if there is one."""
    path = _root(root)[0] / expanded(name, "the recipe's data")
    return path if path.is_dir() else None


def members(name: str, root: str | None) -> list[Path] | None:
    """The files of a folder below the root, in order of their names, hidden ones left out; None where it is none."""
    inside = folder(name, root)
    if inside is None:
        return None
    found = sorted(path for path in inside.iterdir() if path.is_file() and not path.name.startswith("."))
    if not found:
        raise RegardError(f"{inside} is a folder without files: expected a text in each.")
    return found


def whole(path: Path, encoding: str) -> str | Bad:
    """The text of a file, its line ends as they are; of at most MAX_LINE_BYTES."""
    with opened(path) as file:
        raw = file.read(MAX_LINE_BYTES + 1)
    if len(raw) > MAX_LINE_BYTES:
        return Bad(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        return Bad(f"not {said(encoding)} at byte {error.start + 1}; {remedy(encoding)}")


def expanded(path: str | Path, named_by: str) -> Path:
    """The path with `~` and `~user` replaced by that user's home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or one without a home
        raise RegardError(f"{named_by}: {path}: that user has no home folder here; write the path out.") from None


def describe(about: object) -> str:
    """ " It is ..., from ..., licence ..." as far as that is known, else nothing."""
    if hasattr(about, "model_dump"):
        about = cast(Any, about).model_dump()
    if not isinstance(about, Mapping):
        return ""
    said = [
        f"{words} {about[key]}"
        for key, words in (("title", "is"), ("source", "comes from"), ("license", "has the licence"))
        if about.get(key)
    ]
    return f" The data {', '.join(said)}." if said else ""


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str | Bad]]:
    """(line number from 1, text without its line end) of a plain or gzipped file; a byte-order mark is dropped. Lines
    end with LF or CR LF and with nothing else, in an encoding that has these bytes for nothing else, as all have but
    UTF-16 and UTF-32."""
    for number, raw in raw_lines(path):
        if isinstance(raw, Bad):
            yield number, raw
            continue
        try:
            yield number, raw.decode(encoding).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            found = " ".join(f"{byte:02X}" for byte in raw[error.start : error.end])
            yield number, Bad(f"not {said(encoding)} at byte {error.start + 1} (found {found}); {remedy(encoding)}")


def said(encoding: str) -> str:
    """Its name, as people write it."""
    return "UTF-8" if encoding == "utf-8" else encoding


def remedy(encoding: str) -> str:
    """What to do about text that is not in it."""
    return "convert the file to UTF-8, or set data.encoding" if encoding == "utf-8" else "is data.encoding right?"


def raw_lines(path: Path) -> Iterator[tuple[int, bytes | Bad]]:
    """Lines as bytes, with their ends; an over-long one is `Bad` and its rest is passed over."""
    with opened(path) as file:
        number = 0
        try:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if len(raw) <= MAX_LINE_BYTES:
                    yield number, raw
                    continue
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(MAX_LINE_BYTES)
                yield number, Bad(f"longer than {MAX_LINE_BYTES} bytes")
        except (OSError, EOFError, zlib.error) as error:
            raise RegardError(f"{path} line {number + 1}: cannot be read on ({error}): fetch the file again.") from None
    if number == 0:
        raise RegardError(f"{path} is empty: expected one example a line; fetch the file again or name another one.")


def opened(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if its name ends in .gz."""
    try:
        return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise RegardError(f"{path} cannot be opened: {error.strerror}.") from None


def _root(root: str | None) -> tuple[Path, str]:
    if root is not None:
        return expanded(root, "data.root"), "data.root"
    if named := os.environ.get("REGARD_DATA"):
        return expanded(named, "REGARD_DATA"), "REGARD_DATA"
    return Path.cwd(), "the current folder, as neither data.root nor REGARD_DATA is set"


def _in_package(name: str) -> Path:
    package, _, rest = name.removeprefix("package:").partition("/")
    try:
        found = importlib.util.find_spec(package)  # finds without running the package's code
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise RegardError(f"{name}: the Python package {package!r} is not installed: run `pip install {package}`.")
    for place in found.submodule_search_locations:
        path = (Path(place) / rest).resolve()
        if path.is_file() and path.is_relative_to(Path(place).resolve()):
            return path
    raise RegardError(
        f"{name}: the installed package {package!r} holds no file {rest!r}: is its version the right one?"
    )
