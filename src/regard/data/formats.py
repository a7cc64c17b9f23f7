"""One reader per file format: a path and the wanted columns in, rows out.

A row is (line number, fields) with fields = (source, target, further references …), or (line number, `Bad`).
Every reader streams; none holds more than one line, or one batch of Parquet rows.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from regard.data.config import Column, DataConfig
from regard.data.fields import Row, fields, named, need_names, pick
from regard.data.files import MAX_LINE_BYTES, Bad, lines, opened, raw_lines, remedy, said
from regard.errors import RegardError

Reader = Callable[[Path, Sequence[Column], DataConfig], Iterator[Row]]


def read_tsv(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """One row a line, no quoting; named columns mean that the first line is a header."""
    separator, found = data.separator or "\t", lines(path, data.encoding)
    split = ((range(n, n + 1), line if isinstance(line, Bad) else line.split(separator)) for n, line in found)
    name = {"\t": "a tab"}.get(separator, repr(separator))
    return pick(path, split, columns, f"Is the separator {name}? Else set data.separator.")


def read_csv(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """Comma-separated with double quotes, in which line breaks may stand; the number is a row's first line.

    A record that cannot be used counts as many bad lines as it covers: a quotation mark that stands alone takes all
    that follows it, up to the next one. Where the record happens to have the right width, nobody can tell.
    """
    separator = data.separator or ","
    if len(separator) != 1:
        raise RegardError(
            f"data.separator is {separator!r}: a CSV file needs a single character; or set data.format=tsv."
        )
    return pick(
        path,
        _csv_rows(path, separator, data.encoding),
        columns,
        f"Is the separator {separator!r}? Else set data.separator.",
    )


def read_jsonl(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """One JSON object a line; columns are keys, "a.b" is key b of the object under key a."""
    need_names(path, columns)
    for number, line in lines(path):
        if isinstance(line, Bad):
            yield number, line
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Bad(f"not JSON ({error})")
            continue
        yield number, fields(record, columns, data)


def read_parquet(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """Columns by number or name; the number of a row counts from 1."""
    number = 0
    with _parquet_file(path) as file:
        names = file.schema_arrow.names
        wanted = [named(column, names, str(path)) for column in columns]
        top = list(dict.fromkeys(name if name in names else name.split(".")[0] for name in wanted))
        for record in _parquet_records(file, path, top):
            number += 1
            yield number, fields(record, wanted, data)
    if number == 0:
        raise RegardError(f"{path} is empty: it has columns but no rows.")


def parquet_rows(path: Path) -> int:
    """How many rows there are, from the end of the file."""
    with _parquet_file(path) as file:
        return int(file.metadata.num_rows)


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(BytesIO(opened(path).read()) if path.suffix == ".gz" else path)
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        said = " ".join(str(error).split())
        raise RegardError(f"{path} cannot be read as Parquet ({said}): fetch it again or set data.format.") from None


def _parquet_records(file: Any, path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    done = 0
    try:
        for batch in file.iter_batches(batch_size=1024, columns=columns):
            records = batch.to_pylist()
            done += len(records)
            yield from records
    except UnicodeDecodeError as error:
        raise RegardError(f"{path} after row {done}: text that is not UTF-8 ({error}): write the file anew.") from None
    except (pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())
        raise RegardError(f"{path} after row {done}: cannot be read on ({said}): fetch the file again.") from None


def read_dictionary(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """CMUdict's form: `word P H O N E S`, further pronunciations as `word(2)`, `# comment` at the end of a line,
    `;;;` before a comment line. The target is the phones, separated by single spaces."""
    for number, line in lines(path, data.encoding):
        if isinstance(line, Bad):
            yield number, line
            continue
        entry = re.split(r"\s#", line, maxsplit=1)[0].split()
        if not line.strip() or line.startswith((";;;", "# ")):
            continue
        if len(entry) < 2:
            yield number, Bad(f"{line.strip()[:40]!r} has no phones; expected a word and its phones")
            continue
        word = re.sub(r"(?<=.)\(\d+\)$", "", entry[0])
        yield number, (word, " ".join(entry[1:]))


def read_arff(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """Weka's tables: a header of `@attribute NAME TYPE`, then rows with commas between, and text in quotation marks
    with backslashes before what could be mistaken. Sparse rows (`{1 5}`) are not for text."""
    names: list[str] = []
    wanted: list[int] | None = None
    for number, line in lines(path, data.encoding):
        if isinstance(line, Bad):
            yield number, line
        elif not line.strip() or line.startswith("%"):
            continue
        elif wanted is not None:
            yield number, _arff_row(line, wanted, len(names))
        elif line.lower().startswith("@attribute"):
            names.append(_unescaped(_ARFF_NAME.findall(line.split(None, 1)[-1])[0]))
        elif line.lower().startswith("@data"):
            wanted = [names.index(named(column, names, str(path))) for column in columns]
    if wanted is None:
        raise RegardError(f"{path}: no line says @data, so this is no ARFF file: name another one or set data.format.")


def read_ts(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """Series of the UCR and UEA archives: a header of `@…` lines, then a series a line, channels with colons between,
    and the label last. Column 0 is the series, 1 the label; `?` is a missing value."""
    wanted = {0: 0, 1: 1, "series": 0, "label": 1}
    for column in columns:
        if column not in wanted:
            raise RegardError(f"{path}: no column {column!r}; found series (0) and label (1).")
    begun = False
    for number, line in lines(path, data.encoding):
        if isinstance(line, Bad):
            yield number, line
        elif not line.strip() or line.startswith("#"):
            continue
        elif not begun:
            begun = line.strip().lower() == "@data"
        else:
            series, colon, label = line.strip().rpartition(":")
            found = (series, label.strip())
            yield number, tuple(found[wanted[c]] for c in columns) if colon else Bad("no label behind a colon")
    if not begun:
        raise RegardError(f"{path}: no line says @data, so this is no .ts file: name another one or set data.format.")


def read_squad(path: Path, columns: Sequence[Column], data: DataConfig) -> Iterator[Row]:
    """Questions of a file in SQuAD's form, versions 1.1 and 2: columns are `question`, `context`, `answers` (several),
    `title` and `id`. A question without an answer has an empty one. The number of a row counts questions."""
    need_names(path, columns)
    with opened(path) as file:
        try:
            articles = json.load(file)["data"]
            records = [
                {
                    **{key: question[key] for key in ("id", "question")},
                    **{"title": article.get("title", ""), "context": paragraph["context"]},
                    "answers": {
                        "text": [answer["text"] for answer in question["answers"]],
                        "answer_start": [answer.get("answer_start") for answer in question["answers"]],
                    },
                }
                for article in articles
                for paragraph in article["paragraphs"]
                for question in paragraph["qas"]
            ]
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            OSError,
            EOFError,
            zlib.error,
        ) as error:
            said = f"{type(error).__name__}: {error}"[:120]
            raise RegardError(f"{path} is not in SQuAD's form ({said}): expected data, paragraphs, qas.") from None
    for number, record in enumerate(records, start=1):
        yield number, fields(record, columns, data)


def _arff_row(line: str, wanted: list[int], width: int) -> tuple[str, ...] | Bad:
    if line.lstrip().startswith("{"):
        return Bad("a sparse row; expected a value for each attribute, with commas between")
    cells = [cell.strip() for cell in _ARFF_CELLS.findall(line + ",")]
    if len(cells) != width:
        return Bad(f"{len(cells)} columns, expected {width}")
    for cell in (cells[i] for i in wanted):
        if cell == "?" or (cell[:1] in ("'", '"') and _ARFF_QUOTED.fullmatch(cell) is None):
            return Bad("a missing value" if cell == "?" else f"a quotation mark that is not closed: {cell[:40]}")
    return tuple(_unescaped(cells[i]) for i in wanted)


READERS: dict[str, Reader] = {
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "dictionary": read_dictionary,
    "arff": read_arff,
    "squad": read_squad,
    "ts": read_ts,
}

SUFFIXES = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".dict": "dictionary",
    ".arff": "arff",
    ".json": "squad",
    ".ts": "ts",
}


def format_of(path: Path) -> str:
    """The format that the suffix before any .gz stands for."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in SUFFIXES:
        raise RegardError(
            f"{path}: the suffix {suffix!r} names no format; set data.format, one of {', '.join(READERS)}."
        )
    return SUFFIXES[suffix]


