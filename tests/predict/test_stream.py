"""Chunks of lines, and answers as text, TSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from regard.errors import RegardError
from regard.predict import Predictor
from regard.predict.formats import FORMATS, Extras
from regard.predict.lines import Line
from regard.predict.stream import CHUNK_CHARACTERS, Answer, _chunks, answers

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

LINES = [Line(1, "abc"), Line(2, ""), Line(3, "", "not UTF-8"), Line(4, "x" * 30_000), Line(5, "hg")]


def answered(predictor: Predictor, chunk: int = 2000, **options: object) -> list[Answer]:
    search = predictor.search_config(n_best=2)
    chunks = answers(predictor, iter(LINES), search, where="in.txt", chunk=chunk, **options)  # type: ignore[arg-type]
    return [answer for together in chunks for answer in together]


@pytest.mark.parametrize("chunk", [1, 2, 2000])
def test_an_answer_for_every_line(predictor: Predictor, chunk: int) -> None:
    found = answered(predictor, chunk)
    assert [answer.line for answer in found] == LINES
    assert [answer.outputs[0].text for answer in found] == ["C B A", "", "", "", "G H"]
    assert [answer.problem is None for answer in found] == [True, True, False, False, True]


def test_strict_names_the_line(predictor: Predictor) -> None:
    with pytest.raises(RegardError, match=r"^in\.txt line 3: not UTF-8$"):
        answered(predictor, strict=True)
    with pytest.raises(RegardError, match=r"^in\.txt line 4: 30,000 characters, more than 20,000"):
        list(answers(predictor, LINES[3:], predictor.search_config(), where="in.txt", strict=True))


def test_chunks_are_answered_before_more_is_read(predictor: Predictor) -> None:
    read = 0

    def lines() -> Iterator[Line]:
        nonlocal read
        for number in range(1, 10):
            read = number
            yield Line(number, "abc")

    first = next(answers(predictor, lines(), predictor.search_config(), where="x", chunk=3))
    assert len(first) == read == 3


def test_chunks_are_bounded_in_characters() -> None:
    lines = [Line(number, "x" * (CHUNK_CHARACTERS // 4)) for number in range(10)]
    assert [len(chunk) for chunk in _chunks(lines, 2000)] == [4, 4, 2]


def test_text(predictor: Predictor) -> None:
    assert "".join(FORMATS["text"](one, Extras()) for one in answered(predictor)) == "C B A\n\n\n\nG H\n"


def test_tsv(predictor: Predictor) -> None:
    found = answered(predictor, attention=True)
    text = "".join(FORMATS["tsv"](one, Extras(scores=True, alignments=True)) for one in found)
    rows = [line.split("\t") for line in text.splitlines()]
    assert {len(row) for row in rows} == {8}
    assert [row[:2] for row in rows] == [
        ["1", "1"],
        ["1", "2"],
        ["2", "1"],
        ["3", "1"],
        ["4", "1"],
        ["5", "1"],
        ["5", "2"],
    ]
    best = found[0].outputs[0]
    assert rows[0][2:6] == [f"{best.score:.6f}", f"{best.log_prob:.6f}", "C B A", "C B A"]
    assert [float(value) for value in rows[0][6].split()] == pytest.approx(best.token_log_probs, abs=1e-6)
    assert rows[0][7] == " ".join(f"{s}-{t}" for s, t in best.alignment or [])
    assert rows[3][2:] == rows[4][2:] == [""] * 6
    assert {len(FORMATS["tsv"](one, Extras()).split("\t")) for one in found[1:4]} == {5}


def test_json_lines(predictor: Predictor) -> None:
    found = answered(predictor, attention=True)
    records = [json.loads(FORMATS["jsonl"](one, Extras(scores=True, alignments=True))) for one in found]
    assert [record["line"] for record in records] == [1, 2, 3, 4, 5]
    assert [record["text"] for record in records] == ["C B A", "", "", "", "G H"]
    assert [len(record["outputs"]) for record in records] == [2, 1, 0, 0, 2]
    assert records[2]["problem"] == "not UTF-8" and "problem" not in records[0]
    best = found[0].outputs[0]
    assert records[0]["outputs"][0] == {
        "text": "C B A",
        "score": best.score,
        "log_prob": best.log_prob,
        "probability": best.probability,
        "finished": True,
        "tokens": ["C", "B", "A"],
        "token_log_probs": best.token_log_probs,
        "alignment": [list(pair) for pair in best.alignment or []],
    }
    assert records[0]["source_tokens"] == ["a", "b", "c", "</s>"]
    assert list(json.loads(FORMATS["jsonl"](found[0], Extras()))["outputs"][0]) == [
        "text",
        "score",
        "log_prob",
        "probability",
        "finished",
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_an_output_with_line_ends_stays_on_its_line(form: str) -> None:
    from regard.predict import Prediction

    written = FORMATS[form](Answer(Line(1, "a"), [Prediction(text="a\nb\rc\td")]), Extras())
    assert written.count("\n") == 1 and "\r" not in written and written.endswith("\n")
    assert written.count("\t") == {"tsv": 4, "text": 1, "jsonl": 0}[form]
