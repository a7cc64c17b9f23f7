"""What a caller wants of outputs: how they are searched, what they begin with, and words that must appear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from regard.data.tokenizer import UNK
from regard.decode.config import SearchConfig
from regard.decode.constraints import Constraints
from regard.errors import RegardError
from regard.predict.options import choose
from regard.recipe_rules import unknown_conflict

if TYPE_CHECKING:
    from regard.predict.predictor import Predictor


def search_for(predictor: Predictor, search: SearchConfig | None, options: Mapping[str, Any]) -> SearchConfig:
    """A search, or the recipe's, with these options over it, as the predictor's task and model can have it."""
    config = predictor.task.open_ended(choose(search or predictor.recipe.search, options))
    for member in predictor.members:
        if conflict := unknown_conflict(member.recipe, config):
            raise RegardError(f"{member.run.path}: {conflict}")
    return config


def prefix_ids(predictor: Predictor, prefix: str | Sequence[str] | None, count: int) -> list[list[int]] | None:
    """What each of `count` outputs begins with."""
    if prefix is None:
        return None
    if predictor.task.points:
        raise RegardError("prefix: an answer is a part of its passage, and begins where that is; leave it out.")
    prefixes = [prefix] * count if isinstance(prefix, str) else list(prefix)
    if len(prefixes) != count:
        raise RegardError(f"prefix: {len(prefixes):,} of them for {count:,} texts; give one, or one for each.")
    return _ids(predictor, prefixes, "prefix")


def required_ids(
    predictor: Predictor, constraints: Sequence[str] | Sequence[Sequence[str]], count: int, config: SearchConfig
) -> list[list[list[int]]]:
    """For each of `count` texts the phrases that must be in its output."""
    if predictor.task.points or predictor.task.decides:
        raise RegardError("constraints: for outputs that are texts of the model's own; leave them out.")
    if config.method != "beam" or config.groups > 1:
        raise RegardError("constraints: for beam search without groups; set beam (--beam 10), or search.groups to 1.")
    each = _for_each(constraints, count)
    texts = list(dict.fromkeys(text for words in each for text in words))
    known = dict(zip(texts, _ids(predictor, texts, "constraints"), strict=True))
    for text, ids in known.items():
        if not ids:
            raise RegardError(f"constraints: {text!r} has no word in it; leave it out.")
    return [[known[text] for text in words] for words in each]


def to_constraints(predictor: Predictor, phrases: Sequence[list[list[int]]]) -> Constraints | None:
    """As search takes them; None where there are none."""
    if not any(phrases):
        return None
    breaks = torch.tensor(predictor.tokenizers["target"].breaks(), device=predictor.members[0].device)
    return Constraints(phrases, breaks)


def _for_each(constraints: Sequence[str] | Sequence[Sequence[str]], count: int) -> Sequence[Sequence[str]]:
    """A list of words for each text."""
    if isinstance(constraints, str):
        raise RegardError("constraints: expected a list of words, found one text; put it in a list.")
    if all(isinstance(one, str) for one in constraints):
        return [[str(one) for one in constraints]] * count
    if any(isinstance(one, str) for one in constraints):
        raise RegardError("constraints: give words for all texts, or a list of them for each; found both.")
    if len(constraints) != count:
        raise RegardError(f"constraints: {len(constraints):,} lists of them for {count:,} texts; give each one.")
    return constraints


def _ids(predictor: Predictor, texts: Sequence[str], name: str) -> list[list[int]]:
    """Of texts that outputs are to have in them. name   of the option"""
    if "shortlist" in predictor.approximate:
        raise RegardError(f"{name}: its words may not be on the shortlist; leave out one of the two.")
    read, target = predictor.read_each(texts, "target"), predictor.tokenizers["target"]
    for one in read:
        if one.problem:
            raise RegardError(f"{name}: {one.problem}")
        unknown = target.unnamed(one.text)
        lacking = [unknown[i] for i in one.ids if i in unknown]
        if UNK in one.ids:
            lacking = [word for word in one.text.split() if UNK in target.encode([word])[0]]
        if lacking:
            raise RegardError(f"{name}: {lacking[0]!r} is not in the model's vocabulary; leave it out.")
    return [one.ids for one in read]
