"""What all tests share."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from rich.console import Console

TRAINED = {"run", "fitted"}
"""Fixtures of tests/tasks and tests/front that train a model for a module: what uses them is slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        trains = item.path.parent.name in ("tasks", "front") and TRAINED & set(getattr(item, "fixturenames", ()))
        if trains:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets: REGARD_DATA, or `shared/data` beside or inside the repository; else skip."""
    repository = Path(__file__).resolve().parents[1]
    named = os.environ.get("REGARD_DATA")
    places = [Path(named)] if named else [repository.parent / "shared" / "data", repository / "shared" / "data"]
    for place in places:
        if (place / "multi30k").is_dir() or (named and place.is_dir()):
            return place
    pytest.skip(f"real data not found in {' or '.join(map(str, places))}: set REGARD_DATA to its folder")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared data of tests never lands in the user's cache; nor does that of runs that a whole module shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture
def no_shape_checks() -> Iterator[None]:
    """For tests of long runs of many steps, which cost five times as much with every call's shapes checked."""
    with _no_shape_checks():
        yield


@pytest.fixture(scope="module")
def no_shape_checks_in_module() -> Iterator[None]:
    """The same for a module, whose own fixtures train."""
    with _no_shape_checks():
        yield


@contextlib.contextmanager
def _no_shape_checks() -> Iterator[None]:
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small trained run that spells words backwards: `abc` → `C B A`. Read it, never change it."""
    import regard

    folder = tmp_path_factory.mktemp("toy")
    recipe = regard.Recipe.from_dict(toy_recipe(folder))
    with _no_shape_checks():
        return regard.train(recipe, folder / "run", console=Console(quiet=True)).path


def toy_recipe(folder: Path) -> dict[str, Any]:
    """A recipe with its data, written to `folder`: random words of 1 to 6 letters, and the words backwards."""
    draw = random.Random(1)
    for split, count in {"train": 1000, "valid": 60, "test": 80}.items():
        words = ["".join(draw.choices("abcdefgh", k=draw.randint(1, 6))) for _ in range(count)]
        rows = "".join(f"{word}\t{' '.join(reversed(word.upper()))}\n" for word in words)
        (folder / f"{split}.tsv").write_text(rows, encoding="utf-8")
    small = {"hidden": 32}
    return {
        "task": "transduce",
        "data": {
            "root": str(folder),
            "cache": str(folder / "cache"),
            **{split: {"table": f"{split}.tsv"} for split in ("train", "valid", "test")},
            "source": {"tokenizer": "char"},
            "target": {"tokenizer": "word"},
        },
        "model": {"embed": 16, "encoder": small, "decoder": small, "attention": {"dim": 32}, "dropout": 0.1},
        "train": {
            "epochs": 5,
            "batch_tokens": 150,
            "learning_rate": 0.012,
            "warmup": 30,
            "threads": 1,
            "device": "cpu",
        },
    }
