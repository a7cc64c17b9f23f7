"""The toy run as a predictor, and texts to ask it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from regard.predict import Predictor, load


@pytest.fixture(scope="session")
def predictor(toy_run: Path) -> Predictor:
    """On one device and in float32: what most tests need. It holds no state, so all may share it."""
    return load(toy_run, device="cpu")


@pytest.fixture(scope="session")
def words() -> list[str]:
    """Words of 0 to 10 letters, some of them unlike those of the training data."""
    draw = random.Random(7)
    return ["".join(draw.choices("abcdefghxé", k=draw.randint(0, 10))) for _ in range(36)]
