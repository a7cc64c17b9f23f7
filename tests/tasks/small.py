"""A small recipe over JSON lines, which the tests of several tasks change to their liking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.recipe import Recipe


def small_recipe(folder: Path, splits: Mapping[str, Sequence[Any]], changes: Mapping[str, Any], **more: Any) -> Recipe:
    """Writes each split's lines to `folder`; `changes`, and over them `more`, add to what is here, key by key."""
    for split, lines in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sections: dict[str, dict[str, Any]] = {
        "data": {
            "root": str(folder),
            "shared_vocabulary": True,
            **{each: {"table": f"{each}.jsonl"} for each in splits},
        },
        "model": {"dropout": 0.0, "output_dropout": 0.0, "tie": "all"},
        "train": {"epochs": 15, "warmup": 20, "threads": 1, "label_smoothing": 0},
    }
    for each in (changes, more):
        sections |= {key: {**sections[key], **value} if key in sections else value for key, value in each.items()}
    return Recipe.from_dict(sections)
