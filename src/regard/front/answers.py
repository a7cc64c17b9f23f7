"""Outputs as a list, which a notebook shows with what was looked at."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from regard.picture import MUTED
from regard.predict.prediction import END_MARK, Prediction

SHOWN = 20
"""Rows that a notebook shows; the rest are counted."""
WIDEST = 60
"""Source pieces of which a notebook shows the attention token by token; a longer text is shaded as a whole."""


class Answers(list[str]):
    """The best output of each text. In a notebook each is shown with the attention that it has.

    details   score, log-probability, tokens and attention of each, where they were asked for
    """

    def __init__(
        self, texts: Iterable[str], sources: Sequence[str] = (), details: Sequence[Prediction] | None = None
    ) -> None:
        super().__init__(texts)
        self.sources, self.details = list(sources), None if details is None else list(details)

    def _repr_html_(self) -> str:
        rows = []
        for i, text in enumerate(self[:SHOWN]):
            detail = None if self.details is None else self.details[i]
            source = self.sources[i] if i < len(self.sources) else ""
            looked = html.escape(source) if detail is None else _looked(detail, source)
            rows.append(f"<tr><td>{looked}</td><td><b>{html.escape(text)}</b></td></tr>")
        more = len(self) - SHOWN
        rest = f'<p style="color:{MUTED}">and {more:,} more</p>' if more > 0 else ""
        return f'<table style="text-align:left">{"".join(rows)}</table>{rest}'


def _looked(one: Prediction, source: str) -> str:
    """The source's pieces, as dark as they were looked at; of a short one, a line for each token of the output."""
    if one.attention is None or one.source_tokens is None:
        return html.escape(source)
    weights = one.attention
    pieces = one.source_tokens
    if len(pieces) > WIDEST or len(one.tokens) <= 1:
        return _line(pieces, (weights[: max(1, len(one.tokens))].mean(0)).tolist())
    tokens = [*one.tokens, END_MARK][: len(weights)]
    lines = (
        f'<tr><td style="color:{MUTED}">{html.escape(token)}</td><td>{_line(pieces, row)}</td></tr>'
        for token, row in zip(tokens, weights.tolist(), strict=True)
    )
    return f"<details><summary>{html.escape(source)}</summary><table>{''.join(lines)}</table></details>"


def _line(pieces: Sequence[str], weights: Sequence[float]) -> str:
    most = max(weights) or 1.0
    return " ".join(
        f'<span style="background:rgb(8 48 107 / {0.7 * weight / most:.2f})" title="{100 * weight:.1f} %">'
        f"{html.escape(piece)}</span>"
        for piece, weight in zip(pieces, weights, strict=True)
        if piece != END_MARK
    )
