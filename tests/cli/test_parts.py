"""`regard list`: every kind, every part, one line each."""

from __future__ import annotations

import importlib

import pytest

from regard.cli.parts import KINDS, command, lines
from regard.errors import RegardError


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_a_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    command(kind)
    printed = capsys.readouterr().out.splitlines()
    for module, dictionary in KINDS[kind]:
        parts = getattr(importlib.import_module(module), dictionary)
        assert parts
        for name in parts:
            (line,) = [line for line in printed if line.split()[0] == name]
            assert len(line.split()) > 2, f"{name} in {module}.{dictionary} needs a docstring"


def test_kinds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    command(None)
    assert len(capsys.readouterr().out.splitlines()) == len(KINDS)


def test_forms() -> None:
    class Fast:
        """Quick."""

        fast = True

    class Plain:
        """Slow.

        More.
        """

    assert lines({"a": Fast, "bcd": Plain}) == ["a    fast   Quick.", "bcd  plain  Slow."]
    assert lines({"bcd": Plain}) == ["bcd  Slow."]  # where no part has two forms, the column is left out


def test_unknown_kind() -> None:
    with pytest.raises(RegardError, match=r"attention: nothing of that name to list; did you mean attentions\?"):
        command("attention")
