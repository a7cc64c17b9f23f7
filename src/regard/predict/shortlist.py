"""Learning a run's shortlist from the data it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from regard.data.config import SPECIALS
from regard.data.lexicon import lexical_best, target_counts
from regard.data.store import Pairs
from regard.decode.shortlist import FILE, Shortlist
from regard.errors import RegardError
from regard.recipe import load_recipe
from regard.tasks import TASKS
from regard.train.files import write_bytes
from regard.train.runfolder import Run

COMMON = 100
"""The most frequent target pieces, allowed for every sentence: most are words that no source word stands for."""
BEST = 50
"""Target pieces for each source piece."""


def make_shortlist(
    path: str | Path, *, common: int = COMMON, best: int = BEST, overrides: Sequence[str] = ()
) -> Shortlist:
    """Learn the shortlist of a run from its training data, and keep it in its folder for `load(path, shortlist=True)`.

    common, best   pieces for every sentence, and for each of its pieces: more miss less, and take more time
    overrides      `key=value`, for where the data is now: data.root, data.cache
    """
    for override in overrides:
        if not override.startswith(("data.root", "data.cache")):
            raise RegardError(f"{override}: only data.root and data.cache can be changed here.")
    run = Run(path)
    run.weights()  # says best what a folder is that is no trained run
    recipe = load_recipe(run.path / "recipe.yaml", overrides) if overrides else run.recipe
    tokenizers = run.tokenizers()
    prepared = TASKS[recipe.task](recipe).prepare(tokenizers)
    shortlist = learn_shortlist(
        prepared.train, tokenizers["source"].size, tokenizers["target"].size, common=common, best=best
    )
    write_bytes(run.path / FILE, shortlist.pack())
    return shortlist


def learn_shortlist(
    pairs: Pairs, source_vocab: int, target_vocab: int, *, common: int = COMMON, best: int = BEST
) -> Shortlist:
    """The same from prepared pairs."""
    frequent = np.argsort(-target_counts(pairs, target_vocab), kind="stable")
    first = torch.from_numpy(frequent[frequent >= SPECIALS][:common].copy())
    found = torch.from_numpy(lexical_best(pairs, source_vocab, target_vocab, best)).long().clamp_min(0)  # 0 is PAD
    return Shortlist(torch.cat([torch.arange(SPECIALS), first]), found, target_vocab)
