"""Words as dark as their weights, in rows of sentences."""

import re
from pathlib import Path

import pytest

from regard.errors import RegardError
from regard.explain import shaded_text


def test_sentences_are_rows_and_nothing_in_a_text_is_markup(tmp_path: Path) -> None:
    pieces, weights = ["a", "<b>", "⏎", "film", "&"], [0.1, 0.2, 0.0, 0.4, 0.3]
    page = shaded_text(pieces, weights, [("good", 0.97), ("<i>", 0.03)], tmp_path / "page.html").read_text("utf-8")
    assert "good 97.0 % · &lt;i&gt; 3.0 %" in page
    rows = re.findall(r"<tr>.*</tr>", page)
    assert [re.search(r"(\d+) %</td>", row)[1] for row in rows] == ["30", "70"]  # type: ignore[index]
    words = re.findall(r"/ ([\d.]+)\)[^>]*>(.*?)</b>", page)
    assert [word for _, word in words] == ["a", "&lt;b&gt;", "film", "&amp;"]
    assert [float(shade) for shade, _ in words] == pytest.approx(
        [0.85 * weight / 0.4 for weight in (0.1, 0.2, 0.4, 0.3)], abs=1e-3
    )


def test_subwords_are_put_together(tmp_path: Path) -> None:
    page = shaded_text(["▁mov", "ing", "▁film"], [0.5, 0.3, 0.2], [("good", 1.0)], tmp_path / "page.html").read_text(
        "utf-8"
    )
    assert "mov</b><b" in page and "ing</b> <b" in page


def test_bad_input(tmp_path: Path) -> None:
    for pieces, weights, message in [
        (["a"], [0.1, 0.2], "1 pieces but 2 weights"),
        ([], [], "at least one"),
        (["a"], [float("nan")], "at least 0"),
    ]:
        with pytest.raises(RegardError, match=message):
            shaded_text(pieces, weights, [("good", 1.0)], tmp_path / "page.html")
    with pytest.raises(RegardError, match=r"ends in \.html"):
        shaded_text(["a"], [1.0], [], tmp_path / "page.png")
    with pytest.raises(RegardError, match="does not exist"):
        shaded_text(["a"], [1.0], [], tmp_path / "no" / "page.html")
