"""Answers as lines of text, TSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from regard.predict.prediction import Prediction
from regard.predict.stream import Answer

_ONE_LINE = str.maketrans("\n\r", "  ")
_ONE_CELL = str.maketrans("\n\r\t", "   ")


@dataclass(frozen=True)
class Extras:
    """What is written besides text and scores."""

    scores: bool = False
    """Tokens with their log-probabilities."""
    alignments: bool = False
    """Source-target pairs of tokens."""


def one_line(text: str) -> str:
    """The text without line ends, so that line N stays line N."""
    return text.translate(_ONE_LINE)


def text_lines(answer: Answer, extras: Extras) -> str:
    """The best output, on one line."""
    return one_line(answer.outputs[0].text) + "\n"


def tsv_lines(answer: Answer, extras: Extras) -> str:
    """A row for each output: line, rank, score, log_prob, text, then tokens and token_log_probs (separated by spaces),
    then alignment (0-0 1-2, source first). A refused line has one row with nothing past its rank."""
    rows = []
    for rank, one in enumerate(answer.outputs, start=1):
        numbers = [f"{one.score:.6f}", f"{one.log_prob:.6f}"] if not one.problem else ["", ""]
        row = [str(answer.line.number), str(rank), *numbers, one.text.translate(_ONE_CELL)]
        if extras.scores:
            row += [" ".join(one.tokens), " ".join(f"{value:.6f}" for value in one.token_log_probs)]
        if extras.alignments:
            row.append(" ".join(f"{source}-{target}" for source, target in one.alignment or []))
        rows.append("\t".join(row) + "\n")
    return "".join(rows)


def json_line(answer: Answer, extras: Extras) -> str:
    """An object for each line: line, source, text (of the best output), outputs, and problem where it was refused."""
    best = answer.outputs[0]
    record: dict[str, Any] = {"line": answer.line.number, "source": answer.line.text, "text": best.text}
    if answer.problem:
        record |= {"outputs": [], "problem": answer.problem}
    else:
        record["outputs"] = [_output(one, extras) for one in answer.outputs]
        if extras.alignments:
            record["source_tokens"] = best.source_tokens
    return json.dumps(record, ensure_ascii=False) + "\n"


def _output(one: Prediction, extras: Extras) -> dict[str, Any]:
    """text, score, log_prob, probability, finished; tokens and token_log_probs; alignment."""
    fields: dict[str, Any] = {
        "text": one.text,
        "score": one.score,
        "log_prob": one.log_prob,
        "probability": one.probability,
        "finished": one.finished,
    }
    if extras.scores or extras.alignments:
        fields["tokens"] = one.tokens
    if extras.scores:
        fields["token_log_probs"] = one.token_log_probs
    if extras.alignments:
        fields["alignment"] = one.alignment
    return fields


FORMATS: dict[str, Callable[[Answer, Extras], str]] = {"text": text_lines, "tsv": tsv_lines, "jsonl": json_line}
"""What `--format` may name."""
