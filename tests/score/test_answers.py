"""Exact match and F1 of answers, worked by hand."""

import pytest

from regard.score import METRICS

F1, EM = METRICS["answer_f1"], METRICS["em"]


def test_the_best_of_several_answers_counts():
    """ "the red house": two of its two words, two of three → 4 / 5; against "house" 2 / 3."""
    references = [["red house there", "house"]]
    assert F1().corpus(["the red house"], references) == pytest.approx(100 * 4 / 5)
    assert EM().corpus(["The house!"], references) == 100.0
    assert EM().corpus(["red house"], references) == 0.0


def test_words_are_counted_as_often_as_they_are_there():
    """ "to be to": of three words two are shared with "to to not", which has three."""
    assert F1().corpus(["to be to"], [["to to not"]]) == pytest.approx(100 * 4 / 6)


def test_characters_where_there_are_no_spaces():
    assert F1(characters=True).corpus(["奈良県"], [["奈良"]]) == pytest.approx(100 * 4 / 5)
    assert F1().corpus(["奈良県"], [["奈良"]]) == 0.0
    assert EM().corpus(["「奈良」。"], [["奈良"]]) == 100.0
    assert "unit:character" in F1(characters=True).signature([["a"]])


def test_no_answer_is_right_where_there_is_none():
    for metric in (F1(), EM()):  # by these rules an article alone is nothing
        assert metric.corpus(["", "", "b", "the"], [[""], ["b"], [""], [""]]) == 50.0


def test_it_is_the_mean_over_questions():
    assert F1().corpus(["a cat", "dog"], [["cat"], ["a bird"]]) == 50.0
