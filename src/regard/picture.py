"""What all pictures share: a figure without global state, one style, and the same bytes for the same data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from regard.errors import RegardError

FORMATS = (".png", ".svg", ".pdf")
INK, ACCENT, MUTED = "#08306b", "#c1440e", "#9aa5b1"
DPI = 144  # twice the usual 72 points: sharp on a laptop, small as a file

# No date and no program version in the file: the same picture is the same file.
_METADATA = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults, whatever the user's matplotlibrc says; figures are made and saved inside."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "regard", "text.parse_math": False})
        yield


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path, if a picture can be written there; checked before anything is drawn."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise RegardError(
            f"{path}: a picture's name ends in {', '.join(FORMATS)}; found {path.suffix or 'no ending'!r}."
        )
    if not path.parent.is_dir():
        raise RegardError(f"{path}: the folder {path.parent} does not exist; make it first, or choose another place.")
    return path


def save(figure: Figure, path: Path) -> Path:
    """Write the picture whole or not at all: under a temporary name beside it, then renamed."""
    suffix = path.suffix.lower()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(
            temporary, format=suffix[1:], dpi=DPI, bbox_inches="tight", pad_inches=0.15, metadata=_METADATA[suffix]
        )
        os.replace(temporary, path)
    except OSError as error:
        raise RegardError(f"{path}: the picture could not be written ({error.strerror or error}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
