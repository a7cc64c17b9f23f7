"""One run made ready to predict: its recipe, tokenizers, and model with the weights that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from regard.data.tokenizer import Tokenizer
from regard.decode.engine import Encode
from regard.decode.labels import LabelDecoder
from regard.decode.protocol import Decoder
from regard.errors import RegardError
from regard.model import Seq2Seq
from regard.predict.shortlist import load_shortlist
from regard.recipe import Recipe, load_recipe
from regard.tasks import TASKS
from regard.tasks.text import TextTask
from regard.train.machine import resolve_device
from regard.train.runfolder import Run
from regard.train.weights import load_into

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Member:
    """A run in memory."""

    run: Run
    recipe: Recipe
    task: TextTask
    tokenizers: dict[str, Tokenizer]
    model: Seq2Seq
    encode: Encode
    decoder: Decoder
    """the model as search takes it"""
    device: torch.device


CHANGEABLE = (
    *("data.root", "data.cache", "data.valid", "data.test", "data.source_column", "data.target_column"),
    *("model.cache", "search.", "score.", "train.batch_tokens"),
)
"""Keys of a run's recipe that may differ after training: the weights do not depend on them."""


def load_member(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str | None = None,
    overrides: Sequence[str] = (),
    int8: bool = False,
    shortlist: bool = False,
    calibrated: bool = True,
) -> Member:
    """Read a run folder; whatever is missing, damaged or foreign in it ends in one sentence."""
    for override in overrides:
        if "=" not in override and Path(override).is_dir():
            raise RegardError(f"{override}: expected KEY=VALUE; several runs are one argument, commas between them.")
        if not override.startswith(CHANGEABLE):
            raise RegardError(f"{override}: after training only {', '.join(CHANGEABLE)} can be changed.")
    if precision is not None and precision not in PRECISIONS:
        raise RegardError(f"precision: there is no {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    where = resolve_device(device)
    run = Run(path)
    weights = run.weights()  # first, because it says best what a folder is that is no trained run
    recipe, tokenizers = run.recipe, run.tokenizers()
    if overrides:
        recipe = load_recipe(run.path / "recipe.yaml", overrides)
    task = TASKS[recipe.task](recipe)
    model = task.build(tokenizers)
    stored = next(iter(weights.values())).dtype
    model.to(stored)  # so that copying rounds nothing
    load_into(model, weights, run.path)
    model.to(where, PRECISIONS[precision] if precision else stored).eval().requires_grad_(False)
    if calibrated and isinstance(model.decoder, LabelDecoder):
        model.decoder.temperature = run.temperature()
    words = None
    if shortlist:
        words = load_shortlist(run, tokenizers)
    return Member(run, recipe, task, tokenizers, model, *model.for_search(int8=int8, shortlist=words), where)
