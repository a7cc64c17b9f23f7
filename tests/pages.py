"""README, docs and examples, as tests read them."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


@dataclass(frozen=True)
class Block:
    """A fenced block: language, the word after it, content, and where it begins."""

    language: str
    word: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*) ?(\S*)\n(.*?)^```$", text, re.M | re.S)
    return [Block(m[1], m[2], m[3], text.count("\n", 0, m.start()) + 1) for m in found]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def named(paths: list[Path]) -> Any:
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(REPOSITORY)) for path in paths])


def command_of(example: Path) -> list[str]:
    """The arguments in the line of its docstring that says how to run it."""
    doc = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8")), clean=False) or ""
    [line] = re.findall(rf"^    python examples/{example.name} (.+)$", doc, re.M)
    return shlex.split(line)
