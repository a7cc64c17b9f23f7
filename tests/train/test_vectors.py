"""Word vectors in word2vec's text format: what is used, and a sentence for every malformed line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from regard.data.config import TextConfig
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError
from regard.model import Seq2Seq
from regard.model_config import ModelConfig
from regard.train.vectors import read_vectors, use_vectors

GOOD = "3 2\nhund 1 2\nein -1 0.5e1\nhund 9 9\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_what_is_wanted(tmp_path: Path) -> None:
    found = read_vectors(write(tmp_path, GOOD), {"hund", "katze"}, 2)
    assert list(found) == ["hund"] and found["hund"].tolist() == [1, 2]  # the first of two lines counts
    packed = tmp_path / "vectors.txt.gz"
    packed.write_bytes(gzip.compress(GOOD.encode()))
    assert list(read_vectors(packed, {"ein"}, 2)) == ["ein"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hund 1 2\n", r"line 1: expected two numbers, how many words and their size, found 'hund 1 2'"),
        ("1 3\nhund 1 2 3\n", r"line 1: vectors of size 3, the model has 2: set model.embed=3"),
        ("2 2\nein 1 2\nhund 1\n", r"line 3: 1 numbers, expected 2"),
        ("1 2\nhund 1 x\n", r"line 2: could not convert string to float: 'x'"),
        ("1 2\nhund 1 nan\n", r"line 2: a number that is not finite"),
        ("3 2\nhund 1 2\n", r"line 1: 3 words announced, 1 found: is the file complete"),
        ("", r"line 1: expected two numbers"),
    ],
)
def test_malformed_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RegardError, match=message):
        read_vectors(write(tmp_path, text), {"hund", "ein"}, 2)


@pytest.mark.parametrize("spoil", ["cut", "changed", "plain"])
def test_a_damaged_gzip_file_is_one_sentence(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "vectors.txt.gz"
    whole = gzip.compress(("2000 2\n" + "".join(f"w{n} {n} 1\n" for n in range(2000))).encode())
    content = {
        "cut": whole[: len(whole) // 2],
        "changed": whole[:2000] + b"\xff" * 200 + whole[2200:],
        "plain": GOOD.encode(),
    }
    path.write_bytes(content[spoil])
    with pytest.raises(
        RegardError, match=r"vectors.txt.gz: damaged after line [\d,]+ \(.*fetch or pack the file again"
    ):
        read_vectors(path, {"w1"}, 2)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    path.write_bytes(b"1 2\nhund \xff\xfe\x00\x01\n")
    with pytest.raises(RegardError, match=r"line 2: not UTF-8 .*binary format"):
        read_vectors(path, {"hund"}, 2)
    with pytest.raises(RegardError, match=r"cannot be read .*train.pretrained"):
        read_vectors(tmp_path / "none.txt", {"hund"}, 2)


def test_fills_the_table_with_vectors_of_its_own_length(tmp_path: Path) -> None:
    words = Tokenizer.train(["ein hund", "ein haus"] * 3, TextConfig(tokenizer="word", vocab=400))
    model = Seq2Seq(ModelConfig(embed=2), source_vocab=words.size, target_vocab=words.size)
    table = model.source_embedding.weight
    before = table.detach().clone()
    path = write(tmp_path, "2 2\nhund 3 4\nein 0 15\n")
    assert use_vectors(model, "source", str(path), words) == {"pieces": 4, "covered": 2}  # one is the space
    hund, ein, haus = (words.encode([word])[0][0] for word in ("hund", "ein", "haus"))
    scale = before[[hund, ein]].norm(dim=1).mean().item() / 10  # mean of lengths 5 and 15
    np.testing.assert_allclose(table[hund].tolist(), [3 * scale, 4 * scale], rtol=1e-5)
    np.testing.assert_allclose(table[ein].tolist(), [0, 15 * scale], rtol=1e-5)
    assert torch.equal(table[haus], before[haus])
    with pytest.raises(RegardError, match="no vector for any of the 4 pieces"):
        use_vectors(model, "target", str(write(tmp_path, "1 2\nkatze 1 1\n")), words)


def test_a_piece_with_its_mark_beats_the_word_without(tmp_path: Path) -> None:
    pieces = Tokenizer.train(["ab ab ab abc"] * 9, TextConfig(tokenizer="bpe", vocab=300))
    model = Seq2Seq(ModelConfig(embed=2), source_vocab=pieces.size, target_vocab=pieces.size)
    (row,) = pieces.encode(["ab"])[0]
    assert pieces.pieces([row]) == ["▁ab"]
    use_vectors(model, "source", str(write(tmp_path, "2 2\nab 1 0\n▁ab 0 1\n")), pieces)
    x, y = model.source_embedding.weight[row].tolist()
    assert x == 0 and y > 0
