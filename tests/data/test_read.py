"""Every format gives the same examples; every mistake in a file is said with its place."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from regard.data.config import DataConfig, SplitConfig
from regard.data.files import MAX_LINE_BYTES
from regard.data.prepare import prepare
from regard.data.read import Example, Problems, hundredth, read_split
from regard.errors import RegardError

PAIRS = [("ein Hund", "a dog"), ("die Katze, „Mia“", 'the cat, "Mia"'), ("日本 é\u0301", "x")]


def config(root: Path, table: str | None = None, split: dict[str, Any] | None = None, **more: Any) -> DataConfig:
    split = split or {"table": table}
    return DataConfig(root=str(root), train=SplitConfig(**split), valid=SplitConfig(**split), **more)


def read(data: DataConfig, *, training: bool = True, problems: Problems | None = None) -> list[Example]:
    return list(read_split(data.train, data, training=training, problems=problems))


def pairs(examples: list[Example]) -> list[tuple[str, str]]:
    return [(example.source, example.targets[0]) for example in examples]


def _tsv(root: Path) -> DataConfig:
    (root / "d.tsv").write_bytes("".join(f"{a}\t{b}\r\n" for a, b in PAIRS).encode("utf-8-sig"))
    return config(root, "d.tsv")


def _tsv_header(root: Path) -> DataConfig:
    (root / "d.tsv").write_text("id\ten\tde\n" + "".join(f"{i}\t{b}\t{a}\n" for i, (a, b) in enumerate(PAIRS)))
    return config(root, "d.tsv", source_column="de", target_column="en")


def _csv(root: Path) -> DataConfig:
    quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in pair) for pair in PAIRS)
    (root / "d.csv").write_text("de,en\n" + "\n".join(quoted))
    return config(root, "d.csv", source_column="de", target_column="en")


def _jsonl(root: Path) -> DataConfig:
    (root / "d.jsonl").write_text("".join(json.dumps({"t": {"de": a, "en": b}}) + "\n" for a, b in PAIRS))
    return config(root, "d.jsonl", source_column="t.de", target_column="t.en")


def _parquet(root: Path) -> DataConfig:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"n": [1, 2, 3], "de": [a for a, _ in PAIRS], "en": [b for _, b in PAIRS]})
    pq.write_table(table, root / "d.parquet")
    return config(root, "d.parquet", source_column=1, target_column=2)


def _text(root: Path) -> DataConfig:
    for i, name in enumerate(("d.de", "d.en")):
        (root / name).write_text("".join(pair[i] + "\n" for pair in PAIRS))
    return config(root, split={"source": "d.de", "target": "d.en"})


def _hub_folder(root: Path) -> DataConfig:
    (root / "set").mkdir()
    (root / "set" / "train.jsonl").write_text("".join(json.dumps({"de": a, "en": b}) + "\n" for a, b in PAIRS))
    return config(root, split={"hub": "set", "hub_split": "train"}, source_column="de", target_column="en")


FORMS = [_tsv, _tsv_header, _csv, _jsonl, _parquet, _text, _hub_folder]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same(
    form: Callable[[Path], DataConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert pairs(read(form(tmp_path))) == PAIRS


@pytest.mark.parametrize("form", [_tsv, _csv, _jsonl, _parquet])
def test_gzipped_is_the_same(form: Callable[[Path], DataConfig], tmp_path: Path) -> None:
    data = form(tmp_path)
    name = data.train.tables()[0]
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    split = {"table": f"{name}.gz"}
    packed = config(tmp_path, split=split, source_column=data.source_column, target_column=data.target_column)
    assert pairs(read(packed)) == PAIRS


def test_dictionary(tmp_path: Path) -> None:
    (tmp_path / "d.dict").write_text(
        ";;; a comment\na AH0\na(2) EY1 # the letter\n\nhello  HH AH0 L OW1\n(paren P ER0 EH1 N\n"
    )
    data = config(tmp_path, "d.dict")
    assert pairs(read(data)) == [("a", "AH0"), ("a", "EY1"), ("hello", "HH AH0 L OW1"), ("(paren", "P ER0 EH1 N")]
    together = read(data, training=False)
    assert together[0] == Example("a", ("AH0", "EY1"), "d.dict:2")


def test_several_references_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("s\tone\ttwo\t\n")
    (tmp_path / "b.tsv").write_text("t\tuno\t\ttres\n")
    data = config(tmp_path, split={"table": ["a.tsv", "b.tsv"]}, target_column=[1, 2, 3])
    assert [e.targets for e in read(data)] == [("one", "two"), ("uno", "tres")]
    for name in "xyz":
        (tmp_path / name).write_text(f"{name}1\n{name}2\n")
    references = config(tmp_path, split={"source": "x", "target": ["y", "z"]})
    assert [e.targets for e in read(references)] == [("y1", "z1"), ("y2", "z2")]
    one_after_another = config(tmp_path, split={"source": ["x", "y"], "target": ["y", "z"]})
    assert pairs(read(one_after_another)) == [("x1", "y1"), ("x2", "y2"), ("y1", "z1"), ("y2", "z2")]


def test_csv_numbers_rows_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('a,"two\nlines"\nb,x\nonly\n')
    problems = Problems()
    found = read(config(tmp_path, "d.csv", max_bad_fraction=0.5), problems=problems)
    assert [(e.source, e.where) for e in found] == [("a", "d.csv:1"), ("b", "d.csv:3")]
    assert problems.first == ["d.csv line 4: 1 column, expected 2. Is the separator ','? Else set data.separator."]


def test_a_stray_quotation_mark_swallows_nothing_unseen(tmp_path: Path) -> None:
    """All the lines that a broken record covers are bad lines: never closed, closed by another one, of wrong width."""
    good = "x,y\n" * 20
    for content, bad in {
        'a,b\nc,"d\n' + good: 21,
        'a,b\nc,"d\n' + good + 'e,"f\n' + good: 22,
        'a,b\n"c\n' + good + 'd"\ne,f\n': 22,
    }.items():
        (tmp_path / "d.csv").write_text(content)
        problems = Problems()
        found = read(config(tmp_path, "d.csv", max_bad_fraction=1), problems=problems)
        assert (problems.bad, problems.lines) == (bad, bad + len(found)), content
        assert problems.lines == content.count("\n")
        assert problems.first[0].startswith("d.csv line 2: ")
        assert problems.first[1].startswith("d.csv line 3: in the record from line 2: ")
        with pytest.raises(RegardError, match=r"d\.csv line 2: .*raise data\.max_bad_fraction"):
            read(config(tmp_path, "d.csv"))


def test_bad_lines_are_skipped_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_bytes(
        b"a\tb\nonly\n\tx\nc\td\te\nf\t\xff\ny\t \n" + b"k" * (MAX_LINE_BYTES + 5) + b"\ng\th\n"
    )
    problems = Problems()
    found = read(config(tmp_path, "d.tsv", max_bad_fraction=0.9), problems=problems)
    assert pairs(found) == [("a", "b"), ("g", "h")]
    assert (problems.lines, problems.bad) == (8, 6)
    assert [line.split(":")[0] for line in problems.first] == [f"d.tsv line {n}" for n in (2, 3, 4, 5, 6)]
    for line, reason in zip(
        problems.first,
        ["1 column, expected 2", "source is empty", "3 columns", r"not UTF-8 at byte 3 (found FF)", "target is empty"],
        strict=True,
    ):
        assert reason in line


def test_evaluation_keeps_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("a\tb\n\tx\ny\t\n")
    assert pairs(read(config(tmp_path, "d.tsv"), training=False)) == [("a", "b"), ("", "x"), ("y", "")]


def test_too_many_bad_lines_stop(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("one\ntwo\nthree\n")
    with pytest.raises(RegardError, match=r"d\.tsv line 1: 1 column, expected at least 2.*separator.*3 of 3 lines"):
        read(config(tmp_path, "d.tsv"))
    (tmp_path / "d.tsv").write_bytes(b"\xff\t\xfe\n" * 3)
    with pytest.raises(RegardError, match=r"d\.tsv line 1: not UTF-8.*3 of 3 lines"):
        read(config(tmp_path, "d.tsv"))


def test_missing_file_says_where_and_where_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = config(tmp_path, "d.tsv")
    about = {"title": "Multi30k", "source": "github.com/multi30k", "license": "research only"}
    message = (
        rf"d\.tsv: no such file below {tmp_path} \(data\.root\).*data\.root=.*REGARD_DATA.*"
        r"is Multi30k, comes from github\.com/multi30k, has the licence research only"
    )
    with pytest.raises(RegardError, match=message):
        list(read_split(data.train, data, about=about))
    bare = data.model_copy(update={"root": None})
    monkeypatch.delenv("REGARD_DATA", raising=False)
    with pytest.raises(RegardError, match=r"the current folder, as neither data\.root nor REGARD_DATA is set"):
        read(bare)
    monkeypatch.setenv("REGARD_DATA", str(tmp_path))
    with pytest.raises(RegardError, match=r"\(REGARD_DATA\)"):
        read(bare)


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        ("d.tsv", b"", {}, "d.tsv is empty"),
        ("d.csv", b"", {}, "d.csv is empty"),
        ("d.tsv.gz", gzip.compress(b"", mtime=0), {}, "d.tsv.gz is empty"),
        ("d.tsv.gz", gzip.compress(b"a\tb\n" * 9, mtime=0)[:-9], {}, "cannot be read on"),
        ("d.tsv.gz", b"a\tb\n", {}, "cannot be read on"),
        ("d.tsv", b"de\ten\n", {"source_column": "fr", "target_column": "en"}, "no column 'fr'; found 'de', 'en'"),
        ("d.parquet", b"PAR", {}, "cannot be read as Parquet"),
        ("d.jsonl", b"{}\n", {}, "JSON lines have keys"),
        ("d.jsonl", b"{\n", {"source_column": "a", "target_column": "b"}, "d.jsonl line 1: not JSON"),
        ("d.jsonl", b'{"a": 1}\n', {"source_column": "a", "target_column": "b"}, "column 'a' is int, expected text"),
        ("d.xml", b"x", {}, "suffix '.xml' names no format; set data.format"),
        ("d.csv", b"a\n", {"separator": "||"}, "needs a single character"),
        ("d.dict", b"word\n", {}, "has no phones"),
        ("d.dict", b";;; only\n", {}, "no example found"),
        ("d.tsv", b"a\tb\n", {"format": "text"}, "d.tsv is a table"),
    ],
)
def test_errors_of_one_file(tmp_path: Path, name: str, content: bytes, more: dict[str, Any], message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RegardError, match=message):
        read(config(tmp_path, name, **more))


def test_a_user_without_a_home_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"~nobody-here/x: that user has no home folder here; write the path out\."
    with pytest.raises(RegardError, match=f"^data.root: {said}"):
        read(config(Path("~nobody-here/x"), "d.tsv"))
    with pytest.raises(RegardError, match=f"^the recipe's data: {said}"):
        read(config(tmp_path, "~nobody-here/x"))
    (tmp_path / "d.tsv").write_text("a\tb\n")
    with pytest.raises(RegardError, match=f"^data.cache or REGARD_CACHE: {said}"):
        prepare(config(tmp_path, "d.tsv", cache="~nobody-here/x"))
    monkeypatch.setenv("REGARD_DATA", "~nobody-here/x")
    with pytest.raises(RegardError, match=f"^REGARD_DATA: {said}"):
        read(config(tmp_path, "d.tsv").model_copy(update={"root": None}))


def test_damaged_parquet_is_one_sentence(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"text {i} " * 9 for i in range(5000)]
    pq.write_table(pa.table({"de": texts, "en": texts}), tmp_path / "good.parquet", compression="none")
    whole = (tmp_path / "good.parquet").read_bytes()
    packed = gzip.compress(whole)
    page = bytearray(whole)
    page[4:400] = b"\xff" * 396
    other = bytearray(packed)
    other[len(other) // 2 :] = bytes(len(other) // 2)
    for name, content, message in (
        ("page.parquet", bytes(page), r"page\.parquet after row 0: cannot be read on \("),
        ("cut.parquet.gz", packed[:-99], r"cut\.parquet\.gz cannot be read as Parquet \("),
        ("other.parquet.gz", bytes(other), r"other\.parquet\.gz cannot be read as Parquet \("),
    ):
        (tmp_path / name).write_bytes(content)
        data = config(tmp_path, name, cache=str(tmp_path / "cache"))
        for attempt in (lambda data=data: read(data), lambda data=data: prepare(data)):
            with pytest.raises(RegardError, match=message) as caught:
                attempt()
            assert "\n" not in str(caught.value)
    latin = pa.array([b"a", b"\xe4"], type=pa.binary()).view(pa.string())
    pq.write_table(pa.table({"de": latin, "en": latin}), tmp_path / "latin.parquet")
    with pytest.raises(RegardError, match=r"latin\.parquet after row 0: text that is not UTF-8"):
        read(config(tmp_path, "latin.parquet"))


@pytest.mark.slow
def test_an_open_quotation_mark_does_not_take_the_memory(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('a,b\n"open,c\n' + "x,y\n" * 300_000)
    with pytest.raises(RegardError, match=r"d\.csv line 2: not CSV .*quotation mark"):
        read(config(tmp_path, "d.csv", max_bad_fraction=0.0))


def test_parallel_files_of_different_length(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n")
    (tmp_path / "b").write_text("1\n2\n")
    for source, target in (("a", "b"), ("b", "a")):
        with pytest.raises(RegardError, match="b ends after line 2 but a goes on"):
            read(config(tmp_path, split={"source": source, "target": target}))


def test_files_in_packages(tmp_path: Path) -> None:
    data = config(tmp_path, "package:rich/py.typed", format="tsv")
    with pytest.raises(RegardError, match="is empty"):
        read(data)
    for name, message in (
        ("package:no_such_package/x", "pip install no_such_package"),
        ("package:rich/nothing", "holds no file 'nothing'"),
        ("package:rich/../../../etc/passwd", "holds no file"),
    ):
        with pytest.raises(RegardError, match=message):
            read(config(tmp_path, name, format="tsv"))


def test_hub_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(RegardError, match=r"data set './nowhere', split 'train' cannot be loaded"):
        read(config(tmp_path, split={"hub": "./nowhere", "hub_split": "train"}))


def test_percent_is_a_partition_by_source(tmp_path: Path) -> None:
    words = [f"w{i // 2}" for i in range(2000)]  # every word twice
    (tmp_path / "d.tsv").write_text("".join(f"{word}\t{i}\n" for i, word in enumerate(words)))
    parts = [
        read(config(tmp_path, split={"table": "d.tsv", "percent": percent}))
        for percent in ((0, 90), (90, 95), (95, 100))
    ]
    sources = [{example.source for example in part} for part in parts]
    assert sum(map(len, parts)) == 2000
    assert Counter(len(a & b) for a in sources for b in sources if a is not b) == {0: 6}
    assert 0.87 < len(parts[0]) / 2000 < 0.93


def test_hundredth_is_fixed_for_ever() -> None:
    """Splits in recipes rest on it: these three may never change."""
    assert [hundredth(word) for word in ("hello", "Wörter", "")] == [41, 18, 76]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({}, "exactly one of"),
        ({"table": "a", "hub": "b"}, "exactly one of"),
        ({"source": "a"}, "both source and target"),
        ({"source": ["a", "b"], "target": "c"}, "as many target files"),
        ({"table": []}, "empty"),
        ({"hub": "a"}, "needs hub_split"),
        ({"table": "a", "percent": [90, 90]}, "percent is"),
        ({"table": "a", "percent": [100, 10]}, "percent is"),
    ],
)
def test_split_configs_that_make_no_sense(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitConfig(**split)


def test_real_data(data_root: Path) -> None:
    """Counts that the data's own README states."""
    tok = "multi30k/tok/{}.lc.norm.tok.{}.gz"
    for name, count in (("train", 29000), ("val", 1014), ("test_2016_flickr", 1000)):
        split = {"source": tok.format(name, "en"), "target": tok.format(name, "de")}
        assert len(read(config(data_root, split=split))) == count
    verses = config(data_root, "bible_en_fr/valid.tsv.gz", source_column=1, target_column=2)
    assert len(read(verses)) == 1555
    assert len(read(config(data_root, "sigmorphon2021_g2p/medium/kor_train.tsv"))) == 8000
    words = config(data_root, "cmudict/cmudict.dict.gz")
    problems = Problems()
    assert len(read(words, training=False, problems=problems)) == 126_052
    assert (problems.lines, problems.bad) == (135_166, 0)
