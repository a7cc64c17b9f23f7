"""Answers are parts of the text as it was, whatever cleaning and cutting have made of it."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.config import DataConfig, SplitConfig, TextConfig
from regard.data.places import pointers
from regard.data.prepare import prepare
from regard.data.text import normalize
from regard.data.tokenizer import TURN_END, Tokenizer
from regard.errors import RegardError

PASSAGE = "In 1924 (some say 1925), Émile  Tisserand sold the mill.\nIt burned down; he left for Ånger."
KINDS = {
    "words": TextConfig(tokenizer="word", vocab=300, lowercase=True, segment="punctuation", question=True),
    "characters": TextConfig(
        tokenizer="word", vocab=400, lowercase=True, segment="punctuation", unknown="characters", question=True
    ),
    "spaces": TextConfig(tokenizer="word", vocab=300, question=True),
    "char": TextConfig(tokenizer="char", vocab=300, normalize="NFD", question=True),
    "bpe": TextConfig(tokenizer="bpe", vocab=290, normalize="NFKC", question=True),
    "unigram": TextConfig(tokenizer="unigram", vocab=300, question=True),
    "mecab": TextConfig(tokenizer="word", vocab=300, segment="ja-mecab", normalize="NFKC", question=True),
}


def tokenizer_of(kind: str) -> Tokenizer:
    if kind == "mecab":
        pytest.importorskip("fugashi")
    return Tokenizer.train([f"Who sold it?\t{PASSAGE}", "1924 年に水車を売った。\t東京都に住む。"], KINDS[kind])


def answered(tokenizer: Tokenizer, source: str, answer: str) -> str | None:
    """An answer, to pieces and back."""
    found = pointers(tokenizer, source, answer, 1000)
    if found is None:
        return None
    unnamed = tokenizer.unnamed(source, 1000)
    return "".join(unnamed[i] for i in range(found[0], found[1] + 1)).rstrip()


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_found_and_given_back_as_it_stood(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    source = f"Who sold the mill, Émile?\t{PASSAGE}"
    for answer in ("1924", "Émile  Tisserand", "the mill", "It burned down; he left"):
        found = answered(tokenizer, source, answer)
        assert found == answer or (kind == "spaces" and found == f"{answer}.")  # which cuts no mark off a word
    assert answered(tokenizer, source, "") == ""
    assert answered(tokenizer, source, "in 1926") is None


def test_japanese_answers() -> None:
    tokenizer = tokenizer_of("mecab")
    source = "どこに住む？\t私は 東京都に住む。ｶﾞﾗｽ の家。"
    for answer in ("東京都", "ｶﾞﾗｽ", "家"):
        assert answered(tokenizer, source, answer) == answer


def test_characters_that_cleaning_puts_together_and_takes_apart() -> None:
    tokenizer = tokenizer_of("mecab")
    passage = "１９２４年，ｶﾞﾗｽの家㍿①②" * 50 + "각한 İ ﬁn e\u0301te\u0323\u0301 終"
    for answer in ("年，ｶﾞﾗｽの家", "각한", "e\u0301te\u0323\u0301", "ﬁn", "終"):
        assert answer in (answered(tokenizer, f"何？\t{passage}", answer) or "")


def test_tabs_in_answers_are_spaces(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("words")
    source = "Where?\tA mill by a mill."
    assert answered(tokenizer, source, "by\ta") == "by a" and answered(tokenizer, source, "by\ta\t7") == "by a"
    assert normalize("by\ta\t7", TextConfig(tokenizer="span")) == normalize("by\ta", TextConfig(tokenizer="span"))
    squad(tmp_path / "train.json", [("Where?", [("the\tmill", PASSAGE.index("the mill"))])])
    plain = (tmp_path / "train.json").read_text().replace('"answer_start"', '"was"')
    (tmp_path / "valid.json").write_text(plain)  # without starts
    prepared = prepare(config(tmp_path))
    assert len(prepared.train.ids(0)[1]) == 2 and prepared.train.ids(0)[1].tolist() == prepared.valid.ids(0)[1].tolist()
    assert prepared.valid.target_texts(0) == ["the mill"]


def test_a_place_says_which_of_several_is_meant() -> None:
    tokenizer = tokenizer_of("words")
    source = "Where?\tA mill by a mill."
    first, second = (pointers(tokenizer, source, f"mill\t{start}", 0) for start in (2, 12))
    assert first != second and pointers(tokenizer, source, "mill", 0) == first
    assert pointers(tokenizer, source, "mill\t5", 0) == first  # where it does not stand: its first place
    assert answered(tokenizer, source, "by\na  mill .") == "by a mill."  # whatever its white space


def test_the_question_is_no_place_for_an_answer() -> None:
    tokenizer = tokenizer_of("words")
    assert pointers(tokenizer, "Was it the mill?\tIt burned down.", "mill", 0) is None
    assert pointers(tokenizer, "no passage", "passage", 0) is None
    tab = tokenizer.encode(["Was it?\tIt was."])[0].index(TURN_END)
    assert pointers(tokenizer, "Was it?\tIt was.", "", 100) == [100 + tab] * 2


def test_an_answer_that_is_cut_off_is_not_there() -> None:
    config = KINDS["words"].model_copy(update={"truncate": 5})
    tokenizer = Tokenizer.train(["it the mill down in 1924"], config)
    source = "It\tthe mill down in 1924"
    assert len(tokenizer.places(source)) == len(tokenizer.encode([source])[0]) == 5
    assert answered(tokenizer, source, "the mill") == "the mill" and answered(tokenizer, source, "in 1924") is None
    assert answered(tokenizer, source, "down") == "down"  # the last that is read, and nothing of the rest
    for unread in ("It\t", "It\t  ", "it the mill down in\tthe mill", "\t"):
        assert pointers(tokenizer, unread, "", 0) is None and pointers(tokenizer, unread, "mill", 0) is None


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\t"), max_size=30)


@pytest.mark.parametrize("kind", KINDS)
@given(TEXTS, TEXTS)
@settings(max_examples=60, deadline=None)
def test_there_is_a_place_for_each_piece_of_any_text(kind: str, question: str, passage: str) -> None:
    tokenizer, source = tokenizer_of(kind), f"{question}\t{passage}"
    [ids], steps = tokenizer.encode([source]), tokenizer.places(source)
    assert len(steps) == len(ids)
    assert all(0 <= a <= b <= len(source) for a, b in steps)
    inside = [place for place in steps if place[0] > len(question)]
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(inside)), "in the text's order"
    if inside:  # all pieces together are the whole passage
        alone = tokenizer.config.model_copy(update={"question": False})
        assert normalize(source[inside[0][0] : inside[-1][1]], alone) == normalize(passage, alone)


def squad(path: Path, records: list[tuple[str, list[tuple[str, int]]]], context: str = PASSAGE) -> None:
    answers = [[{"text": text, "answer_start": start} for text, start in some] for _, some in records]
    qas = [
        {"id": str(i), "question": records[i][0], "answers": some, "is_impossible": not some}
        for i, some in enumerate(answers)
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}), encoding="utf-8")


def config(root: Path) -> DataConfig:
    splits = {name: SplitConfig(table=f"{name}.json") for name in ("train", "valid")}
    target = TextConfig(tokenizer="span")
    columns = {"source_column": ["question", "context"], "target_column": "answers"}
    return DataConfig(root=str(root), cache=str(root / "c"), source=KINDS["words"], target=target, **splits, **columns)


def test_squad_is_prepared(tmp_path: Path) -> None:
    """Of 1.1 and 2: starts are believed, what has no answer points at the tab, and a wrong answer is left out."""
    mill = PASSAGE.index("the mill")
    squad(tmp_path / "train.json", [("Sold what?", [("the mill", mill)]), ("Why?", []), ("Who?", [("nobody", 3)])])
    squad(tmp_path / "valid.json", [("What\there?", [("the mill", mill), ("mill", mill + 4)]), ("Who?", [("him", 0)])])
    prepared = prepare(config(tmp_path))
    source, target = prepared.tokenizers["source"], prepared.tokenizers["target"]
    assert len(prepared.train) == 2 and prepared.train.meta["not_found"] == 1
    text = prepared.train.source_text(0)
    shown = source.unnamed(text, target.size)
    start, end = prepared.train.ids(0)[1].tolist()
    assert "".join(shown[i] for i in range(start, end + 1)) == "the mill"
    start, end = prepared.train.ids(1)[1].tolist()
    assert start == end and shown[start] == ""
    assert prepared.valid.target_texts(0) == ["the mill", "mill"] and prepared.valid.source_text(0)[:9] == "What here"
    assert len(prepared.valid.ids(1)[1]) == 0  # kept, as what is asked does not depend on it
    assert prepared.report["splits"]["train"]["not_found"] == 1


def test_rows_of_one_question_are_one_example_but_in_training(tmp_path: Path) -> None:
    rows = ["q\tThe mill burned.\tThe mill", "r\tThe mill burned.\tburned", "q\tThe mill burned.\tmill"]
    for name in ("train", "valid"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    splits = {name: SplitConfig(table=f"{name}.tsv") for name in ("train", "valid")}
    changes = {"source_column": [0, 1], "target_column": 2, **splits}
    prepared = prepare(config(tmp_path).model_copy(update=changes))
    assert len(prepared.train) == 3 and len(prepared.valid) == 2
    assert prepared.valid.target_texts(0) == ["The mill", "mill"]


def test_a_passage_is_in_one_part_with_all_its_questions(tmp_path: Path) -> None:
    rows = [f"question {i}\tpassage {i % 7}\t{i % 7}" for i in range(70)]
    (tmp_path / "all.tsv").write_text("\n".join(rows) + "\n")
    splits = {
        "train": SplitConfig(table="all.tsv", percent=(0, 60)),
        "valid": SplitConfig(table="all.tsv", percent=(60, 100)),
    }
    prepared = prepare(config(tmp_path).model_copy(update={"source_column": [0, 1], "target_column": 2, **splits}))
    parts = [
        {pairs.source_text(i).split("\t")[1] for i in range(len(pairs))} for pairs in (prepared.train, prepared.valid)
    ]
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    assert len(prepared.train) == 10 * len(parts[0])


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ({"question": True}, {}, "go together"),
        ({}, {"tokenizer": "span"}, "go together"),
        ({"question": True, "remove": "x"}, {"tokenizer": "span"}, "leave out"),
        ({"question": True, "turns": 2}, {"tokenizer": "span"}, "turns"),
        ({"tokenizer": "span"}, {}, "written, not read"),
        ({"tokenizer": "bpe", "unknown": "characters"}, {}, "tokenizer word"),
    ],
)
def test_settings_that_do_not_go_together(source: dict[str, object], target: dict[str, object], said: str) -> None:
    split = SplitConfig(table="x.tsv")
    with pytest.raises(ValueError, match=said):
        DataConfig(train=split, valid=split, source=TextConfig(**source), target=TextConfig(**target))  # type: ignore[arg-type]


def test_words_beyond_the_vocabulary_are_spelled_in_characters() -> None:
    tokenizer = Tokenizer.train(
        ["the mill", "a mill", "the hill"], TextConfig(tokenizer="word", unknown="characters", vocab=280)
    )
    [ids] = tokenizer.encode(["the thimble é"])
    assert tokenizer.pieces(ids) == ["the", "▁", "t", "h", "i", "m", "b", "l", "e", "▁", "é", "·"]
    assert tokenizer.decode(ids) == "the thimble é"


def test_a_tab_beside_bytes_is_shown_as_an_end() -> None:
    tokenizer = Tokenizer.train(["it"], KINDS["words"])
    assert "⏎" in tokenizer.pieces(tokenizer.encode(["it?\tit"])[0])


def test_no_training_example_whose_answer_is_there(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        squad(tmp_path / f"{name}.json", [("Who?", [("nobody", 3)])])
    with pytest.raises(RegardError, match="1 have an answer that is not in the passage"):
        prepare(config(tmp_path))
