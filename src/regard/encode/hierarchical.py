"""The encoder of documents: words make sentences, sentences make a document."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard.attend.memory import Memory, valid_steps
from regard.attend.pooling import POOLINGS, WEIGHTED, Pooled
from regard.config import choice
from regard.encode.birnn import BiRNN
from regard.encode.encoder import Encoder
from regard.encode.segments import Segments
from regard.ops.noise import Noise

Recurrence = Callable[[Tensor, Tensor, Noise | None], Memory]
"""(x, lengths, noise) ↦ memory, of one level"""


@dataclass(frozen=True)
class Reading:
    """A memory, and how the encoder came to it. Levels from the lowest on, without the highest, which is the memory's.

    What a word counted is the product of its weight in its sentence, its sentence's in the paragraph, and so on:

        reading = encoder.read(x, lengths, levels)
        vector, weights, _ = pooling(reading.memory)          # memory: top
        reading.down(weights.mean(1))                         # (batch, steps): sums to one over all words of a document
    """

    memory: Memory
    segments: tuple[Segments, ...]
    """of each level"""
    weights: tuple[Float[Tensor, "batch hops _"] | None, ...]
    """of each level: of every step in its segment; None where the pooling has none"""
    penalty: Float[Tensor, "batch"] | None
    """of poolings that have one, the mean over a level's segments, summed over levels; to be added to the loss"""

    def down(self, weights: Float[Tensor, "batch top"]) -> Float[Tensor, "batch steps"]:
        """The weight of each step of the lowest level, from that of each step of the highest; the mean over hops."""
        for segments, own in zip(reversed(self.segments), reversed(self.weights), strict=True):
            if own is None:
                raise ValueError("this pooling has no weights to explain with: choose attention, structured or mean")
            weights = segments.spread(weights[..., None])[..., 0] * own.mean(1)
        return weights


