"""What can be checked of README, docs and examples by reading them."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.pages import EXAMPLES, PAGES, REPOSITORY, blocks, command_of, named, prose

import regard
import regard.recipe
from regard import cli
from regard.attend import COMBINATIONS, COVERAGES, NORMALIZERS, POOLINGS, SCOPES, SCORES
from regard.cells import CELLS
from regard.cli.parts import KINDS
from regard.decode import READOUTS
from regard.predict import Prediction


@named(PAGES)
def test_blocks_are_of_a_known_kind(path: Path) -> None:
    kinds = {("python", ""), ("sh", ""), ("sh", "fails"), ("sh", "kernels"), ("yaml", ""), ("text", ""), ("json", "")}
    for block in blocks(path):
        assert (block.language, block.word) in kinds or block.language in ("yaml", "text"), f"{path}:{block.line}"
    assert path.read_text(encoding="utf-8").count("\n```") == 2 * len(blocks(path))


@named(PAGES)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    for link in links:
        assert (path.parent / link.partition("#")[0]).exists(), f"{path.name}: {link}"


def test_docs_lists_every_page() -> None:
    contents = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    front = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for page in (page for page in PAGES if page.name != "README.md"):
        assert f"({page.name})" in contents
        assert f"(docs/{page.name})" in front


def test_pictures_are_small() -> None:
    pictures = list((REPOSITORY / "docs" / "images").rglob("*.*"))
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 150_000


def keys() -> set[str]:
    """Every dotted key of a recipe."""

    def walk(values: dict[str, Any], prefix: str) -> Iterator[str]:
        for key, value in values.items():
            yield prefix + key
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    split = {"table": "words.tsv"}
    recipe = regard.Recipe.from_dict({"task": "translate", "data": {"train": split, "valid": split, "test": split}})
    return set(walk(recipe.to_dict(), ""))


@named(PAGES)
def test_keys_exist(path: Path) -> None:
    known = keys()
    sections = {key.partition(".")[0] for key in known}
    leaves = {key.rpartition(".")[2] for key in known} | set(vars(Prediction())) | {"token_log_probs"} | parts()
    for span in re.findall(r"`([^`\n]+)`", prose(path)):
        key = span.partition("=")[0]
        if re.fullmatch(r"[a-z]+(\.[a-z_]+)+", key) and key.partition(".")[0] in sections:
            assert key in known, f"{path.name}: `{span}`"
        elif re.fullmatch(r"[a-z]+(_[a-z]+)+", key):
            assert key in leaves, f"{path.name}: `{span}`"


def parts() -> set[str]:
    """What a recipe may call a part, and the settings of cells."""
    homes = {home for kind in KINDS.values() for home in kind}
    names = {name for module, dictionary in homes for name in getattr(importlib.import_module(module), dictionary)}
    return names | {name for cell in CELLS.values() for name in cell.Config.model_fields}


def test_papers_names_files_and_tests_that_exist_and_every_part_of_attention() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (REPOSITORY / "docs" / "papers.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "`" in line
    ]
    for part, paper, file, test, _ in rows:
        assert paper, part
        assert (REPOSITORY / "src" / "regard" / file.strip("`")).is_file(), file
        module, name = test.strip("`").split("::")
        assert f"def {name}(" in (REPOSITORY / "tests" / module).read_text(encoding="utf-8"), test
    told = {name for part, *_ in rows for name in re.findall(r"`(\w+)`", part)}
    attentions = {*SCORES, *SCOPES, *NORMALIZERS, *COVERAGES, *COMBINATIONS, *POOLINGS}
    assert told >= (attentions | {*READOUTS}) - {"whole"}


@named(PAGES)
def test_names_exist(path: Path) -> None:
    for span in re.findall(r"`(regard(?:\.\w+)+)[`(]", prose(path)):
        found: Any = regard
        for part in span.split(".")[1:]:
            with contextlib.suppress(ImportError):
                __import__(f"{found.__name__}.{part}") if hasattr(found, "__path__") else None
            found = getattr(found, part)


@named(PAGES)
def test_options_exist(path: Path) -> None:
    known = {"--help"} | {
        option for name in cli.COMMANDS for parameter in cli.load_command(name).params for option in parameter.opts
    }
    known |= {option for parameter in cli.typer.main.get_command(cli.app).params for option in parameter.opts}
    for span in re.findall(r"`(--[a-z0-9-]+)", prose(path)):
        assert span in known, f"{path.name}: {span}"


@named(PAGES)
def test_parts_of_recipes_are_valid(path: Path) -> None:
    split = {"table": "words.tsv"}
    minimal: dict[str, Any] = {"task": "translate", "data": {"train": split, "valid": split}}
    for block in blocks(path):
        if block.language == "yaml" and block.word != "wrong.yaml":
            written = regard.recipe.read_yaml(block.text, f"{path.name} line {block.line}").value
            if not block.word:
                written = {**minimal, **written, "data": {**minimal["data"], **written.get("data", {})}}
            regard.Recipe.from_dict(written)


def test_installation_is_constrained() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    installs = re.findall(r"pip install .*", readme)
    assert installs and all("-c constraints.txt" in line for line in installs)
    assert (REPOSITORY / "constraints.txt").is_file()


@named(EXAMPLES)
def test_examples_are_short_and_say_how_to_run_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert command_of(path)
