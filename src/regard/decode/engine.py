"""Many sentences through encoder and search, such that none of them can change another.

The one road for validation, prediction, evaluation and serving. Sources of equal length are encoded together, so
nothing is padded; rows are a multiple of ROW_MULTIPLE, because matrix products round differently below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from regard.data.tokenizer import EOS
from regard.decode.config import SearchConfig
from regard.decode.lanes import ROW_MULTIPLE
from regard.decode.outputs import Hypothesis
from regard.decode.protocol import Decoder
from regard.decode.search import search

Encode = Callable[[Tensor, Tensor], Sequence[Any]]
"""(ids (batch, src_len), lengths (batch,) on the CPU) → what the decoder's `prepare` reads."""


@torch.inference_mode()
def decode_sentences(
    encode: Encode,
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    config: SearchConfig,
    *,
    batch_sentences: int = 64,
    prefix: Sequence[Sequence[int]] | None = None,
    ids: Sequence[int] | None = None,
    keep_weights: bool = False,
    device: torch.device | str = "cpu",
    done: Callable[[int], None] | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of every source (ids without end mark), in the order given.

    prefix, ids    as in `search`, one per source
    done           called with the number of sentences after each batch, for progress displays
    """
    found: list[list[Hypothesis]] = [[] for _ in sources]
    for rows in equal_length_batches([len(source) for source in sources], batch_sentences):
        prepared = _prepare(encode, decoder, [sources[row] for row in rows], device)
        outputs = search(
            decoder,
            prepared,
            config,
            prefix=None if prefix is None else [prefix[row] for row in rows],
            ids=[row if ids is None else ids[row] for row in rows],
            keep_weights=keep_weights,
        )
        for row, hypotheses in zip(rows, outputs, strict=True):
            found[row] = hypotheses
        if done is not None:
            done(len(rows))
    return found


def equal_length_batches(lengths: Sequence[int], batch_sentences: int) -> Iterator[list[int]]:
    """Positions in batches of at most `batch_sentences`, all of one length, long ones first.

    Long ones first, so that a batch too large for the memory shows at once.
    """
    groups: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        groups.setdefault(length, []).append(position)
    for length in sorted(groups, reverse=True):
        rows = groups[length]
        for first in range(0, len(rows), batch_sentences):
            yield rows[first : first + batch_sentences]


def _prepare(encode: Encode, decoder: Decoder, sources: Sequence[Sequence[int]], device: torch.device | str) -> Any:
    """Encode sources of one length, with rows filled up to the multiple and dropped again."""
    count = len(sources)
    rows = list(sources) + [sources[0]] * (-count % ROW_MULTIPLE)
    tokens = torch.tensor([[*row, EOS] for row in rows], device=device)
    prepared = decoder.prepare(encode(tokens, torch.full((len(rows),), tokens.shape[1])))
    return prepared if len(rows) == count else prepared.select(torch.arange(count, device=device))