class Hierarchical(Encoder):
    """Reads a sequence of segments level by level: recurrence over the steps of each, one vector of each, again.

        in each sentence h = birnn(words), s = pool(h);  in the document h' = birnn(s), …

    Yang et al. 2016, "Hierarchical attention networks for document classification", section 2.2, up to the document's
    own pooling (equations 8 to 10), which is the head's. Here of any depth, with any cell and any pooling; theirs are
    GRUs and `attention` (equations 5 to 7). With `memory: bottom` each word has, beside its own state, those of its
    sentence and of all larger segments, so that a decoder can attend to words that know their place in the whole (as
    in summaries of Nallapati et al. 2016, and replies of Serban et al. 2016, whose decoders learn of a second level by
    other roads).

        encoder = Hierarchical(Hierarchical.Config(depth=2), input_size=64)
        memory = encoder(x, lengths, levels=segment_ids(ids, [[FULL_STOP]]))      # (batch, sentences, dim)

    The segments of all rows are one batch for a level's recurrence; in training, one for each group of similar length.
    """

    class Config(BiRNN.Config):
        """Recurrent encoders over one another; the recurrence's settings are those of each level."""

        type: Literal["hierarchical"] = "hierarchical"  # type: ignore[assignment]
        depth: int = Field(2, ge=1)
        """Levels of recurrence: two, words and sentences; one is a recurrent encoder."""
        pooling: choice(POOLINGS) = "attention"  # type: ignore[valid-type]
        """What makes a segment one step of the next level; attention, the best in Yang et al. 2016, table 2."""
        memory: Literal["top", "bottom"] = "top"
        """Steps of the memory: those of the highest level, or those of the lowest with the states of all above."""

        @property
        def memory_dim(self) -> int:
            """Features of each step of the memory."""
            return super().memory_dim * (self.depth if self.memory == "bottom" else 1)

    by_turns = True

    @property
    def shows(self) -> bool:
        """A memory of sentences does where these are made of words by weight."""
        return self.config.memory == "bottom" or self.config.pooling.type in WEIGHTED

    @staticmethod
    def conflict(config: Any, attended: bool) -> str | None:
        """A decoder tells it of turns alone, shows attention over words, and adds no penalty to its loss."""
        penalty = getattr(config.pooling, "penalty", 0)
        if config.depth != 2:
            return f"encoder hierarchical reads words and turns: depth is 2, found {config.depth}"
        if penalty:
            return f"encoder.pooling.penalty {penalty:g} is not part of a decoder's loss: set it to 0"
        if attended and config.memory == "top":
            return (
                "encoder hierarchical: attention is shown over words, and memory top has turns: set "
                "model.encoder.memory to bottom"
            )
        return None

    def __init__(self, config: Config, *, input_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.recurrences, self.poolings = nn.ModuleList(), nn.ModuleList()
        for level in range(config.depth):
            recurrence = BiRNN(config, input_size=input_size, dropout=dropout)
            self.recurrences.append(recurrence)
            if level < config.depth - 1:
                sizes = {"memory_dim": recurrence.dim, "summary_size": recurrence.summary_size}
                pooling = POOLINGS[config.pooling.type](config.pooling, **sizes)
                self.poolings.append(pooling)
                input_size = pooling.dim
        self.dim = config.memory_dim
        """features of each step of the memory"""
        self.summary_size = recurrence.summary_size

    def forward(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"],
        noise: Noise | None = None,
        levels: Int[Tensor, "batch nesting steps"] | None = None,
    ) -> Memory:
        """`lengths` on the CPU, each at least 1; `levels` as `Memory.levels` and `segment_ids` have them.

        Leaves out weights, and the penalty of `structured` poolings: where these are wanted, `read`.
        """
        return self.read(x, lengths, levels, noise).memory

    def read(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"],
        levels: Int[Tensor, "batch nesting steps"] | None,
        noise: Noise | None = None,
    ) -> Reading:
        noises = None if noise is None else [noise.under(f"level.{level}") for level in range(self.config.depth)]
        recurrences = cast("list[Recurrence]", list(self.recurrences))
        parts = (list(self.poolings), self.config, x, lengths, levels)
        return read_levels(recurrences, *parts, noises=noises, grouped=noises is not None)


def read_levels(
    recurrences: Sequence[Recurrence],
    poolings: Sequence[Callable[[Memory], Pooled]],
    config: Hierarchical.Config,
    x: Float[Tensor, "batch steps input"],
    lengths: Int[Tensor, "batch"],
    levels: Int[Tensor, "batch nesting steps"] | None,
    *,
    noises: Sequence[Noise] | None = None,
    grouped: bool,
) -> Reading:
    """The walk from words to the whole, whatever computes a level: a recurrence for each, a pooling between two.

    noises    of each level, in training
    grouped   as in `Segments.of`: where that changes no bit of an output, or outputs are not asked for
    """
    levels = _checked(levels, x, config.depth)
    rest, counts = levels, lengths
    segments: list[Segments] = []
    inner: list[list[Memory]] = []
    pooled: list[list[Pooled]] = []
    for level, (recur, pool) in enumerate(zip(recurrences[:-1], poolings, strict=True)):
        at = Segments.of(rest, counts, grouped=grouped)
        noise = [None] * len(at.groups) if noises is None else noises[level].shared(at.groups)
        each = zip(at.split(x), at.groups, noise, strict=True)
        read = [recur(part, at.sizes[rows], own) for part, rows, own in each]
        found = [pool(memory) for memory in read]
        segments.append(at)
        inner.append(read)
        pooled.append(found)
        x, counts, rest = at.join([one.vector for one in found]), at.counts, at.levels
    memory = recurrences[-1](x, counts, None if noises is None else noises[-1])
    if config.memory == "bottom" and segments:
        states = [at.unsplit([each.values for each in read]) for at, read in zip(segments, inner, strict=True)]
        values = _side_by_side(segments, [*states, memory.values])
        valid = valid_steps(lengths, values.shape[1]).to(values.device)
        memory = replace(memory, values=values, src_valid=valid, lengths=lengths, levels=levels)
    weights = tuple(_by_row(at, found) for at, found in zip(segments, pooled, strict=True))
    reading = Reading(memory, tuple(segments), weights, _penalty(segments, pooled))
    if config.memory == "top" and segments:
        valid = valid_steps(lengths, levels.shape[-1]).to(x.device)
        share = (
            None
            if any(own is None for own in weights)
            else reading.down(torch.ones_like(memory.src_valid, dtype=x.dtype))
        )
        owner = levels[:, -1].to(x.device).masked_fill(~valid, -1)
        reading = replace(reading, memory=replace(memory, owner=owner, share=share))
    return reading


def _checked(levels: Tensor | None, x: Tensor, depth: int) -> Int[Tensor, "batch nesting steps"]:
    """Levels that are those of this depth."""
    shape = (x.shape[0], depth - 1, x.shape[1])
    if levels is None and depth == 1:
        return torch.zeros(shape, dtype=torch.long)
    if levels is None or levels.shape != shape:
        found = "none" if levels is None else str(tuple(levels.shape))
        raise ValueError(
            f"encoder hierarchical of depth {depth} needs levels {shape}, the segment of each step "
            f"(batch, depth − 1, steps), found {found}: make them of token ids with segment_ids"
        )
    return levels


def _side_by_side(segments: list[Segments], states: list[Tensor]) -> Float[Tensor, "batch steps dim"]:
    """At each step of the lowest level its state there and those of the segments in which it lies."""
    values = states[-1]
    for at, own in zip(reversed(segments), reversed(states[:-1]), strict=True):
        values = torch.cat([own, at.spread(values)], -1)
    return values


def _by_row(segments: Segments, pooled: list[Pooled]) -> Float[Tensor, "batch hops steps"] | None:
    weights = [each.weights.mT for each in pooled if each.weights is not None]
    return segments.unsplit(weights).mT if weights else None


def _penalty(segments: list[Segments], pooled: list[list[Pooled]]) -> Float[Tensor, "batch"] | None:
    """The mean over segments, so that a long document does not pay more than a short one."""
    paid = [[each.penalty for each in found if each.penalty is not None] for found in pooled]
    found = [at.mean(penalties) for at, penalties in zip(segments, paid, strict=True) if penalties]
    return torch.stack(found).sum(0) if found else None
