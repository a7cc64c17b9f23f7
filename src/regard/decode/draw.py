"""Random numbers for sampling: each a function of (seed, sentence, sample, step) and of nothing else.

So a sentence's samples are the same in every batch, and asking for more samples changes no earlier one.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: the increment of splitmix64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def uniform(seed: int, sentence: Tensor, sample: Tensor, step: int) -> Tensor:
    """Float64 in [0, 1), one per entry of `sentence` and `sample` (int64, same shape).

    The counters go one by one through splitmix64's finalizer (Steele, Lea & Flood 2014, figure 16), a bijection
    of 64 bits. torch's int64 products wrap around, as that asks.

    48 random bits: with the 53 that a float64 holds, u · total could round up to the total.
    """
    bits = torch.full_like(sentence, _signed(seed * _GOLDEN))
    for counter in (sentence, sample, torch.full_like(sentence, step)):
        bits = _mix((bits ^ counter) + _signed(_GOLDEN))
    return _shift(bits, 16).to(torch.float64) * 2.0**-48


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _signed(_FIRST)
    bits = (bits ^ _shift(bits, 27)) * _signed(_SECOND)
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, count: int) -> Tensor:
    """Logical shift to the right; torch's own keeps the sign."""
    return (bits >> count) & (2 ** (64 - count) - 1)


def _signed(number: int) -> int:
    """The same 64 bits, read as an int64."""
    return (number + 2**63) % 2**64 - 2**63
