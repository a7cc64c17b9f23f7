"""Which labels are taken for which: a table of counts as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from regard.errors import RegardError
from regard.explain.attention_picture import COLOURS, LONGEST_PIECE
from regard.fonts import lettering
from regard.picture import INK, check_path, save, style

CELL_INCHES = 0.62
MOST_LABELS = 60
"""More do not fit on a page: the most frequent ones are drawn, and the others counted together."""
OTHERS = "others"


def confusion_picture(outputs: Sequence[str], references: Sequence[str], path: str | os.PathLike[str]) -> Path:
    """Draw how often each label, a row, was answered by each, a column; PNG, SVG or PDF by the ending of `path`.

    Colours are shares of a row, so that a rare label is as readable as a frequent one; numbers are counts. On the
    diagonal is what is right. A set of labels is one label here.

        confusion_picture(["good", "bad", "bad"], ["good", "good", "bad"], "confusion.png")
    """
    path = check_path(path)
    labels, table = confusion(outputs, references)
    look = lettering(labels)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    size = len(labels) * CELL_INCHES
    with style():
        figure = Figure(figsize=(size, size))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.pcolormesh(shares, cmap=COLOURS, vmin=0.0, vmax=1.0, edgecolors="#e4e7eb", linewidth=0.4)
        for (row, column), count in np.ndenumerate(table):
            colour = "white" if shares[row, column] > 0.5 else INK
            if count:
                axes.text(column + 0.5, row + 0.5, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
        middles = np.arange(len(labels)) + 0.5
        shown = [look.label(label, LONGEST_PIECE) for label in labels]
        axes.set_xticks(middles, shown, rotation=90 if max(map(len, shown)) > 5 else 0, family=look.families)
        axes.set_yticks(middles, shown, family=look.families)
        axes.set_ylim(len(labels), 0)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_xlabel("answered", labelpad=8)
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("is", labelpad=8)
        for side in axes.spines.values():
            side.set_visible(False)
        return save(figure, path)


def confusion(outputs: Sequence[str], references: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Labels in order, and how often each reference (row) had each output (column)."""
    if len(outputs) != len(references) or not outputs:
        raise RegardError(
            f"confusion: {len(outputs):,} outputs and {len(references):,} references; give as many, and one at least."
        )
    names, counts = np.unique([_name(text) for text in (*outputs, *references)], return_counts=True)
    kept = sorted(names[np.argsort(-counts, kind="stable")][:MOST_LABELS].tolist(), key=_order)
    labels = kept + [OTHERS] * (len(names) > len(kept))
    place = {label: i for i, label in enumerate(kept)}
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for output, reference in zip(outputs, references, strict=True):
        row, column = (place.get(_name(text), len(kept)) for text in (reference, output))
        table[row, column] += 1
    return labels, table


def _name(text: str) -> str:
    return text.replace("\t", ", ") or "none"


def _order(label: str) -> tuple[float, str]:
    """Numbers as numbers, before words."""
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
