"""Search options of one call, over those of the recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.recipe_errors import Places, explain, nearest

SAMPLING = ("temperature", "top_k", "top_p", "seed")
"""Options that mean nothing to a search that draws nothing."""


def choose(search: SearchConfig, options: Mapping[str, Any]) -> SearchConfig:
    """The recipe's search with `options` (keys of SearchConfig) in place of its own; None counts as not given.

    choose(recipe.search, {"beam": 10, "n_best": 10})

    A given beam means beam search, whatever the recipe's method is. An option that the search would pass over is
    refused, as its user expects it to do something.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in SearchConfig.model_fields:
            raise RegardError(f"search option {key!r}: there is none{nearest(key, list(SearchConfig.model_fields))}")
    if "beam" in given:
        given.setdefault("method", "beam")
        if given["method"] != "beam":
            raise RegardError(f"beam={given['beam']} and method={given['method']}: only beam search has a beam.")
    method = given.get("method", search.method)
    check_used(method, given, "method=sample (--sample)")
    values = {**search.model_dump(), **given}
    if "candidates" in given and values["mbr"] is None:
        raise RegardError(
            "candidates: for a search that compares its outputs; add mbr=chrf, or another metric of texts."
        )
    if method == "greedy" and "mbr" not in given:
        values["mbr"] = None  # the recipe's was for several outputs
    if method != "beam" and "groups" not in given:
        values["groups"] = 1  # the recipe's shared a beam
    if method == "greedy" and "n_best" not in given:
        values["n_best"] = 1  # the recipe's number was for its own method
    try:
        return SearchConfig.model_validate(values)
    except ValidationError as error:
        raise RegardError("\n".join(explain(error, SearchConfig, values, Places("search options")))) from None


def check_used(method: str, given: Collection[str], remedy: str) -> None:
    """Refuse keys that were given and that a search by this method passes over. remedy   what makes it a sample"""
    unused = [key for key in SAMPLING if key in given]
    if unused and method != "sample":
        raise RegardError(f"{', '.join(unused)}: for sampling, and the search is {method}; add {remedy}.")
