"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared data of tests never lands in the user's cache."""
    monkeypatch.setenv("REGARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
