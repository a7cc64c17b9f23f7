"""From a record, or the cells of a row, to the texts of the columns that are wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from regard.data.config import Column, DataConfig
from regard.data.files import Bad
from regard.data.series import written
from regard.data.text import TAG
from regard.errors import RegardError

Row = tuple[int, tuple[str, ...] | Bad]
"""Its number, and its fields: source, target, further references …"""


def fields(record: Any, columns: Sequence[Column], data: DataConfig) -> tuple[str, ...] | Bad:
    """The wanted texts of one record. A list of texts is, in a target column, several references; in a source column,
    and where targets are labels, one text with tabs between. A label may be a number, true or false; answers may be as
    in SQuAD, texts and where they start; a series may be a list of its steps."""
    found: list[str] = []
    sources, labels = len(data.source_columns()), data.target.labelled
    for position, column in enumerate(columns):
        read, label = _value(record, str(column)), labels and position >= sources
        if position < sources:
            value = _series(read) if data.source.numeric else read
        else:
            value = _label(read) if label else _answers(read, data)
        several = isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
        if isinstance(value, Bad):
            return value
        if several and (label or position < sources):
            found.append(TAG.join(text.replace(TAG, " ") for text in value))
        elif several:
            found += value
        elif isinstance(value, str):
            found.append(value)
        elif value is not None or position <= sources:  # further references may be missing
            return Bad(_no_text(record, column))
    return tuple(found)


def _series(value: Any) -> Any:
    """Of a list of numbers, or of the numbers of each step, the text."""
    try:
        return written(value) if isinstance(value, list) else value
    except RegardError as error:
        return Bad(str(error))


def _answers(value: Any, data: DataConfig) -> Any:
    """Of answers as SQuAD has them the texts; where targets are spans, each with where it starts, behind a tab."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), list):
        return value
    texts, starts = value["text"], value.get("answer_start")
    if not all(isinstance(text, str) for text in texts):
        return value
    if data.target.pointing and isinstance(starts, list) and len(starts) == len(texts):
        pairs = zip(texts, starts, strict=True)
        texts = [f"{text}{TAG}{start}" if isinstance(start, int) else text for text, start in pairs]
    return texts or ""


def _no_text(record: Any, column: Column) -> str:
    """What is in a column instead of text."""
    value, there = _value(record, str(column)), isinstance(record, dict) and column in record
    keys = ", ".join(map(str, record)) if isinstance(record, dict) else type(record).__name__
    what = ("null" if there else "missing") if value is None else f"{type(value).__name__}, expected text"
    return f"column {str(column)!r} is {what} (found: {keys[:80]})"


def _label(value: Any) -> Any:
    """As text: `1`, `true`; of a list, each of its labels."""
    if isinstance(value, list):
        return list(map(_label, value)) or ""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def named(column: Column, names: Sequence[str], where: str) -> str:
    """The name of a column given by number or name."""
    if isinstance(column, int):
        if column >= len(names):
            raise RegardError(
                f"{where} has no column {column}: it has {len(names)}, numbered from 0 ({', '.join(names)})."
            )
        return names[column]
    if column not in names and column.split(".")[0] not in names:
        raise RegardError(
            f"{where} has no column {column!r}; found {', '.join(map(repr, names))}. "
            "Set data.source_column and data.target_column, by name or by number."
        )
    return column


def _value(record: Any, column: str) -> Any:
    if isinstance(record, dict) and column in record:
        return record[column]
    for key in column.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def need_names(path: Path, columns: Sequence[Column]) -> None:
    if any(isinstance(column, int) for column in columns):
        raise RegardError(
            f"{path}: JSON lines have keys, not numbered columns (found {list(columns)}): "
            "set data.source_column and data.target_column to keys."
        )


def pick(
    path: Path, rows: Iterator[tuple[range, list[str] | Bad]], columns: Sequence[Column], hint: str
) -> Iterator[Row]:
    """The wanted columns. A row must have as many as the header, or as the first row with all wanted columns."""
    width: int | None = None
    wanted = [column for column in columns if isinstance(column, int)]
    if not wanted:
        _, header = next(rows)
        if isinstance(header, Bad):
            raise RegardError(f"{path} line 1: the header is {header}.")
        wanted = [header.index(named(column, header, f"{path} line 1")) for column in columns]
        width = len(header)
    for covered, row in rows:
        if isinstance(row, Bad):
            yield from bad_lines(covered, row)
        elif len(row) != width and (width is not None or len(row) <= max(wanted)):
            expected = width or f"at least {max(wanted) + 1}"
            yield from bad_lines(covered, f"{len(row)} column{'s' * (len(row) != 1)}, expected {expected}. {hint}")
        else:
            width = len(row)
            yield covered[0], tuple(row[column] for column in wanted)


def bad_lines(covered: range, reason: str) -> Iterator[tuple[int, Bad]]:
    """Every line of a record that cannot be used, each with the reason."""
    for number in covered:
        yield number, Bad(reason if number == covered[0] else f"in the record from line {covered[0]}: {reason}")
