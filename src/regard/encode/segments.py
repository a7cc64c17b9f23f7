"""Sequences of sequences: a batch of documents as a batch of sentences, and back."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attend.memory import valid_steps
from regard.cells.cell import of_similar_length


@dataclass(frozen=True)
class Segments:
    """Where the segments of a batch lie: runs of steps, one after the other, that make up each row.

        segments = Segments.of(levels, lengths)      # levels (batch, nesting, steps)
        sentences = segments.split(words)            # each group's (rows, longest, dim), of segments.sizes[group]
        rows = segments.join(vectors)                # each group's (rows, dim) → (batch, most, dim), of segments.counts

    All on the CPU, as lengths are, and made once a batch.
    """

    lengths: Int[Tensor, "batch"]
    """steps of each row"""
    sizes: Int[Tensor, "segments"]
    """steps of each segment of the batch, rows one after the other; at least 1"""
    counts: Int[Tensor, "batch"]
    """segments of each row; at least 1"""
    groups: list[Int[Tensor, "_"]]
    """which segments are run together"""
    steps: list[Int[Tensor, "_ _"]]
    """(rows, longest) which steps, counted over the batch, each segment of a group has; past its end, its last one"""
    members: Int[Tensor, "batch most"]
    """which segments each row has; past its end, its last one"""
    number: Int[Tensor, "batch steps"]
    """which of its row's segments each step lies in; past the row's end, the last one"""
    place: Int[Tensor, "batch steps"]
    """where in its segment each step lies; past the row's end, 0"""
    levels: Int[Tensor, "batch nesting most"]
    """the larger segments in which these lie"""

    @classmethod
    def of(
        cls, levels: Int[Tensor, "batch nesting steps"], lengths: Int[Tensor, "batch"], grouped: bool = False
    ) -> "Segments":
        """The smallest segments, `levels[:, 0]`; a larger one that ends, ends those in it.

        grouped   segments of similar length are a group, so that few of a group's steps are filling: for training and
                  for rows that are alone, as what is beside a segment, and so how sums over steps round, then depends
                  on the batch; else all are one

        Only where ids change is asked, so that they may be counted over the row or within the larger segment, and
        leave numbers out: there is no empty segment.
        """
        levels, steps = levels.cpu(), levels.shape[2]
        valid, at = valid_steps(lengths, steps), torch.arange(steps)
        begins = torch.ones_like(valid)
        begins[:, 1:] = (levels[:, :, 1:] != levels[:, :, :-1]).any(1)
        begins &= valid
        counts, number = begins.sum(1), begins.cumsum(1) - 1
        since = torch.where(begins, at, 0).cummax(1).values  # where the segment of each step begins
        first = begins.flatten().nonzero()[:, 0]  # (segments,), steps counted over the batch
        sizes = torch.bincount((number + _before(counts))[valid], minlength=len(first))
        members = _runs(_before(counts)[:, 0], counts)
        place = torch.where(valid, at - since, 0)
        above = levels[:, 1:].gather(2, (first % steps)[members][:, None].expand(-1, levels.shape[1] - 1, -1))
        groups = of_similar_length(sizes) if grouped else [torch.arange(len(sizes))]
        each = [_runs(first[rows], sizes[rows]) for rows in groups]
        return cls(lengths, sizes, counts, groups, each, members, number, place, above)

    def split(self, x: Float[Tensor, "batch steps dim"]) -> list[Float[Tensor, "_ _ dim"]]:
        """Each segment as a row of its group, (rows, longest, dim), padded with its own last step."""
        taken = _take(x.flatten(0, 1), torch.cat([steps.flatten() for steps in self.steps])[None])[0]
        parts = taken.split([steps.numel() for steps in self.steps])
        return [part.view(*steps.shape, -1) for part, steps in zip(parts, self.steps, strict=True)]

    def join(self, x: Sequence[Float[Tensor, "_ dim"]]) -> Float[Tensor, "batch most dim"]:
        """Each row as the sequence of its segments, padded with its own last one."""
        return _take(torch.cat([*x]), torch.cat(self.groups).argsort()[self.members])

    def unsplit(self, x: Sequence[Float[Tensor, "_ _ dim"]]) -> Float[Tensor, "batch steps dim"]:
        """The inverse of `split`; zero past a row's end."""
        ends, begins = 0, torch.empty_like(self.sizes)
        for rows, part in zip(self.groups, x, strict=True):
            begins[rows] = ends + torch.arange(len(rows)) * part.shape[1]
            ends += part.shape[0] * part.shape[1]
        at = begins[self.number + _before(self.counts)] + self.place
        return _only_valid(_take(torch.cat([part.flatten(0, 1) for part in x]), at), self.lengths)

    def spread(self, x: Float[Tensor, "batch most dim"]) -> Float[Tensor, "batch steps dim"]:
        """For each step what its segment has; zero past a row's end."""
        at = self.number + x.shape[1] * torch.arange(len(x))[:, None]
        return _only_valid(_take(x.flatten(0, 1), at), self.lengths)

    def mean(self, x: Sequence[Float[Tensor, "_"]]) -> Float[Tensor, "batch"]:
        """Over each row's segments."""
        rows = _only_valid(self.join([part[:, None] for part in x]), self.counts)  # (batch, most, 1)
        return rows.sum((1, 2)) / self.counts.to(rows)


def segment_ids(
    ids: Int[Tensor, "batch steps"], separators: Sequence[Sequence[int]]
) -> Int[Tensor, "batch nesting steps"]:
    """The segment of each step, from the tokens that end segments, the smallest segments first.

        levels = segment_ids(ids, [[FULL_STOP, QUESTION_MARK], [END_OF_PARAGRAPH]])      # sentences, paragraphs

    A separator belongs to what it ends; several in a row end one segment, and what ends a larger one ends those in it.
    """
    found: list[Tensor] = []
    ends: Bool[Tensor, "batch steps"] = torch.zeros_like(ids, dtype=torch.bool)
    for tokens in reversed(separators):  # larger ones first
        ends = ends | torch.isin(ids, torch.tensor(list(tokens), dtype=ids.dtype, device=ids.device))
        begins = ends.roll(1, 1) & ~ends
        begins[:, 0] = False
        found.insert(0, begins.cumsum(1))
    return torch.stack(found, 1) if found else ids.new_zeros(len(ids), 0, ids.shape[1])


def _only_valid(x: Float[Tensor, "batch steps dim"], lengths: Int[Tensor, "batch"]) -> Float[Tensor, "batch steps dim"]:
    return x.masked_fill(~valid_steps(lengths, x.shape[1]).to(x.device)[..., None], 0.0)


def _before(counts: Int[Tensor, "batch"]) -> Int[Tensor, "batch 1"]:
    """How many all earlier rows have."""
    return (counts.cumsum(0) - counts)[:, None]


def _runs(first: Int[Tensor, "rows"], sizes: Int[Tensor, "rows"]) -> Int[Tensor, "rows longest"]:
    """first, first + 1, … of each row; past its size, its last one."""
    along = torch.arange(int(sizes.max()))
    return first[:, None] + along.minimum(sizes[:, None] - 1)


def _take(x: Float[Tensor, "rows dim"], at: Int[Tensor, "many each"]) -> Float[Tensor, "many each dim"]:
    """x[at], whose gradients are summed in a fixed order on any number of threads, as indexing's are not."""
    return F.embedding(at.to(x.device), x)
