"""The k largest entries of each row, equal ones by lower index, whatever the machine."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.ops import native

BLOCK = 64
"""Entries whose maximum stands for them in the first pass; near sqrt(vocab), and a multiple of any vector."""

MOST = 64
"""Largest k for the kernel, which keeps the best in order as it goes: past that, sorting is faster."""


def plain_topk(values: Float[Tensor, "rows width"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Sort each row, equal entries in the order they stand, and take the first k."""
    ordered, index = values.sort(dim=-1, descending=True, stable=True)
    return ordered[:, :k], index[:, :k]


def topk(values: Float[Tensor, "rows width"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """`plain_topk` without sorting, except in rows where one of the k ties.

    Where k entries are -inf or fewer than k are above it, which of the -inf are returned is left open.

    One compiled pass where there is a kernel. Without, a wide row is first cut to its k blocks of largest maxima, which
    hold its k largest entries: for 6 of 32,000 two and a half times as fast as torch's topk (whose choice among equals
    is open), for 1 of 6,000 twice.
    """
    k = min(k, values.shape[1])
    if native.usable(values, multiple=1) and k <= MOST and values.is_contiguous():
        best, index = values.new_empty(len(values), k), values.new_empty(len(values), k, dtype=torch.int64)
        native.call("largest", *values.shape, k, values, best, index)
        return best, index
    if values.shape[1] < 24 * BLOCK * k:  # measured: below, the second pass costs what the first saves
        return _narrow_topk(values, k)
    width = values.shape[1]
    blocks = width // BLOCK
    maxima = values[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK)).amax(-1)  # rows blocks
    if blocks * BLOCK < width:
        maxima = torch.cat([maxima, values[:, blocks * BLOCK :].amax(-1, keepdim=True)], dim=1)
    chosen = _narrow_topk(maxima, k)[1].sort(dim=-1).values  # in order, so that equals stay by index
    index = (chosen.unsqueeze(-1) * BLOCK + torch.arange(BLOCK, device=values.device)).flatten(1)  # rows k*BLOCK
    found = values.gather(1, index.clamp(max=width - 1))
    if blocks * BLOCK < width:
        found = found.masked_fill(index >= width, -torch.inf)
    best, place = _narrow_topk(found, k)
    return best, index.gather(1, place).clamp(max=width - 1)


def _narrow_topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best, index = values.topk(min(k + 1, values.shape[1]), dim=-1)  # one more, to see a tie at the border
    tied = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)).any(-1)
    best, index = best[:, :k], index[:, :k]
    if tied.any():
        rows = tied.nonzero().squeeze(1)
        best[rows], index[rows] = plain_topk(values[rows], k)
    return best, index
