"""Text lines from a stream of bytes: one for each line, whatever it holds, in memory that does not grow with it."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from regard.data.files import MAX_LINE_BYTES
from regard.errors import RegardError

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Line:
    """A line without its end, numbered from 1. One that could not be read has no text, but a problem."""

    number: int
    text: str
    problem: str | None = None
    required: tuple[str, ...] = ()
    """what must be in its answer"""


def read_lines(stream: BinaryIO, where: str) -> Iterator[Line]:
    """Lines of UTF-8, plain or gzipped (by what they begin with, so that a pipe may be either).

    A line ends with LF or CR LF and with nothing else; a byte-order mark at the beginning is dropped. Bytes that are
    no UTF-8 and lines of more than MAX_LINE_BYTES become problems.

        for line in read_lines(sys.stdin.buffer, "standard input"): ...
    """
    buffered = cast(
        io.BufferedReader, stream if hasattr(stream, "peek") else io.BufferedReader(cast(io.RawIOBase, stream))
    )
    start = buffered.peek(2)[:2]
    if start in _UTF16:
        raise RegardError(f"{where}: begins like UTF-16; convert it to UTF-8, as with `iconv -f utf-16 -t utf-8`.")
    file = cast(BinaryIO, gzip.GzipFile(fileobj=buffered)) if start == _GZIP else cast(BinaryIO, buffered)
    number = 0
    try:
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            size = len(raw)
            while len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE_BYTES + 1)
                size += len(raw)
            yield _line(number, raw) if size <= MAX_LINE_BYTES else _too_long(number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RegardError(f"{where} line {number + 1}: damaged gzip ({error}); fetch the file again.") from None


def _line(number: int, raw: bytes) -> Line:
    try:
        return Line(number, raw.decode("utf-8").removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError as error:
        found = " ".join(f"{byte:02X}" for byte in raw[error.start : error.end])
        return Line(number, "", f"not UTF-8 at byte {error.start + 1} (found {found}); convert the text to UTF-8.")


def _too_long(number: int) -> Line:
    return Line(number, "", f"more than {MAX_LINE_BYTES:,} bytes; is this text, one sentence a line?")
