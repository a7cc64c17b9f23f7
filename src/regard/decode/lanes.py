"""Which sentence each row of the batch is working on, and what holds for that sentence alone.

A lane is one sentence, or one sample of a sentence; a decoder's rows are lanes × beam. Matrix products round
differently for a few row counts, but not for multiples of 8: lanes are filled up to those by repeating one whose
result nobody reads, at the start and whenever finished lanes leave. That makes outputs the same, bit for bit,
whatever else is in the batch. A decoder whose rows are alone needs no filling up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from regard.data.tokenizer import BOS, EOS, PAD
from regard.decode.config import SearchConfig
from regard.decode.protocol import Decoder, Source
from regard.errors import RegardError

FREE = -1
"""In a forced prefix, and in a required phrase: past its end."""
ROW_MULTIPLE = 8
"""Lanes come in multiples of this, except where a decoder's rows are alone; measured on AVX2, 1 and 2 threads, torch
2.13."""


@dataclass
class Lanes:
    """One entry per lane."""

    output: Int[Tensor, "lanes"]
    """Where its result belongs: sentence · samples + sample."""
    sentence: Int[Tensor, "lanes"]
    """The number that, with `sample`, picks its random numbers."""
    sample: Int[Tensor, "lanes"]
    limit: Int[Tensor, "lanes"]
    """The most tokens, end of sentence not counted."""
    prefix: Int[Tensor, "lanes longest"]
    """Tokens that the output must begin with, then FREE."""
    required: Int[Tensor, "lanes phrases longest"]
    """Tokens that must be in the output, in phrases; then FREE."""
    live: Bool[Tensor, "lanes"]
    """False once done, and for lanes that only fill up."""

    def __len__(self) -> int:
        return len(self.output)

    def select(self, rows: Int[Tensor, "rows"]) -> "Lanes":
        return Lanes(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    def crowd(self, multiple: int) -> Int[Tensor, "rows"] | None:
        """The live lanes, filled up to a multiple, or None if that would be as many lanes as now."""
        live = self.live.nonzero().squeeze(1)
        rows = fill_up(live, multiple)
        return rows if 0 < len(rows) < len(self) else None


@dataclass
class SoFar:
    """Where a search stands: what filters and proposers may look at."""

    step: int
    """Tokens chosen before this one."""
    lanes: Lanes
    history: Int[Tensor, "lanes beam step"] | None = None
    """Those tokens; None unless a filter or proposer needs them."""


def row_multiple(decoder: Decoder) -> int:
    """What the number of a decoder's lanes must be a multiple of."""
    return 1 if getattr(decoder, "rows_alone", False) else ROW_MULTIPLE


def fill_up(rows: Int[Tensor, "rows"], multiple: int) -> Int[Tensor, "padded"]:
    """The first row again and again, until they are a multiple."""
    return torch.cat([rows, rows[:1].expand(-len(rows) % multiple)])


def open_lanes(
    source: Source,
    config: SearchConfig,
    prefix: Sequence[Sequence[int]] | None,
    ids: Sequence[int] | None,
    multiple: int = ROW_MULTIPLE,
    required: Int[Tensor, "sentences phrases longest"] | None = None,
) -> tuple[Lanes, Int[Tensor, "lanes"]]:
    """A lane for every sentence and sample (or group of a beam), and for each lane its row of `source`."""
    sentences, samples, device = source.rows, config.samples, source.valid.device
    if ids is not None and len(ids) != sentences:
        raise RegardError(f"ids: {len(ids)} of them for {sentences} sentences; give one number for each")
    numbers = torch.arange(sentences) if ids is None else torch.as_tensor(list(ids), dtype=torch.int64)
    forced = _prefix_tensor(prefix, sentences).to(device)
    required = torch.empty(sentences, 0, 0, dtype=torch.int64) if required is None else required
    required = required.to(device)
    output = torch.arange(sentences * samples)
    rows = fill_up(output, multiple)
    row = (rows // samples).to(device)
    lanes = Lanes(
        output=rows.to(device),
        sentence=numbers.to(device)[row],
        sample=(rows % samples).to(device),
        limit=_limits(source.valid.sum(1), forced, required, config)[row],
        prefix=forced[row],
        required=required[row],
        live=torch.arange(len(rows), device=device) < len(output),
    )
    return lanes, row


def _limits(src_lengths: Tensor, prefix: Tensor, required: Tensor, config: SearchConfig) -> Tensor:
    """The most tokens of each sentence, from its own length; a longer prefix or minimum length wins, and there is
    always room for what must be in it."""
    limit = (src_lengths.double() * config.max_length_ratio).floor().long() + config.max_length_extra
    limit = limit.clamp(max(config.min_length, 1), config.max_length)
    return limit.maximum((prefix != FREE).sum(1) + (required != FREE).sum((1, 2)))


def _prefix_tensor(prefix: Sequence[Sequence[int]] | None, sentences: int) -> Tensor:
    if prefix is None:
        return torch.empty(sentences, 0, dtype=torch.int64)
    if len(prefix) != sentences:
        raise RegardError(f"prefix: {len(prefix)} of them for {sentences} sentences; give one list for each")
    forced = torch.full((sentences, max(map(len, prefix), default=0)), FREE)
    for row, tokens in enumerate(prefix):
        for token in tokens:
            if token in (PAD, BOS, EOS) or token < 0:
                raise RegardError(f"prefix of sentence {row}: token {token} cannot be forced; leave it out")
        forced[row, : len(tokens)] = torch.as_tensor(list(tokens), dtype=torch.int64)
    return forced
