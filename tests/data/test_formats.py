"""Files that are no tables of lines: Weka's, SQuAD's, a file or folder for each label, a column as plain text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regard.data import prepare as prepare_module
from regard.data.config import DataConfig, SplitConfig
from regard.data.prepare import learn_tokenizers
from regard.data.read import Example, Problems, read_split
from regard.errors import RegardError


def config(root: Path, split: dict[str, Any], **more: Any) -> DataConfig:
    return DataConfig(root=str(root), train=SplitConfig(**split), valid=SplitConfig(**split), **more)


def read(data: DataConfig, problems: Problems | None = None) -> list[Example]:
    return list(read_split(data.train, data, training=True, problems=problems))


def pairs(examples: list[Example]) -> list[tuple[str, str]]:
    return [(example.source, example.targets[0]) for example in examples]


def test_arff(tmp_path: Path) -> None:
    rows = [
        "'It\\'s, so\\n', 1",
        "plain , 0",
        '"two words",1 ',
        "{0 'x', 1 b}",
        "'abc' def, 1",
        "'abc'def, 1",
        "?, 1",
        "one",
    ]
    head = "% a comment\n@relation r\n\n@ATTRIBUTE 'the text' string\n@attribute class {0,1}\n\n@data\n"
    (tmp_path / "d.arff").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    problems = Problems()
    data = config(
        tmp_path, split={"table": "d.arff"}, source_column="the text", target_column="class", max_bad_fraction=1
    )
    found = [(one.source, one.targets[0]) for one in read_split(data.train, data, problems=problems)]
    assert found == [("It's, so\n", "1"), ("plain", "0"), ("two words", "1")]
    assert problems.bad == 5 and [each.split(": ")[1].split(";")[0].split(" that")[0] for each in problems.first] == [
        "a sparse row", "a quotation mark", "a quotation mark", "a missing value", "1 columns, expected 2"
    ]  # fmt: skip
    (tmp_path / "e.arff").write_text("text,label\n", encoding="utf-8")
    with pytest.raises(RegardError, match="no line says @data"):
        read(config(tmp_path, split={"table": "e.arff"}))


def test_an_empty_file_of_a_class_is_a_bad_line_and_every_label_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(40):
        place = tmp_path / f"label{i % 2}"
        place.mkdir(exist_ok=True)
        (place / f"{i}.txt").write_text("" if i == 3 else f"text {i}\n" * 3, encoding="utf-8")
    monkeypatch.setattr(prepare_module, "VOCABULARY_LINES", 20)
    classes = {"classes": {f"label{k}": f"label{k}" for k in (0, 1)}}
    data = config(tmp_path, split=classes, target={"tokenizer": "label"}, max_bad_fraction=0.1)
    assert learn_tokenizers(data)["target"].labels == ["label0", "label1"]
    problems = Problems()
    assert len(list(read_split(data.train, data, training=True, problems=problems))) == 39
    assert problems.bad == 1


def test_text_of_a_column(tmp_path: Path) -> None:
    lines = [{"t": "one\ntwo", "n": 1}, {"t": "three", "n": 2}, {"n": 3}, {"t": "four", "n": 4}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    problems = Problems()
    data = config(tmp_path, split={"text": "d.jsonl"}, source_column="n", target_column="t", max_bad_fraction=1)
    assert pairs(read(data, problems=problems)) == [("", "one two"), ("", "three"), ("", "four")]
    assert problems.bad == 1
    half = data.train.model_copy(update={"part": (0.0, 50.0)})
    assert [one.targets[0] for one in read_split(half, data, problems=Problems())] == ["one two", "three"]


def test_squad(tmp_path: Path) -> None:
    asked = [
        {
            "id": "1",
            "question": "Who?",
            "answers": [{"text": "Ann", "answer_start": 0}, {"text": "Ann B", "answer_start": 0}],
        },
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
    ]
    content = {"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "Ann B went.", "qas": asked}]}]}
    (tmp_path / "d.json").write_text(json.dumps(content), encoding="utf-8")
    columns = {"source_column": ["question", "context"], "target_column": "answers"}
    data = config(tmp_path, split={"table": "d.json"}, **columns)
    found = list(read_split(data.train, data))
    assert [(one.source, one.targets) for one in found] == [
        ("Who?\tAnn B went.", ("Ann", "Ann B")), ("When?\tAnn B went.", ("",))
    ]  # fmt: skip
    for text in ("[]", "{", '{"data": [{"paragraphs": [{"qas": []}, {}]}]}'):
        (tmp_path / "bad.json").write_text(text, encoding="utf-8")
        with pytest.raises(RegardError, match=r"bad\.json is not in SQuAD's form"):
            read(config(tmp_path, split={"table": "bad.json"}, **columns))
