"""Random numbers that are a function of their place alone."""

import zlib

import numpy as np


def philox(seed: int, name: str, first: int, second: int) -> np.random.Philox:
    """The stream of that name at the place (first, second): a function of these four and of nothing else.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    key = np.array([seed & (2**64 - 1), zlib.crc32(name.encode("utf-8", "replace"))], dtype=np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, first, second], dtype=np.uint64))
