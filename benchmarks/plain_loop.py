"""The other side of train_speed: a careful plain PyTorch loop, `sketch.py`.

The sketch is a script for one experiment; it lies beside the repository (../shared/peers/sketch.py), is read when the
benchmark runs and never copied. Of its text these parts are executed, unchanged: how batches are drawn and padded,
the model, the optimiser, and the body of the training loop.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

PLACE = Path(__file__).resolve().parents[2] / "shared" / "peers" / "sketch.py"

Example = tuple[list[int], list[int]]
"""Source ids with their end mark, target ids without."""


class PlainLoop:
    """The sketch's model and its training step.

    loop = PlainLoop(examples, vocab=6000, embed=256, hidden=512)
    batches = loop.batches()             # example numbers, one source length a batch
    loop.step(batches[0])                # one update
    """

    def __init__(
        self, examples: Sequence[Example], *, vocab: int, embed: int, hidden: int, place: Path = PLACE
    ) -> None:
        text = place.read_text(encoding="utf-8")
        helpers = _between(text, "def batches(", "class Model")
        model = _between(text, "class Model", "base=[[")
        body = _between(text, "    for b in batches(train):\n", "    el=time.time()")
        step = "def step(b):\n    global it, ls, n\n" + textwrap.indent(textwrap.dedent(body), "    ")
        self.names: dict[str, Any] = {
            **{"torch": torch, "nn": nn, "F": nn.functional, "random": random},
            **{"V": vocab, "E": embed, "H": hidden, "OPT": "adam", "train": list(examples)},
            **{"it": 0, "ls": 0.0, "n": 0, "total": 10_000, "print": lambda *_: None},
        }
        random.seed(1)
        torch.manual_seed(1)
        for part in (helpers, model, step):
            exec(compile(part, str(place), "exec"), self.names)
        self.names["base"] = [[group["lr"] for group in opt.param_groups] for opt in self.names["opts"]]

    @property
    def model(self) -> nn.Module:
        model: nn.Module = self.names["M"]
        return model

    def batches(self) -> list[list[int]]:
        """An epoch's batches, shuffled."""
        found: list[list[int]] = self.names["batches"](self.names["train"])
        return found

    def step(self, batch: Sequence[int]) -> None:
        """Collate, loss, gradient, clipping, AdamW."""
        self.names["step"](batch)

    @property
    def loss(self) -> float:
        """Mean loss per target token over all steps so far."""
        return float(self.names["ls"] / self.names["n"])


def _between(text: str, first: str, last: str) -> str:
    """What follows `first` (which is kept where it begins a definition) up to `last`."""
    assert text.count(first) == 1 and last in text, f"sketch.py has changed: {first!r} … {last!r} not found"
    start = text.index(first)
    if not first.startswith(("def ", "class ")):
        start += len(first)
    return text[start : text.index(last, start)]
