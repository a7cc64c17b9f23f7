"""Lines from bytes: every line is there, whatever it holds."""

from __future__ import annotations

import gzip
import io
import tracemalloc

import pytest

from regard.data.files import MAX_LINE_BYTES
from regard.errors import RegardError
from regard.predict.lines import Line, read_lines


def read(content: bytes) -> list[Line]:
    return list(read_lines(io.BytesIO(content), "x.txt"))


def test_ends_of_lines() -> None:
    texts = "a\r\n\n\u2028b\x85c\x0b\rd\ne"  # LF and CR LF end a line; what Python calls line ends does not
    assert [line.text for line in read(texts.encode())] == ["a", "", "\u2028b\x85c\x0b\rd", "e"]
    assert read(b"") == []
    assert read(b"\n") == [Line(1, "")]
    assert read(b"\xef\xbb\xbfa\n\xef\xbb\xbfb") == [Line(1, "a"), Line(2, "\ufeffb")]  # only the first is a mark


def test_gzip_is_seen_by_its_bytes() -> None:
    packed = gzip.compress("ä\nb\n".encode())
    assert [line.text for line in read(packed)] == ["ä", "b"]
    with pytest.raises(RegardError, match=r"^x\.txt line \d: damaged gzip"):
        read(packed[:-9])


def test_bytes_that_are_no_text() -> None:
    one, two, three = read(b"a\nb\xff\xfec\nd\n")
    assert (one, three) == (Line(1, "a"), Line(3, "d"))
    assert two == Line(2, "", "not UTF-8 at byte 2 (found FF); convert the text to UTF-8.")
    with pytest.raises(RegardError, match=r"^x\.txt: begins like UTF-16; convert it to UTF-8"):
        read("abc".encode("utf-16"))


@pytest.mark.parametrize("size", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES + 5])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nnext"])
def test_a_line_beyond_the_limit_is_one_line(size: int, end: bytes) -> None:
    first, *rest = read(b"x" * size + end)
    assert (first.problem is None) == (size + (end != b"") <= MAX_LINE_BYTES)
    assert len(first.text) == (size if first.problem is None else 0)
    assert rest == ([Line(2, "next")] if end == b"\nnext" else [])


def test_a_line_without_end_takes_no_memory() -> None:
    class Endless(io.RawIOBase):
        """64 MiB of letters and no line end."""

        left = 2**26

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
            count = min(len(buffer), self.left)
            buffer[:count] = b"x" * count
            self.left -= count
            return count

    tracemalloc.start()
    [line] = read_lines(io.BufferedReader(Endless()), "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert line.problem == "more than 1,048,576 bytes; is this text, one sentence a line?"
    assert peak < 8 * MAX_LINE_BYTES
