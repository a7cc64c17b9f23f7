"""Attention pictures: the pixels, real sentences in many scripts, and what cannot be drawn."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from regard.errors import RegardError
from regard.explain import attention_picture
from regard.explain.attention_picture import COLOURS

SENTENCES = {
    "Arabic": "ذهب الولد إلى المدرسة في الصباح الباكر .",
    "Chinese": "一 个 男孩 在 公园 里 骑 自行车 。",
    "Cyrillic": "Мальчик едет на велосипеде по парку .",
    "Japanese": "男の子 が 公園 で 自転車 に 乗って いる 。",
    "Devanagari": "लड़का पार्क में साइकिल चला रहा है ।",
    "Latin": "Ein Junge fährt im Park Fahrrad .",
}


def uniform(target: list[str], source: list[str]) -> np.ndarray:
    return np.full((len(target), len(source)), 1 / len(source))


def test_rows_are_targets_columns_are_sources_white_is_zero(tmp_path: Path):
    # Asymmetric on purpose: a transposed or flipped table would differ.
    weights = np.array([[0, 0.5, 0, 0.5], [0.25, 0, 0.75, 0], [1, 0, 0, 0]])
    path = attention_picture(weights, list("abcd"), ["x", "y", "z"], tmp_path / "a.png")
    pixels = matplotlib.image.imread(path)[:, :, :3]
    # Cells are 0.3 inches at 144 dots per inch; the only 1, at the bottom left, is the leftmost darkest blue.
    side = 0.3 * 144
    darkest = (np.abs(pixels - COLOURS(1.0)[:3]) < 0.01).all(axis=2)
    left = np.flatnonzero(darkest.sum(axis=0) > side / 2)[0]
    top = np.flatnonzero(darkest[:, left + 5])[0] - 2 * side
    for row in range(3):
        for column in range(4):
            found = pixels[round(top + (row + 0.5) * side), round(left + (column + 0.5) * side)]
            np.testing.assert_allclose(found, COLOURS(weights[row, column])[:3], atol=0.01)
    assert COLOURS(0.0)[:3] == (1, 1, 1)


@pytest.mark.parametrize("script", SENTENCES)
def test_every_script_gives_a_picture_and_at_most_one_warning(script: str, tmp_path: Path):
    source, target = [*SENTENCES[script].split(), "</s>"], ["a", "b", "</s>"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = attention_picture(uniform(target, source), source, target, tmp_path / "a.png", title=SENTENCES[script])
    assert path.stat().st_size > 5000
    assert len(caught) <= 1  # one sentence, not one warning per letter
    if script in ("Arabic", "Cyrillic", "Latin"):
        assert not caught  # the font that comes with matplotlib has them
    elif caught:
        assert "pip install 'regard[fonts]'" in str(caught[0].message)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_same_data_same_bytes(suffix: str, tmp_path: Path):
    source, target = ["кот", "$x$", "  ", "a\nb"], ["the", "cat", "x" * 300]
    first = attention_picture(uniform(target, source), source, target, tmp_path / f"1{suffix}", title="a $ b_1")
    matplotlib.rcParams["font.size"] = 20  # the user's own settings must not matter, nor be changed
    try:
        second = attention_picture(uniform(target, source), source, target, tmp_path / f"2{suffix}", title="a $ b_1")
        assert matplotlib.rcParams["font.size"] == 20
    finally:
        matplotlib.rcdefaults()
    assert first.read_bytes() == second.read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted([first, second])  # no temporary file is left


def test_tensors_tiny_and_long(tmp_path: Path):
    one = torch.ones(1, 1, requires_grad=True)
    assert attention_picture(one, ["a"], [""], tmp_path / "one.png").is_file()
    pieces = [f"w{i}" for i in range(150)]
    long = attention_picture(torch.eye(150, dtype=torch.bfloat16), pieces, pieces, tmp_path / "long.png")
    height, width = matplotlib.image.imread(long).shape[:2]
    assert max(height, width) < 5000


def test_what_cannot_be_drawn(tmp_path: Path):
    path = tmp_path / "a.png"
    with pytest.raises(RegardError, match=r"shape \(1, 2\) for 2 target and 1 source"):
        attention_picture([[0.5, 0.5]], ["a"], ["b", "c"], path)
    with pytest.raises(RegardError, match="at least one of each"):
        attention_picture(np.zeros((0, 1)), ["a"], [], path)
    with pytest.raises(RegardError, match=r"weights from -1 to 2; expected numbers in \[0, 1\]"):
        attention_picture([[-1, 2]], ["a", "b"], ["c"], path)
    with pytest.raises(RegardError, match="expected numbers"):
        attention_picture([[float("nan")]], ["a"], ["c"], path)
    with pytest.raises(RegardError, match=r"ends in \.png, \.svg, \.pdf; found '\.jpg'"):
        attention_picture([[1]], ["a"], ["c"], tmp_path / "a.jpg")
    with pytest.raises(RegardError, match=r"folder .* does not exist"):
        attention_picture([[1]], ["a"], ["c"], tmp_path / "no" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RegardError, match="could not be written"):
        attention_picture([[1]], ["a"], ["c"], tmp_path / "folder.png")
    assert [item.name for item in tmp_path.iterdir()] == ["folder.png"]
