"""Perplexity: how many equally likely tokens a model hesitates between."""

from __future__ import annotations

import math

from regard.errors import RegardError


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens), at most e⁷⁰⁰: a model gone astray still has a number that JSON can hold.

    nll      sum of −log p (natural logarithm) over the target tokens, end of sentence included, without smoothing
    tokens   how many they are

        perplexity(math.log(8) * 5, 5)      # 8.0
    """
    if tokens < 1:
        raise RegardError(f"perplexity: {tokens} target tokens; expected at least one.")
    return math.exp(min(nll / tokens, 700.0))
