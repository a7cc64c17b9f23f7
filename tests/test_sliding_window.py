"""The baseline of questions: candidates and choices by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
if not (REPOSITORY / "benchmarks").is_dir():  # in an unpacked sdist
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmarks.sliding_window import Question, answer, distance, english, mecab, runs, sentences, stop_words  # noqa: E402

PASSAGE = "The old dog slept. A young cat, Tom Blue, chased the mouse in Paris!"


def parts(kind: str, without: set[str] | None = None) -> list[str]:
    spans = english(PASSAGE)
    words = [PASSAGE[a:b].lower() for a, b in spans]
    found = sentences(PASSAGE, spans) if kind == "sentences" else runs(PASSAGE, spans, words, without or set())
    return [PASSAGE[spans[a][0] : spans[b - 1][1]] for a, b in found]


def test_candidates() -> None:
    assert parts("sentences") == ["The old dog slept", "A young cat, Tom Blue, chased the mouse in Paris"]
    assert parts("runs", {"the", "a", "in", "chased"}) == ["old dog slept", "young cat", "Tom Blue", "mouse", "Paris"]


def test_the_answer_stands_beside_the_words_of_the_question() -> None:
    question = Question("Who chased the mouse?", PASSAGE, ["Tom Blue"])
    assert answer(question, english, {"the", "a", "in"}, "runs") == "Tom Blue"
    assert answer(question, english, {"the", "a", "in"}, "sentences").endswith("in Paris")
    assert answer(Question("Who?", "", [""]), english, set(), "runs") == ""


def test_distance_is_in_shares_of_the_passage() -> None:
    import numpy as np

    assert distance(np.array([2, 9]), 4, 6, 11) == pytest.approx(2 / 10)
    assert distance(np.array([2, 5]), 4, 6, 11) == pytest.approx(1 / 10)
    assert distance(np.array([], dtype=int), 4, 6, 11) == 1.0


def test_words() -> None:
    assert [PASSAGE[a:b] for a, b in english(PASSAGE)][:3] == ["The", "old", "dog"]
    text = "東京に行く。"
    assert [text[a:b] for a, b in mecab(text)] == ["東京", "に", "行く"]
    assert len(stop_words([PASSAGE], english)) == 13
