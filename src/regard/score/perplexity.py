"""Perplexity: how many equally likely tokens a model hesitates between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from regard.errors import RegardError
from regard.score.metric import Metric


@dataclass(frozen=True)
class Told:
    """What a model gives texts that it is told rather than finds."""

    statistics: npt.NDArray[np.float64]
    """(texts, 2): of each −log p in nats, without smoothing, and its tokens, its end counted; of a running text,
    of each block"""
    accuracy: float | None
    """of tokens that rank first, %; None for several models together"""

    @property
    def perplexity(self) -> float:
        """Of all texts together."""
        return Perplexity().from_statistics(self.statistics.sum(0))


class Perplexity(Metric):
    """Perplexity of all texts from the statistics of `Told`, to be resampled as scores of texts are.

    It reads no texts: `from_statistics` is all that it has.
    """

    name: ClassVar[str] = "perplexity"
    label: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False

    def from_statistics(self, sums: np.ndarray) -> float:
        nll, tokens = sums.tolist()
        return perplexity(nll, round(tokens))


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens), at most e⁷⁰⁰: a model gone astray still has a number that JSON can hold.

    nll      sum of −log p (natural logarithm) over the target tokens, end of sentence included, without smoothing
    tokens   how many they are

        perplexity(math.log(8) * 5, 5)      # 8.0
    """
    if tokens < 1:
        raise RegardError(f"perplexity: {tokens} target tokens; expected at least one.")
    return math.exp(min(nll / tokens, 700.0))