def table_format(path: Path, chosen: str) -> str:
    """The format of a table: `data.format`, or, where that is `auto`, by its suffix."""
    return format_of(path) if chosen == "auto" else chosen


def _csv_rows(path: Path, separator: str, encoding: str) -> Iterator[tuple[range, list[str] | Bad]]:
    """The lines that each record covers, and its cells."""

    def text() -> Iterator[str]:
        for _, raw in raw_lines(path):
            # Bytes that are no text travel as surrogates, so that the reader's line numbers stay right
            yield "\udcff" if isinstance(raw, Bad) else raw.decode(encoding, errors="surrogateescape")

    csv.field_size_limit(MAX_LINE_BYTES)
    rows = csv.reader(text(), delimiter=separator, strict=True)  # strict: a quote that is never closed is an error
    while True:
        first = rows.line_num + 1
        row: list[str] | Bad
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            row = Bad(f"not CSV ({error}); is a quotation mark not closed, or not doubled inside quotes?")
        else:
            if any("\udc80" <= character <= "\udcff" for cell in row if not cell.isascii() for character in cell):
                row = Bad(f"not {said(encoding)}, or too long; {remedy(encoding)}")
        yield range(first, rows.line_num + 1), row


_QUOTED = r"'(?:[^'\\]|\\.)*'" + r'|"(?:[^"\\]|\\.)*"'
_ARFF_QUOTED, _ARFF_NAME = re.compile(_QUOTED), re.compile(rf"{_QUOTED}|\S*")
_ARFF_CELLS = re.compile(rf"\s*({_QUOTED}|[^,]*)\s*,")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def _unescaped(cell: str) -> str:
    """What a cell of ARFF says, without its quotation marks."""
    if cell[:1] not in ("'", '"'):
        return cell
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), cell[1:-1])
