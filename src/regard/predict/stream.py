"""Lines in, answers out: a chunk is read, answered and handed on before the next is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.predict.documents import Documents
from regard.predict.lines import Line
from regard.predict.prediction import Prediction
from regard.predict.predictor import BATCH, Predictor

CHUNK = 2000
"""Lines read ahead: enough of every length for full batches."""
CHUNK_CHARACTERS = 2**20
"""Or so many characters, so that memory stays flat for long lines too."""


@dataclass(frozen=True)
class Answer:
    """A line and its outputs, best first. `problem`: why it was refused; its output is empty then."""

    line: Line
    outputs: list[Prediction]

    @property
    def problem(self) -> str | None:
        return self.outputs[0].problem


def answers(
    predictor: Predictor | Documents,
    lines: Iterable[Line],
    search: SearchConfig,
    *,
    where: str,
    chunk: int = CHUNK,
    batch: int = BATCH,
    prefix: str | None = None,
    attention: bool = False,
    strict: bool = False,
    done: Callable[[int], None] | None = None,
) -> Iterator[list[Answer]]:
    """Chunks of answers, one for every line, in order; chunk and batch change no answer.

    strict   stop at the first line that cannot be read or is too long, with `where` and its number
    """
    for together in _chunks(lines, chunk):
        for line in together:
            if strict and line.problem:
                raise RegardError(f"{where} line {line.number}: {line.problem}")
        required = [line.required for line in together]
        found = predictor.predict(
            [line.text for line in together],
            search=search,
            batch=batch,
            prefix=prefix,
            constraints=required if any(required) else None,
            attention=attention,
            strict=strict,
            first=together[0].number - 1,
            name=lambda i, together=together: f"{where} line {together[i].number}",  # type: ignore[misc]
            done=done,
        )
        yield [_answer(line, outputs) for line, outputs in zip(together, found, strict=True)]


def _answer(line: Line, outputs: list[Prediction]) -> Answer:
    return Answer(line, [replace(outputs[0], problem=line.problem)] if line.problem else outputs)


def _chunks(lines: Iterable[Line], most: int) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    characters = 0
    for line in lines:
        chunk.append(line)
        characters += len(line.text)
        if len(chunk) >= most or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
