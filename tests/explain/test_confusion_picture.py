"""Counts by hand, and a picture of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regard.errors import RegardError
from regard.explain.confusion_picture import MOST_LABELS, confusion, confusion_picture


def test_rows_are_what_it_is() -> None:
    labels, table = confusion(["a", "b", "b", "", "10"], ["a", "a", "b", "a\tb", "9"])
    assert labels == ["9", "10", "a", "a, b", "b", "none"]
    found = {
        (labels[row], labels[column]): int(table[row, column]) for row, column in zip(*table.nonzero(), strict=True)
    }
    assert found == {("a", "a"): 1, ("a", "b"): 1, ("b", "b"): 1, ("a, b", "none"): 1, ("9", "10"): 1}


def test_rare_labels_are_counted_together() -> None:
    many = [f"{number}" for number in range(MOST_LABELS)] * 2 + ["x", "y"]
    labels, table = confusion(many, [*many[:-1], "x"])
    assert labels[-1] == "others" and len(labels) == MOST_LABELS + 1
    assert table[-1, -1] == 2 and table.sum() == len(many)


def test_it_is_drawn(tmp_path: Path) -> None:
    path = confusion_picture(["good", "bad", "so"], ["good", "good", "bad"], tmp_path / "found.png")
    with Image.open(path) as picture:
        assert min(picture.size) > 100
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    with pytest.raises(RegardError, match="name ends in"):
        confusion_picture(["a"], ["a"], tmp_path / "found.txt")
    with pytest.raises(RegardError, match="0 outputs and 0 references"):
        confusion_picture([], [], tmp_path / "found.png")
