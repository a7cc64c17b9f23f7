"""Known forms of a lemma, read beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from regard.data.config import DataConfig, TextConfig
from regard.data.paradigm import Form, Paradigms
from regard.data.prepare import prepare
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError
from regard.recipe import Recipe

KNOWN = [
    ("amo\tV\tPRS\t1\tPL", "amāmus"),
    ("amo\tV\tPRS\t2\tSG", "amās"),
    ("amo\tV\tINF", "amāre"),
    ("amo\tV\tPRS\t1\tPL", "amamus"),
    ("rosa\tN\tSG", "rosa"),
]
CHAR = {"tokenizer": "char"}


def test_the_likest_forms_stand_before_the_lemma_and_the_answer_never_does() -> None:
    known = Paradigms.learn(KNOWN)
    # 1;PL and 2;PL share three tags of five; among equals the first in the data
    assert known.show("amo\tV\tPRS\t2\tPL", 1) == "amāmus‖amo\tV\tPRS\t2\tPL\t~V\t~PRS\t~1\t~PL"
    # whatever was asked with just these tags is left out, both spellings of it, in any order of the tags
    assert known.show("amo\tV\tPRS\tPL\t1", 1) == "amās‖amo\tV\tPRS\tPL\t1\t~V\t~PRS\t~2\t~SG"
    assert known.show("amo\tV\tPRS\t1\tPL", 3) == "amāre‖amās‖amo\tV\tPRS\t1\tPL\t~V\t~PRS\t~2\t~SG\t~V\t~INF"
    assert known.show("rosa\tN\tSG", 1) == "rosa\tN\tSG" and known.show("nemo\tN\tSG", 1) == "nemo\tN\tSG"
    shown = known.show("amo\tV\tPRS\t2\tPL", 1)
    assert known.show(shown, 1) == shown  # reading twice is reading once


def files(folder: Path) -> dict[str, object]:
    rows = "".join(
        f"{lemma}\t{form}\t{tags.replace(chr(9), ';')}\n"
        for (lemma, _, tags), form in ((source.partition("\t"), form) for source, form in KNOWN)
    )
    (folder / "forms.tsv").write_text(rows, encoding="utf-8")
    (folder / "new.tsv").write_text("amo\tamātis\tV;PRS;2;PL\n", encoding="utf-8")
    split = {"train": {"table": str(folder / "forms.tsv")}, "valid": {"table": str(folder / "new.tsv")}}
    return {**split, "source_column": [0, 2], "target_column": 1, "target": CHAR, "shared_vocabulary": True}


def test_a_tokenizer_reads_what_training_data_knows_and_keeps_it(tmp_path: Path) -> None:
    data = DataConfig(**files(tmp_path), source={**CHAR, "tags": True, "known_forms": 1})  # type: ignore[arg-type]
    prepared = prepare(data)
    tokenizer = prepared.tokenizers["source"]
    asked = "amo\tV;PRS;2;PL"
    [ids] = tokenizer.encode([asked])
    pieces = tokenizer.pieces(ids)
    assert pieces == [*"amāmus‖amo", "V", "PRS", "2", "PL", "~V", "~PRS", "~1", "~PL"]
    assert tokenizer.decode(ids) == tokenizer.normalize(asked)
    assert prepared.valid.ids(0)[0].tolist() == ids and prepared.valid.source_text(0) == asked
    # of the training examples each reads another form of its lemma than its own
    read = [tokenizer.decode(prepared.train.ids(i)[0].tolist()).partition("\t")[0] for i in range(4)]
    assert read == ["amās‖amo", "amāmus‖amo", "amāmus‖amo", "amās‖amo"]

    tokenizer.save(tmp_path / "source.json")
    again = Tokenizer.load(tmp_path / "source.json")
    assert again.to_json() == tokenizer.to_json() and again.encode([asked]) == [ids]
    assert again.paradigms is not None and again.paradigms.forms["rosa"] == (Form("rosa", ("N", "SG")),)
    assert "paradigms" not in prepared.tokenizers["target"].to_json()
    plain = prepare(DataConfig(**files(tmp_path), source={**CHAR, "tags": True}))  # type: ignore[arg-type]
    assert (
        plain.tokenizers["source"].decode(plain.valid.ids(0)[0].tolist())
        == tokenizer.normalize(asked).replace("amāmus‖", "").partition("\t~")[0]
    )


def test_a_file_of_known_forms_that_is_no_such_thing_is_refused(tmp_path: Path) -> None:
    data = DataConfig(**files(tmp_path), source={**CHAR, "tags": True, "known_forms": 1})  # type: ignore[arg-type]
    content = json.loads(prepare(data).tokenizers["source"].to_json())
    content["paradigms"] = [["amo"]]
    with pytest.raises(RegardError, match="is not a tokenizer file of Regard"):
        Tokenizer.from_json(json.dumps(content))


def test_known_forms_need_tags_and_no_invented_stems(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="known_forms are chosen by their tags: set tags to true"):
        TextConfig(tokenizer="char", known_forms=1)
    data = {**files(tmp_path), "source": {**CHAR, "tags": True, "known_forms": 1}}
    with pytest.raises(ValidationError, match="hallucinated invents stems, of which no form is known"):
        Recipe(task="transduce", data=data, train={"hallucinated": 1})  # type: ignore[arg-type]
