"""What a decision rests on, as a page: the text, each word as dark as its weight."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regard.errors import RegardError
from regard.picture import INK, MUTED
from regard.train.files import write_bytes

BREAK = "⏎"
"""The piece that ends a sentence or a turn (`Tokenizer.pieces`)."""
LABELLED = 3
"""So many of the likeliest labels are named."""

PAGE = f"""<!doctype html>
<meta charset="utf-8">
<title>{{title}}</title>
<style>
body {{{{ font: 16px/1.7 system-ui, sans-serif; color: #1f2933; max-width: 46rem; }}}}
body {{{{ margin: 2rem auto; padding: 0 1rem; }}}}
h1 {{{{ font-size: 1.1rem; }}}}
table {{{{ border-collapse: collapse; }}}}
td {{{{ padding: .15rem .6rem .15rem 0; vertical-align: top; }}}}
td.share {{{{ min-width: 5.5rem; font-size: .8rem; color: {MUTED}; white-space: nowrap; line-height: 2.1; }}}}
td.share i {{{{ display: inline-block; height: .6rem; background: {INK}; margin-right: .35rem; }}}}
b {{{{ font-weight: inherit; padding: .05rem .1rem; border-radius: .15rem; }}}}
</style>
<h1>{{title}}</h1>
<table>
{{rows}}
</table>
"""


def shaded_text(
    pieces: Sequence[str],
    weights: Sequence[float],
    labels: Sequence[tuple[str, float]],
    path: str | os.PathLike[str],
    *,
    shares: bool = True,
) -> Path:
    """Write the page; returns its path. Sentences are rows, with what share of all weight each has; in them words are
    shaded in proportion to the largest weight, and say their own where the pointer rests.

    pieces    of the source, as `Tokenizer.pieces` has them
    weights   of each piece, in sum at most one
    labels    the likeliest outputs first, with their probabilities
    shares    off: rows are about different things, and each is shaded in proportion to its own largest weight

        shaded_text(["a", "lovely", "film"], [0.1, 0.8, 0.1], [("good", 0.97), ("bad", 0.03)], "review.html")
    """
    path = check_page(path)
    found = np.asarray(weights, dtype=np.float64)
    if len(found) != len(pieces):
        raise RegardError(f"shaded_text: {len(pieces):,} pieces but {len(found):,} weights; give one for each.")
    if not len(found) or not np.isfinite(found).all() or (found < 0).any():
        raise RegardError("shaded_text: weights are numbers of at least 0, and there is at least one.")
    words, rows = not any(piece.startswith("▁") for piece in pieces), []
    for row in _sentences(list(zip(pieces, found.tolist(), strict=True))):
        most = (found.max() if shares else max(weight for _, weight in row)) or 1.0
        shaded = "".join(
            " " * (words or piece.startswith("▁")) + _word(piece.removeprefix("▁"), weight, weight / most)
            for piece, weight in row
            if piece != BREAK
        )
        rows.append(_row(shaded, sum(weight for _, weight in row) if shares else None))
    title = " · ".join(f"{label or 'no label'} {100 * probability:.1f} %" for label, probability in labels[:LABELLED])
    text = PAGE.format(title=html.escape(title), rows="\n".join(rows))
    write_bytes(path, text.encode("utf-8"))
    return path


def _sentences(pieces: Sequence[tuple[str, float]]) -> list[list[tuple[str, float]]]:
    """Up to each break, and what is left after the last."""
    found: list[list[tuple[str, float]]] = [[]]
    for piece in pieces:
        found[-1].append(piece)
        if piece[0] == BREAK:
            found.append([])
    return [row for row in found if row]


def is_page(path: Path) -> bool:
    """Whether a page goes there, rather than a picture."""
    return path.suffix.lower() in (".html", ".htm")


def check_page(path: str | os.PathLike[str]) -> Path:
    """The path, if a page can be written there."""
    path = Path(path)
    if not is_page(path):
        raise RegardError(f"{path}: a page's name ends in .html; found {path.suffix or 'no ending'!r}.")
    if not path.parent.is_dir():
        raise RegardError(f"{path}: the folder {path.parent} does not exist; make it first, or choose another place.")
    return path


def _word(piece: str, weight: float, strength: float) -> str:
    """Shaded by strength, from 0 to 1; light on dark."""
    shade = f"background: rgb(8 48 107 / {0.85 * strength:.3f})" + ("; color: white" if strength > 0.55 else "")
    return f'<b style="{shade}" title="{100 * weight:.2f} %">{html.escape(piece)}</b>'


def _row(words: str, share: float | None) -> str:
    cell = ""
    if share is not None:
        cell = f'<td class="share"><i style="width: {3 * share:.2f}rem"></i>{100 * share:.0f} %</td>'
    return f'<tr>{cell}<td dir="auto">{words}</td></tr>'
