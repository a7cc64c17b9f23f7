"""A language model beside a predictor's runs: what must agree, and how much it counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from regard.errors import RegardError
from regard.predict.member import Member

LANGUAGE_WEIGHT = 0.1
"""What a log-probability of the language model counts beside the model's own; more than half makes outputs that read
well and say something else."""


def check_language(members: Sequence[Member], language: Member, weight: float) -> None:
    """Refuse a run that cannot help these, each for its reason."""
    path, first = language.run.path, members[0]
    if not language.task.continues:
        raise RegardError(f"{path}: a language model is a run of task write, and this one's is {language.recipe.task}.")
    if first.task.continues or first.task.decides or first.task.points:
        raise RegardError(
            f"{first.run.path}: task {first.recipe.task} writes nothing that a language model could help."
        )
    if any(member.model.copies for member in members):
        raise RegardError(f"{path}: a language model knows nothing of words that are copied; leave it out.")
    if not (math.isfinite(weight) and weight >= 0):
        raise RegardError(f"language_weight: {weight:g}; expected 0 or more, such as {LANGUAGE_WEIGHT:g}.")
    ours, theirs = (member.tokenizers["target"].to_json() for member in (first, language))
    if ours != theirs:
        raise RegardError(
            f"{path}: has another target vocabulary than {first.run.path}; train it with "
            f"data.vocabulary_from={first.run.path}."
        )
    kinds = [next(member.model.parameters()).dtype for member in (first, language)]
    if kinds[0] != kinds[1]:
        raise RegardError(f"{path}: is of another precision than {first.run.path}; set precision to one for both.")
