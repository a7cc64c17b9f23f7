"""Lists of texts from what users have: lists, NumPy arrays, pandas columns and frames, `datasets` columns and sets.

A row is a text, or several texts (a lemma and its features, a question and a passage), which become one with tabs
between, as several source columns of a table do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from regard.data.config import MOST_TOKENS
from regard.data.files import MAX_LINE_BYTES
from regard.data.series import Alike, written
from regard.data.text import TAG
from regard.errors import RegardError

NUMBERS = (int, float, np.number, np.bool_)
SHOWN = 40
"""Characters of a wrong value that an error shows."""


def rows_of(values: Any, name: str) -> list[Any]:
    """The rows of a column or table; of a table with one column, that column's.

    name   what to call it in errors: `X`, `y`
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise RegardError(f"{name}: {type(values).__name__}, expected a list, an array, a column or a data frame.")
    columns = _columns(values)
    if columns is not None:
        if not columns:
            raise RegardError(f"{name}: a table without columns.")
        found = [_plain(column) for column in columns]
        return found[0] if len(found) == 1 else [tuple(row) for row in zip(*found, strict=True)]
    found = _plain(values)
    if getattr(values, "ndim", 1) == 2:
        return [row[0] if len(row) == 1 else tuple(row) for row in found]
    return found


def column_of(values: Any, name: str) -> list[Any] | None:
    """A column of a table, or what each of a list of mappings has by this name; None where there is none."""
    names = values if isinstance(values, Mapping) else getattr(values, "column_names", getattr(values, "columns", None))
    if names is not None:
        return _plain(values[name]) if name in list(names) else None
    found = [] if isinstance(values, str | bytes) or not hasattr(values, "__len__") else _plain(values)
    return [row[name] for row in found] if found and all(_has(row, name) for row in found) else None


def _has(row: Any, name: str) -> bool:
    return isinstance(row, Mapping) and name in row


def texts_of(values: Any, name: str) -> list[str]:
    """Each row as one text."""
    return [_text(row, name, i) for i, row in enumerate(rows_of(values, name))]


def series_of(values: Any, name: str) -> list[str] | None:
    """The text of each row where rows are series of numbers, (steps,) or (steps, channels): an array of them, or a
    list of unlike lengths; None where the first row is none. Of each the first MOST_TOKENS steps: no more are read."""
    if isinstance(values, str | bytes) or not hasattr(values, "__len__") or _columns(values) is not None:
        return None
    rows = list(values) if isinstance(values, np.ndarray) else _plain(values)
    if not rows or not _is_series(rows[0]):
        return None
    found, alike = [], Alike()
    for i, row in enumerate(rows):
        try:
            text = written(row[:MOST_TOKENS])
        except (RegardError, TypeError) as error:
            raise RegardError(f"{name}, row {i}: {error}") from None
        if defect := alike.unlike(text.count(":") + 1):
            raise RegardError(f"{name}, row {i}: {defect}")
        if len(text) > MAX_LINE_BYTES:
            raise RegardError(
                f"{name}, row {i}: {len(text):,} characters as a text, and {MAX_LINE_BYTES:,} can be read."
            )
        found.append(text)
    return found


def _is_series(row: Any) -> bool:
    """Whether numbers are in it, or in the first of it."""
    if isinstance(row, np.ndarray):
        return row.ndim in (1, 2) and row.dtype.kind in "biuf"
    return isinstance(row, list | tuple) and bool(row) and (isinstance(row[0], NUMBERS) or _is_series(row[0]))


def same_length(X: Sequence[Any], y: Sequence[Any]) -> None:
    """Refuse two lists that do not go together, and empty ones."""
    if len(X) != len(y):
        raise RegardError(f"X has {len(X):,} rows and y {len(y):,}: give one of y for each of X.")
    if not len(X):
        raise RegardError("X is empty: give a row at least.")


def _columns(values: Any) -> list[Any] | None:
    """Those of a table, None for what is none."""
    if isinstance(values, Mapping):
        return list(values.values())
    names = getattr(values, "column_names", None)  # datasets.Dataset
    if isinstance(names, list):
        return [values[name] for name in names]
    names = getattr(values, "columns", None)  # pandas and its like
    if names is not None and getattr(values, "ndim", 2) == 2:
        return [values[name] for name in names]
    return None


def _plain(column: Any) -> list[Any]:
    for method in ("tolist", "to_list"):
        if hasattr(column, method):
            found: list[Any] = getattr(column, method)()
            return found
    return list(column)


def _text(row: Any, name: str, i: int) -> str:
    if isinstance(row, str):
        return row
    if isinstance(row, Iterable) and not isinstance(row, bytes | Mapping):
        parts = list(row)
        if parts and all(isinstance(part, str) for part in parts):
            return TAG.join(part.replace(TAG, " ") for part in parts)
    found = repr(row)
    shown = found if len(found) <= SHOWN else found[: SHOWN - 1] + "…"
    raise RegardError(f"{name}: row {i} is {type(row).__name__} {shown}, expected a text (or several texts).")
