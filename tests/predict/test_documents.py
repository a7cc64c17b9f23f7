"""Texts of several sentences, and what is in them that no model should read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.cli import main
from regard.data.config import TextConfig
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError
from regard.predict.documents import Documents, together
from regard.predict.markup import MARK, UNITS, put, take
from regard.predict.prediction import Prediction
from regard.predict.predictor import Predictor


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<b>Der Hund</b> grüßt {name}.", "Der Hund grüßt ."),
        ("%(count)d von %s, ${x} {{ y }} %1$s: 50 % an a.b@c.de", " von ,   : 50 % an "),
        ("%.2f %-10s %ld %@ %1$@ 5% der", "     5% der"),
        ("Hallo<br>Welt<p>zwei</p><p>drei</p> a{x}{y}b", "Hallo Welt zwei drei a b"),
        ("W<b>o</b>rt<i></i><br/>, ja", "Wort, ja"),
        ("我{x}来到<br/>北京", "我来到北京"),
        ("sieh <a href='http://x.y'>hier</a> (https://x.y/z?a=1).", "sieh hier ()."),
        ("3 < 4 und 5 > 4", "3 < 4 und 5 > 4"),
        ("vor{x}nach <!-- weg --><br/>", "vor nach "),
    ],
)
def test_what_is_taken_out(text: str, plain: str) -> None:
    assert take(text)[0] == plain


@pytest.mark.parametrize(
    ("text", "answer", "where", "whole"),
    [
        ("<b>Der Hund</b> grüßt {name}.", "The dog greets.", [0, 1, 2, 3], "<b>The dog</b> greets {name}."),
        ("Hallo {name}, wie geht es?", "Hello, how is it?", [0, 1, 2, 4, 3, 5], "Hello {name}, how is it?"),
        ("<i>a <b>b</b></i> c", "c b a", [2, 1, 0], "c <i><b>b</b> a</i>"),  # the order of words changes
        ("<b>a</b> <i>b</i>", "b1 a b2", [1, 0, 1], "<i>b1 a b2</i><b></b>"),  # no tag reaches into another
        ("a <b>b</b> c", "a c", [0, 2], "a<b></b> c"),  # nothing came from between the two
        ("{a} und {b}", "and", [0], "{a} and {b}"),
        ("a <p>b <b>c</p> d</b>", "a b c d", [0, 1, 2, 3], "a <p>b <b> c</p> d</b>"),  # crossed in the source
        ("zu </p> a<br/>", "a", [1], "</p> a<br/>"),
        ("a {x}", "", [], "{x}"),
        ("a b", "x", [None], "x"),
        ("Press <b>OK</b>.", "OKを押して。", [1, 0, 0, 0, 0, 2], "<b>OK</b>を押して。"),
        ("我<b>来到</b>{x}北京。", "I came to Beijing.", [0, 1, 2, 3, 5], "I <b>came to</b>{x} Beijing."),
    ],
)
def test_where_marks_are_put(text: str, answer: str, where: list[int | None], whole: str) -> None:
    assert put(answer, take(text)[1], where) == whole


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_mark_is_there_once_and_pairs_stay_pairs(data: st.DataObject) -> None:
    pieces = st.lists(st.sampled_from(["<b>", "</b>", "<i>", "</i>", "<br/>", "{x}", "%s", "a", "bc", ",", " "]))
    text, answer = "".join(data.draw(pieces)), " ".join(data.draw(st.lists(st.sampled_from(["x", "y,", "z"]))))
    plain, marks = take(text)
    source, target = len(UNITS.findall(plain)), len(UNITS.findall(answer))
    units = st.none() | st.integers(0, source - 1) if source else st.none()
    whole = put(answer, marks, data.draw(st.lists(units, min_size=target, max_size=target)))
    assert sorted(match[0] for match in MARK.finditer(whole)) == sorted(match[0] for match in MARK.finditer(text))
    assert "".join(MARK.sub("", whole).split()) == "".join(answer.split())  # what was said is as it was
    nested = re.sub(r"[^<>/bi]|<br/>", "", "".join(match[0] for match in MARK.finditer(whole)))
    if _balanced(re.sub(r"[^<>/bi]|<br/>", "", "".join(match[0] for match in MARK.finditer(text)))):
        assert _balanced(nested)


def test_many_marks_and_deep_ones() -> None:
    plain, marks = take("<b>" * 3000 + "a" + "</b>" * 3000)
    whole = put("a", marks, [0])
    assert plain == "a" and whole.count("<b>") == whole.count("</b>") == 3000
    assert take("ab<br/>" * 20_000)[0] == " ".join(["ab"] * 20_000)  # minutes, if a mark cost the text before it


def _balanced(tags: str) -> bool:
    while (fewer := tags.replace("<b></b>", "").replace("<i></i>", "")) != tags:
        tags = fewer
    return not tags


def test_sentences_are_answered_one_by_one_and_lines_stay_lines(predictor: Predictor) -> None:
    documents = Documents(predictor, sentences="en")
    texts = ["Abc. Cab!", "", "abc", "  "]
    found = [one.text for [one] in documents.predict(texts)]
    first, second = predictor(["Abc.", "Cab!"])
    assert found == [f"{first} {second}".strip(), "", predictor(["abc"])[0], ""]
    assert found == [one.text for text in texts for [one] in documents.predict([text], batch=1)]


class Letters:
    """A task whose outputs are letters, and a tokenizer for both sides."""

    def __init__(self, **config: Any) -> None:
        self.recipe = None
        given = {"tokenizer": "char", "vocab": 400, **config}
        tokenizer = Tokenizer.train(["der Hund bellt laut. the dog barks [12]…"], TextConfig.model_validate(given))
        self.tokenizers = {"source": tokenizer, "target": tokenizer}
        self.task = self

    def finish(self, ids: Any, tokenizers: Any, unnamed: Any) -> str:
        return tokenizers["target"].decode(ids, unnamed)


@pytest.mark.parametrize(
    ("config", "sentence", "where"),
    [
        ({}, "der Hund bellt laut.", [0, 1, 2, 3, 4]),
        ({"stop_words": ["der"]}, "der Hund bellt laut.", [1, 2, 3, 4]),
        ({"remove": r"\[[0-9]+\]"}, "der [12] Hund bellt laut.", [0, 4, 5, 6, 7]),
        ({"normalize": "NFKC"}, "der … Hund", [0, 1, 1, 1, 2]),
        ({"lowercase": True}, "Der Hund", [0, 1]),
    ],
)
def test_units_of_an_answer_come_from_units_of_the_text_as_it_is_written(
    config: dict[str, Any], sentence: str, where: list[int]
) -> None:
    """The answer is what the model reads, and each letter looks at itself."""
    letters = Letters(**config)
    [ids] = letters.tokenizers["source"].encode([sentence])
    text = letters.tokenizers["source"].decode(ids)
    output = Prediction(text=text, ids=ids, attention=torch.eye(len(ids) + 1))
    found = Documents(letters)._where(sentence, UNITS.findall(sentence), output)  # type: ignore[arg-type]
    assert found == where


def test_no_space_between_sentences_of_scripts_without() -> None:
    assert together(["a.", "", "b."]) == "a. b." and together(["東京です。", "行く。"]) == "東京です。行く。"
    assert together(["東京", "b"]) == "東京b"


def test_marks_go_past_the_model(predictor: Predictor) -> None:
    documents = Documents(predictor, markup=True)
    [[plain], [marked], [only]] = documents.predict(["abc", "<b>abc</b>", "<br/>{x}"])
    assert plain.text == predictor(["abc"])[0] and marked.text == f"<b>{plain.text}</b>" and only.text == "<br/>{x}"


def test_a_sentence_that_is_too_long_is_named(predictor: Predictor) -> None:
    documents = Documents(predictor, sentences="en")
    texts = ["Abc! " + "B" * 30_000, "abc"]
    [[refused], [other]] = documents.predict(texts)
    assert refused.text == "" and str(refused.problem).startswith("sentence 2: 30,000 characters") and other.text
    with pytest.raises(RegardError, match=r"line 1: sentence 2: 30,000 characters"):
        documents.predict(texts, strict=True, name=lambda i: f"line {i + 1}")
    with pytest.raises(RegardError, match="--sentences english: give a language by its ISO 639 code"):
        Documents(predictor, sentences="english")
    with pytest.raises(RegardError, match="greedy or beam search"):
        documents.predict(["abc"], method="sample")


def test_command_line(toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.txt").write_text("Abc. <b>Cab</b>\n\n{x}\n", encoding="utf-8")
    given = ["predict", str(toy_run), "--input", str(tmp_path / "in.txt"), "--device", "cpu", "--threads", "1"]
    with pytest.raises(SystemExit, match="0"):
        main([*given, "--sentences", "en", "--markup"])
    first, second, third = capsys.readouterr().out.split("\n")[:3]
    assert "<b>" in first and "</b>" in first and second == "" and third == "{x}"
    with pytest.raises(SystemExit, match="2"):
        main([*given, "--markup", "--n-best", "2"])
    assert "no n-best, prefix, constraints, alignments" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*given, "--markup", "--scores"])
    assert "leave out --scores and --attention" in capsys.readouterr().err
