"""The site is built without a warning, with a page for everything; the Chinese README says the English one's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import regard

ROOT = Path(__file__).resolve().parents[1]


def commands(text: str) -> list[str]:
    """What can be run, or comes out of it: fenced blocks but for the tree of folders, and indented lines."""
    blocks = re.findall(r"^```(?:python|sh)\n(.*?)^```", text, re.M | re.S)
    return [*blocks, *re.findall(r"^    (pip .+)$", text, re.M)]


def spans(text: str) -> set[str]:
    """First cells of tables that are code: tasks, recipes."""
    return set(re.findall(r"^\| (`[^`]+`) \|", text, re.M))


def test_both_readmes_say_the_same_commands_pages_and_tables() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert commands(english) == commands(chinese) and len(commands(english)) > 6
    pages = [set(re.findall(r"\]\((docs/\w+\.md)\)", text)) for text in (english, chinese)]
    assert pages[0] - {"docs/README.md"} <= pages[1] and len(pages[0]) > 15
    assert spans(english) <= spans(chinese)
    assert set(re.findall(r"\d+\.\d+–\d+\.\d+", english)) == set(re.findall(r"\d+\.\d+–\d+\.\d+", chinese)) != set()
    assert "](README.zh.md)" in english and "](README.md)" in chinese


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", ROOT / "docs", tmp_path]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    for page in (ROOT / "docs").glob("*.md"):
        html = (tmp_path / f"{page.stem}.html").read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.M)
        assert title and re.sub(r"[`*]", "", title[1]).split(":")[0] in re.sub(r"<[^>]+>", "", html), page.name
    errors = re.sub(r"<[^>]+>", "", (tmp_path / "_built" / "errors.html").read_text(encoding="utf-8"))
    assert "no example found in … lines" in errors and "regard/data/read.py" in errors
    names = (tmp_path / "_built" / "regard.html").read_text(encoding="utf-8")
    assert all(f'id="regard.{name}"' in names for name in regard.__all__ if name not in ("train", "__version__"))
    for folder in ("attend", "encode", "decode"):
        for module in (ROOT / "src" / "regard" / folder).glob("[!_]*.py"):
            assert f"regard.{folder}.{module.stem}" in (tmp_path / "_built" / f"{folder}.html").read_text("utf-8")
