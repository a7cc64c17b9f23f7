"""ROUGE against the rouge-score package on English, and over words of other scripts."""

from __future__ import annotations

import pytest
from rouge_score.rouge_scorer import RougeScorer

from regard.score import METRICS

HYPOTHESES = [
    "Re: gas pricing meetings for Dec. 3",
    "the the cat",
    "",
    "EnronOnline_desk e-mail: update!",
    "running late",
]
REFERENCES = [
    ["Gas Pricing Meeting (Dec 3)"],
    ["the cat the dog", "a cat"],
    ["nothing"],
    ["e-mail update from the EnronOnline desk"],
    ["late runs", "ran late"],
]


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize(("name", "kind"), [("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougel", "rougeL")])
def test_english_scores_are_those_of_rouge_score(name: str, kind: str, stem: bool) -> None:
    scorer = RougeScorer([kind], use_stemmer=stem)
    pairs = zip(REFERENCES, HYPOTHESES, strict=True)
    expected = [scorer.score_multi(several, one)[kind].fmeasure for several, one in pairs]
    rows = METRICS[name](stem=stem).statistics(HYPOTHESES, REFERENCES)
    assert rows.tolist() == [[each, 1.0] for each in expected]
    assert METRICS[name](stem=stem).corpus(HYPOTHESES, REFERENCES) == pytest.approx(100 * sum(expected) / 5)


def test_by_hand() -> None:
    # "the the cat" and "the cat the dog": three words in common of 3 and 4, one pair of 2 and 3, "the cat" in a row
    one, two, longest = (
        METRICS[name]().corpus(["the the cat"], [["the cat the dog"]]) for name in METRICS if "rouge" in name
    )
    assert one == pytest.approx(100 * 2 * 3 / (3 + 4))
    assert two == pytest.approx(100 * 2 * 1 / (2 + 3))
    assert longest == pytest.approx(100 * 2 * 2 / (3 + 4))


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        ("наш большой дом", "дом наш", 100 * 2 * 2 / 5),  # Cyrillic words
        ("नमस्ते दुनिया", "नमस्ते", 100 * 2 * 1 / 3),  # marks belong to their letters
        ("東京都", "京都", 100 * 2 * 2 / 5),  # characters, where no spaces are put
        ("東京 2020", "東京、2020!", 100.0),
    ],
)
def test_words_of_every_script(output: str, reference: str, expected: float) -> None:
    assert METRICS["rouge1"]().corpus([output], [[reference]]) == pytest.approx(expected)
    assert "words:unicode" in METRICS["rouge1"]().signature([[reference]])
