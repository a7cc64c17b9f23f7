"""Whether probabilities are what they say: of a hundred decisions at 80 %, eighty should be right."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from regard.errors import RegardError

BINS = 15
"""As Guo et al. 2017, section 2."""
COLDEST, HOTTEST = 0.02, 50.0
"""Between these a temperature is looked for."""
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def calibration_error(confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error, in percent: Σ_b n_b / n · |right_b − confidence_b| over bins of equal width.

    Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural networks" (arXiv:1706.04599), equation 3.

    confidence   (decisions,) the probability of what was decided, from 0 to 1
    right        (decisions,) whether it was right
    """
    if not len(confidence) or len(confidence) != len(right):
        raise RegardError(
            f"calibration_error: {len(confidence):,} probabilities and {len(right):,} decisions; give as many, and one "
            "at least."
        )
    place = np.minimum((np.asarray(confidence) * bins).astype(np.int64), bins - 1)
    sums = [
        np.bincount(place, weights=np.asarray(values, dtype=np.float64), minlength=bins)
        for values in (right, confidence)
    ]
    return 100.0 * float(np.abs(sums[0] - sums[1]).sum()) / len(confidence)


def best_temperature(nll: Callable[[float], float], steps: int = 60) -> float:
    """The temperature with the lowest −log p, by golden-section search over its logarithm: as a function of 1 / T,
    −log p of a softmax or of sigmoids has one minimum (section 4.2 of the same)."""
    low, high = math.log(COLDEST), math.log(HOTTEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    values = nll(math.exp(left)), nll(math.exp(right))
    for _ in range(steps):
        if values[0] <= values[1]:
            high, right = right, left
            left = high - _GOLDEN * (high - low)
            values = nll(math.exp(left)), values[0]
        else:
            low, left = left, right
            right = low + _GOLDEN * (high - low)
            values = values[1], nll(math.exp(right))
    return math.exp((low + high) / 2.0)
