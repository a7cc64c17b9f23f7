"""Prepared data: what was read is what is stored, found again by content, whole or made again."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regard.data import store
from regard.data.batches import BatchPlan, collate
from regard.data.config import DataConfig, SplitConfig, TextConfig
from regard.data.prepare import file_hash, learn_tokenizers, prepare, prepare_split
from regard.data.read import read_split
from regard.errors import RegardError

WORDS = ["Haus", "Hund", "Katze", "läuft", "schläft", "im", "Garten", ".", "日本", "rot"]


def made(root: Path, count: int = 300, **more: Any) -> DataConfig:
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(count)
    for name, lines in (("train", count), ("valid", 20)):
        rows = []
        for _ in range(lines):
            words = [WORDS[i] for i in random.integers(0, len(WORDS), random.integers(1, 12))]
            rows.append(f"{' '.join(words)}\t{' '.join(reversed(words)).upper()}")
        (root / f"{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings: dict[str, Any] = {"source": {"vocab": 300}, "target": {"tokenizer": "word", "lowercase": True}, **more}
    return DataConfig(
        root=str(root),
        train=SplitConfig(table="train.tsv"),
        valid=SplitConfig(table="valid.tsv"),
        cache=str(root / "cache"),
        **settings,
    )


def test_what_was_read_is_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS", 64)  # several record batches, the last one short
    monkeypatch.setattr(store, "_TEXTS_AT_ONCE", 50)
    data = made(tmp_path)
    prepared = prepare(data)
    examples = list(read_split(data.train, data, training=True))
    pairs = prepared.train
    assert len(pairs) == len(examples) == 300
    tokenizers = prepared.tokenizers
    for i, example in enumerate(examples):
        source, target = pairs.ids(i)
        assert source.dtype == target.dtype == np.int32
        assert source.tolist() == tokenizers["source"].encode([example.source])[0]
        assert target.tolist() == tokenizers["target"].encode([example.targets[0]])[0]
        assert (pairs.source_lengths[i], pairs.target_lengths[i]) == (len(source), len(target))
        assert pairs.source_text(i) == example.source
        assert pairs.original(i) == (example.source, list(example.targets))
        assert pairs.target_texts(i) == [example.targets[0].lower()]
        assert tokenizers["target"].decode(target.tolist()) == pairs.target_texts(i)[0]
    with pytest.raises(IndexError):
        pairs.ids(300)


def test_ids_are_views_and_lengths_are_mapped(tmp_path: Path) -> None:
    pairs = prepare(made(tmp_path)).train
    source, _ = pairs.ids(3)
    again, _ = pairs.ids(3)
    assert np.shares_memory(source, again) and not source.flags.owndata and not source.flags.writeable
    assert isinstance(pairs.source_lengths, np.memmap)


def test_a_batch_from_prepared_data(tmp_path: Path) -> None:
    prepared = prepare(made(tmp_path))
    plan = BatchPlan(prepared.train.source_lengths, prepared.train.target_lengths, tokens=100, seed=1)
    tokens = sum(collate(prepared.train, indices).tokens for indices in plan.epoch(0))
    assert tokens == int(np.sum(prepared.train.target_lengths)) + len(prepared.train)


def test_found_again_by_content(tmp_path: Path) -> None:
    data = made(tmp_path / "a")
    folder = prepare(data).train.folder
    written = folder.stat().st_mtime_ns
    moved = made(tmp_path / "b").model_copy(update={"cache": data.cache})
    assert prepare(moved).train.folder == folder  # other place, same bytes
    assert folder.stat().st_mtime_ns == written
    with (tmp_path / "b" / "train.tsv").open("a") as file:
        file.write("mehr\tMORE\n")
    assert len(prepare(moved).train) == 301
    assert len(prepare(data).train) == 300
    for change in ({"source": TextConfig(vocab=310)}, {"max_length": 3}, {"source_column": 1, "target_column": 0}):
        assert prepare(data.model_copy(update=change)).train.folder != folder


@pytest.mark.parametrize("name", ["pairs.arrow", "source_lengths.i32", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_store_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    data = made(tmp_path)
    first = prepare(data)
    ids = [first.train.ids(i)[0].tolist() for i in range(300)]
    path = first.train.folder / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.unlink()
    second = prepare(data)
    assert [second.train.ids(i)[0].tolist() for i in range(300)] == ids
    assert not list((tmp_path / "cache" / "data").glob(".unfinished*"))


def test_a_damaged_tokenizer_is_learned_again(tmp_path: Path) -> None:
    data = made(tmp_path)
    first = prepare(data).tokenizers["source"].to_json()
    [path] = (tmp_path / "cache" / "data").glob("tokenizers-*/source.json")
    path.write_text(path.read_text()[:-10])
    assert prepare(data).tokenizers["source"].to_json() == first


def test_another_process_may_finish_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is writing, another prepares all of it: the second to finish takes what is there."""
    data = made(tmp_path)
    write, calls = store.write_store, []

    def slow(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            prepare(data)
        return write(*arguments)

    monkeypatch.setattr("regard.data.prepare.write_store", slow)
    pairs = prepare(data).train
    assert len(calls) == 3  # train here, then train and valid there; valid here is found
    assert len(pairs) == 300 and pairs.ids(7)[0].size > 0
    assert not list((tmp_path / "cache" / "data").glob(".unfinished*"))


def _prepare_in_process(data: DataConfig) -> list[int]:
    return [len(prepare(data).train.ids(i)[0]) for i in range(50)]


@pytest.mark.slow
def test_processes_may_prepare_at_once(tmp_path: Path) -> None:
    data = made(tmp_path, 2000)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(_prepare_in_process, [data] * 3)
    assert found[0] == found[1] == found[2]
    assert not list((tmp_path / "cache" / "data").glob(".unfinished*"))


def test_long_and_emptied_examples_are_left_out_of_training_only(tmp_path: Path) -> None:
    text = "a b c\tx\na\ty\n1\tz\n"
    (tmp_path / "d.tsv").write_text(text)
    split = SplitConfig(table="d.tsv")
    word = {"tokenizer": "word", "remove": "[0-9]"}
    data = DataConfig(root=str(tmp_path), train=split, valid=split, source=word, target=word, max_length=2)
    prepared = prepare(data)
    assert [prepared.train.source_text(i) for i in range(len(prepared.train))] == ["a"]
    assert (prepared.train.meta["too_long"], prepared.train.meta["left_out_empty"]) == (1, 1)
    assert len(prepared.valid) == 3
    assert prepared.valid.ids(2)[0].tolist() == []
    (tmp_path / "d.tsv").write_text("a b c\tx\nd e f\ty\n1\tz\n")
    message = r"no training example is left of 3 lines: 0 are bad, 2 longer than data\.max_length=2 and 1 empty"
    with pytest.raises(RegardError, match=message):
        prepare(data)


def test_several_references_are_kept(tmp_path: Path) -> None:
    (tmp_path / "d.dict").write_text("a AH0\na(2) EY1\nb B IY1\n")
    split = SplitConfig(table="d.dict")
    data = DataConfig(
        root=str(tmp_path), train=split, valid=split,
        source={"tokenizer": "char"}, target={"tokenizer": "word", "remove": "[0-9]"},
    )  # fmt: skip
    prepared = prepare(data)
    assert (len(prepared.train), len(prepared.valid)) == (3, 2)
    assert prepared.valid.target_texts(0) == ["AH", "EY"]
    assert prepared.valid.original(0) == ("a", ["AH0", "EY1"])


def test_given_tokenizers_are_used(tmp_path: Path) -> None:
    first = prepare(made(tmp_path / "a"))
    other = prepare(made(tmp_path / "b", 50), tokenizers=first.tokenizers)
    assert other.tokenizers is first.tokenizers
    source, _ = other.train.ids(0)
    assert first.tokenizers["source"].decode(source.tolist()) == other.train.source_text(0)


def test_shared_vocabulary(tmp_path: Path) -> None:
    prepared = prepare(
        made(tmp_path, source={"tokenizer": "word"}, target={"tokenizer": "word"}, shared_vocabulary=True)
    )
    assert prepared.tokenizers["source"].size == prepared.tokenizers["target"].size
    assert prepared.tokenizers["source"].encode(["Hund HUND"]) == prepared.tokenizers["target"].encode(["Hund HUND"])


def test_bad_lines_are_checked_again_when_found_in_the_cache(tmp_path: Path) -> None:
    data = made(tmp_path)
    with (tmp_path / "train.tsv").open("a") as file:
        file.write("no columns\n")
    prepared = prepare(data)
    assert prepared.train.meta["bad"] == 1
    assert "line 301: 1 column" in prepared.report["splits"]["train"]["first_bad"][0]
    strict = data.model_copy(update={"max_bad_fraction": 0.0})
    with pytest.raises(RegardError, match="line 301: 1 column"):
        prepare_split(strict.train, strict, prepared.tokenizers, training=True)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = made(tmp_path).model_copy(update={"cache": str(tmp_path / "file")})
    with pytest.raises(RegardError, match=r"cannot be written to .*set data\.cache"):
        prepare(data)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_another_user_may_read_the_cache(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        prepare(made(tmp_path))
    finally:
        os.umask(before)
    entries = list((tmp_path / "cache" / "data").iterdir())
    assert len(entries) == 4  # tokenizers, two splits, the report
    assert {entry.stat().st_mode & 0o777 for entry in entries} == {0o755}


def test_what_is_synced_is_open_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to sync a file that is open for reading only."""
    monkeypatch.setattr("regard.data.store.os.fsync", lambda descriptor: os.write(descriptor, b""))
    assert len(prepare(made(tmp_path)).train) == 300


@pytest.mark.parametrize("packed", [False, True])
def test_large_parquet_gives_a_sample_to_the_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"w{i % 3}" for i in range(300)]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"a": texts, "b": texts}), path)
    if packed:
        path = tmp_path / "d.parquet.gz"
        path.write_bytes(gzip.compress((tmp_path / "d.parquet").read_bytes()))
    split, word = SplitConfig(table=path.name), TextConfig(tokenizer="word")
    data = DataConfig(
        root=str(tmp_path), cache=str(tmp_path / "cache"), train=split, valid=split, source=word, target=word
    )
    assert learn_tokenizers(data)["source"].size == 260 + 4  # w0 w1 w2 and the space
    monkeypatch.setattr("regard.data.prepare.VOCABULARY_LINES", 100)
    assert learn_tokenizers(data)["source"].size == 260 + 2  # every third row, not found in the cache


def test_an_error_leaves_nothing_half_written(tmp_path: Path) -> None:
    data = made(tmp_path)
    (tmp_path / "train.tsv").write_text("bad\n" * 10)
    with pytest.raises(RegardError, match="10 of 10 lines are bad"):
        prepare(data)
    assert list((tmp_path / "cache" / "data").iterdir()) == []


def test_large_files_are_hashed_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(200_000))
    whole = file_hash(path)
    monkeypatch.setattr("regard.data.prepare.WHOLE_BYTES", 1000)
    os.utime(path, ns=(1, 1))
    sampled = file_hash(path)
    os.utime(path, ns=(1, 2))
    assert len({whole, sampled, file_hash(path)}) == 3


def test_the_report_counts(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a b\tx\na b\tx\na b\ty\nc\tx y z\n")
    (tmp_path / "v.tsv").write_text("a b\tx\nc\tnew\n\té\n")
    word = TextConfig(tokenizer="word")
    data = DataConfig(
        root=str(tmp_path), train=SplitConfig(table="t.tsv"), valid=SplitConfig(table="v.tsv"), source=word, target=word
    )
    report = prepare(data).report
    train, valid = report["splits"]["train"], report["splits"]["valid"]
    assert (train["duplicate_sources"], train["duplicate_pairs"]) == (2, 1)
    assert report["overlap"]["valid"] == {"in": "train", "sources": 2, "pairs": 1, "of": 3}
    assert train["lengths"]["source"]["mean"] == pytest.approx(7 / 4)
    assert train["lengths"]["target"]["histogram"][:4] == [0, 3, 1, 0]
    assert train["lengths"]["target"]["longest"] == 3
    assert valid["empty"] == {"source": 1, "target": 0}
    assert valid["byte_rate"]["source"] == 0
    # x is a piece; "new" and "é" are spelled: a space and 3 bytes, a space and 2 bytes
    assert valid["byte_rate"]["target"] == pytest.approx(5 / 8)
    assert train["ratio"]["50"] == pytest.approx(0.5)
    json.dumps(report)


def test_the_report_counts_unknown_words(tmp_path: Path) -> None:
    """Of the vocabulary a, b: é and z are unknown, and z is in no source."""
    (tmp_path / "t.tsv").write_text("a b\ta b\na b\ta b\n")
    (tmp_path / "v.tsv").write_text("a é\té b\nb é é\tz é z\n")
    word = TextConfig(tokenizer="word", unknown="hash")
    split = {"train": SplitConfig(table="t.tsv"), "valid": SplitConfig(table="v.tsv")}
    data = DataConfig(root=str(tmp_path), **split, source=word, target=word, shared_vocabulary=True)
    report = prepare(data).report
    train, valid = report["splits"]["train"], report["splits"]["valid"]
    assert train["unknown"] == {"source": 0, "target": 0} and train["unwritable"] == 0
    assert valid["unknown"] == {"source": 3, "target": 4} and valid["unwritable"] == 2


def test_the_report_can_be_read(tmp_path: Path) -> None:
    from rich.console import Console

    from regard.data.report import render

    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(prepare(made(tmp_path)).report))
    console.file.close()
    text = console.export_text()
    assert "examples" in text and "300" in text and "source length" in text and "█" in text
