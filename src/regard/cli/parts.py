"""`regard list [KIND]`: the dictionaries of parts, one line each."""

from __future__ import annotations

import importlib
import inspect
from typing import Annotated, Any

import typer

from regard.errors import RegardError

KINDS = {
    "attentions": [
        ("regard.attend", "SCORES"),
        ("regard.attend", "SCOPES"),
        ("regard.attend", "NORMALIZERS"),
        ("regard.attend", "COVERAGES"),
    ],
    "scores": [("regard.attend", "SCORES")],
    "scopes": [("regard.attend", "SCOPES")],
    "normalizers": [("regard.attend", "NORMALIZERS")],
    "coverages": [("regard.attend", "COVERAGES")],
    "combinations": [("regard.attend", "COMBINATIONS")],
    "cells": [("regard.cells", "CELLS")],
    "encoders": [("regard.encode", "OPTIONAL_ENCODERS")],
    "decoders": [("regard.decode", "DECODERS")],
    "readouts": [("regard.decode", "READOUTS")],
    "searches": [("regard.decode", "SEARCHES")],
    "objectives": [("regard.objectives", "OBJECTIVES")],
    "tasks": [("regard.tasks", "TASKS")],
    "metrics": [("regard.score", "METRICS")],
}
"""What can be listed: the module and the dictionary, which Python users read too."""


def command(
    kind: Annotated[str | None, typer.Argument(help="One of: " + ", ".join(KINDS) + ".")] = None,
) -> None:
    """The parts a recipe can choose from: name, form (fast: arranged for the machine; plain: the equation), meaning."""
    if kind is None:
        for name, homes in KINDS.items():
            print(f"regard list {name:<12} {', '.join(f'{module}.{dictionary}' for module, dictionary in homes)}")
        return
    if kind not in KINDS:
        from regard.recipe_errors import nearest

        raise RegardError(f"{kind}: nothing of that name to list{nearest(kind, list(KINDS))}")
    for module, dictionary in KINDS[kind]:
        parts = getattr(importlib.import_module(module), dictionary)
        if len(KINDS[kind]) > 1:
            print(f"{dictionary.lower()}:")
        for line in lines(parts):
            print(line)


def lines(parts: dict[str, Any]) -> list[str]:
    """One line a part: name, form where it has one, the first line of its docstring."""
    width = max(map(len, parts), default=0)
    formed = any(hasattr(part, "fast") for part in parts.values())
    return [f"{name:<{width}}  {_form(part) if formed else ''}{_first_line(part)}" for name, part in parts.items()]


def _form(part: Any) -> str:
    return "fast   " if getattr(part, "fast", False) else "plain  "


def _first_line(part: Any) -> str:
    return (inspect.getdoc(part) or "").partition("\n")[0]
