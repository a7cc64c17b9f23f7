"""Attention between source and target as a picture: one row per target piece, one column per source piece."""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from regard.errors import RegardError
from regard.fonts import Lettering, lettering
from regard.picture import INK, check_path, save, style

COLOURS = LinearSegmentedColormap.from_list("regard", ["#ffffff", "#9ecae1", "#2171b5", INK])  # zero is white
CELL_INCHES = 0.30  # a 10-point letter and its gap
SIDE_INCHES = 24.0  # the longer side; beyond 80 pieces cells shrink, so that a PNG stays below 50 MB in memory
LEAST_POINTS = 3.5  # the smallest type that can still be read when the picture is enlarged
LONGEST_PIECE = 24  # characters of a label; a web address must not take half the picture


def attention_picture(
    weights: Any,
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    path: str | os.PathLike[str],
    title: str | None = None,
) -> Path:
    """Draw attention weights as a heat map; PNG, SVG or PDF by the ending of `path`, which is returned.

    The source is on top and reads from left to right in the order the model read it, Arabic too; colours run
    from white, 0, to dark blue, 1. Letters that no installed font has become boxes, with a warning that says
    what to install.

    weights         (tgt_len, src_len), each in [0, 1]: an array or a tensor; several heads: one picture each
    source_pieces   src_len strings, the end-of-sentence piece included if the weights include it
    target_pieces   tgt_len strings, as above

        attention_picture([[0.9, 0.1], [0.2, 0.8]], ["ein", "Hund"], ["a", "dog"], "attention.png")
    """
    path = check_path(path)
    table = _table(weights, source_pieces, target_pieces)
    look = lettering([*source_pieces, *target_pieces, title or ""])
    rows, columns = table.shape
    cell = min(CELL_INCHES, SIDE_INCHES / max(rows, columns))
    width, height = columns * cell, rows * cell
    with style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        # A mesh of cells, not `imshow`: that one works per pixel, four times as long for 200 pieces.
        many = rows * columns > 10_000  # one pixel image inside an SVG or PDF instead of as many paths
        mesh = axes.pcolormesh(
            np.arange(columns + 1) - 0.5,
            np.arange(rows + 1) - 0.5,
            table,
            cmap=COLOURS,
            vmin=0,
            vmax=1,
            rasterized=many,
        )
        axes.invert_yaxis()
        _label(axes, source_pieces, target_pieces, look, cell)
        _lines(axes, rows, columns, cell)
        # The bar is 1 to 3 inches tall and 0.12 wide, at the right of the table's top; axes count in shares.
        tall = min(max(height, 1.0), 3.0)
        bar_axes = figure.add_axes((1 + 0.2 / width, 1 - tall / height, 0.12 / width, tall / height))
        bar = figure.colorbar(mesh, cax=bar_axes, ticks=[0, 0.5, 1])
        bar.ax.tick_params(labelsize=8, length=2)
        bar.outline.set_linewidth(0.4)
        if title:
            letters = max(36, int(width * 72 / 7))  # 11-point letters are about 7 points wide
            text = textwrap.fill(look.label(title), letters)
            axes.set_title(text, fontsize=11, pad=10, loc="left", family=look.families)
        return save(figure, path)


def _table(weights: Any, source_pieces: Sequence[str], target_pieces: Sequence[str]) -> np.ndarray:
    """The weights as (tgt_len, src_len) floats, checked."""
    if hasattr(weights, "detach"):  # a tensor, without importing torch
        weights = weights.detach().cpu().double().numpy()
    table = np.asarray(weights, dtype=np.float64)
    expected = (len(target_pieces), len(source_pieces))
    if table.shape != expected or 0 in expected:
        raise RegardError(
            f"attention picture: weights of shape {table.shape} for {expected[0]} target and {expected[1]} source "
            "pieces; expected one row per target piece and one column per source piece, at least one of each."
        )
    if not (np.isfinite(table).all() and table.min() >= -1e-6 and table.max() <= 1 + 1e-4):  # rounding of float32
        raise RegardError(
            f"attention picture: weights from {table.min():.4g} to {table.max():.4g}; expected numbers in [0, 1]."
        )
    return table


def _label(
    axes: Axes, source_pieces: Sequence[str], target_pieces: Sequence[str], look: Lettering, cell: float
) -> None:
    """Pieces along both sides; where cells are too small for type, every second, third … piece."""
    points = cell * 72
    size = min(10.0, max(LEAST_POINTS, 0.6 * points))
    every = int(np.ceil(LEAST_POINTS * 1.2 / points))
    source = [look.label(piece, LONGEST_PIECE) for piece in source_pieces]
    target = [look.label(piece, LONGEST_PIECE) for piece in target_pieces]
    text: dict[str, Any] = {"fontsize": size, "family": look.families}
    axes.xaxis.tick_top()
    axes.set_xticks(range(0, len(source), every), source[::every], **text)
    wide = [label for label in axes.get_xticklabels() if _columns(label.get_text()) > 2]
    # Letters stand upright, words lean; where nearly all are letters only the others lean (an end of sentence).
    for label in wide if len(wide) <= 2 else axes.get_xticklabels():
        label.set(rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(0, len(target), every), target[::every], **text)
    axes.tick_params(length=0, pad=3)


def _columns(text: str) -> int:
    """Width in Latin letters: a Chinese character is two wide, a combining mark none."""
    wide = {"W": 2, "F": 2}
    return sum(wide.get(unicodedata.east_asian_width(c), 1) for c in text if not unicodedata.combining(c))


def _lines(axes: Axes, rows: int, columns: int, cell: float) -> None:
    """Thin lines between cells, so that a column can be followed; none where cells are only a few points wide."""
    for side in axes.spines.values():
        side.set_linewidth(0.4)
    if cell * 72 >= 6:
        axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color="#e4e7eb", linewidth=0.4)
        axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color="#e4e7eb", linewidth=0.4)
