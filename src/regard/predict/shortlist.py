"""Learning a run's shortlist from the data it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from regard.data.config import SPECIALS
from regard.data.lexicon import lexical_best, target_counts
from regard.data.store import Pairs
from regard.data.tokenizer import PAD, Tokenizer
from regard.decode import READOUTS
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
    if READOUTS[recipe.model.readout.type].copies:
        raise RegardError(f"{run.path}: a shortlist leaves out words, and this model may copy any; predict without.")
    task = TASKS[recipe.task](recipe)
    if task.continues:
        raise RegardError(f"{run.path}: task {recipe.task} has no source that could suggest words; write without.")
    tokenizers = run.tokenizers()
    digests = tokenizer_digests(tokenizers)
    pairs = task.prepare(tokenizers).train
    sizes = tokenizers["source"].size, tokenizers["target"].size
    shared = digests["source"] == digests["target"]
    shortlist = learn_shortlist(pairs, *sizes, shared=shared, common=common, best=best)
    write_bytes(run.path / FILE, shortlist.pack(digests))
    return shortlist


def load_shortlist(run: Run, tokenizers: Mapping[str, Tokenizer]) -> Shortlist:
    """The one that `make_shortlist` kept."""
    return Shortlist.load(run.path, tokenizer_digests(tokenizers), tokenizers["target"].size)


def tokenizer_digests(tokenizers: Mapping[str, Tokenizer]) -> dict[str, str]:
    """SHA-256 of each side's tokenizer."""
    return {side: hashlib.sha256(one.to_json().encode()).hexdigest() for side, one in tokenizers.items()}


def learn_shortlist(
    pairs: Pairs, source_vocab: int, target_vocab: int, *, shared: bool, common: int = COMMON, best: int = BEST
) -> Shortlist:
    """The same from prepared pairs. shared   whether source and target pieces are the same"""
    best = min(best, target_vocab)
    frequent = np.argsort(-target_counts(pairs, target_vocab), kind="stable")
    first = torch.from_numpy(frequent[frequent >= SPECIALS][:common].copy())
    found = torch.from_numpy(lexical_best(pairs, source_vocab, target_vocab, best)).long()
    return Shortlist(first, found.where(found >= 0, PAD), target_vocab, shared)
