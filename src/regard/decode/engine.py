"""Many sentences through encoder and search, such that none of them can change another.

The one road for validation, prediction, evaluation and serving. Where a model's rows are alone (`decode/packed.py`),
sentences go together as they come by length, and each thread takes its own batches. Elsewhere sources of equal length
are encoded together, so that nothing is padded, and rows are a multiple of ROW_MULTIPLE, because matrix products round
differently below it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from regard.data.batches import padded
from regard.data.tokenizer import TURN_END
from regard.decode.config import SearchConfig
from regard.decode.constraints import Constraints
from regard.decode.lanes import row_multiple
from regard.decode.outputs import Hypothesis
from regard.decode.protocol import Decoder
from regard.decode.search import search

Encode = Callable[[Tensor, Tensor], Sequence[Any]]
"""(ids (batch, src_len), lengths (batch,) on the CPU) → what the decoder's `prepare` reads."""


def decode_sentences(
    encode: Encode,
    decoder: Decoder,
    sources: Sequence[Sequence[int]],
    config: SearchConfig,
    *,
    batch_sentences: int = 64,
    prefix: Sequence[Sequence[int]] | None = None,
    constraints: Constraints | None = None,
    ids: Sequence[int] | None = None,
    keep_weights: bool = False,
    device: torch.device | str = "cpu",
    done: Callable[[int], None] | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of every source (ids without end mark), in the order given.

    prefix, ids    as in `search`, one per source; so are the phrases of `constraints`
    done           called with the number of sentences after each batch, for progress displays
    """
    alone = row_multiple(decoder) == 1
    if alone:  # something for every thread
        batch_sentences = min(batch_sentences, max(1, -(-len(sources) // torch.get_num_threads())))
    batches = batches_for(decoder, sources, batch_sentences)

    @torch.inference_mode()  # which a thread of its own does not inherit
    def decode(rows: list[int]) -> list[list[Hypothesis]]:
        return search(
            decoder,
            prepare_sources(encode, decoder, [sources[row] for row in rows], device),
            config,
            prefix=None if prefix is None else [prefix[row] for row in rows],
            constraints=None if constraints is None else constraints.of(rows),
            ids=[row if ids is None else ids[row] for row in rows],
            keep_weights=keep_weights,
        )

    found: list[list[Hypothesis]] = [[] for _ in sources]
    with _threads(min(torch.get_num_threads(), len(batches)) if alone else 1) as run:
        for rows, outputs in zip(batches, run(decode, batches), strict=True):
            for row, hypotheses in zip(rows, outputs, strict=True):
                found[row] = hypotheses
            if done is not None:
                done(len(rows))
    return found


@contextlib.contextmanager
def _threads(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` over so many threads, in each of which torch uses one; the kernels let go of Python's lock."""
    if count < 2:
        yield map
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C only the batches under way are waited for
        torch.set_num_threads(before)  # MKL's count is the process's


def batches_for(decoder: Decoder, sources: Sequence[Sequence[int]], batch_sentences: int) -> list[list[int]]:
    """Positions that go together: as they come by length where a decoder's rows are alone, else of one layout."""
    if row_multiple(decoder) == 1:
        return list(sorted_batches([len(source) for source in sources], batch_sentences))
    return list(equal_length_batches(list(map(layout, sources)), batch_sentences))


def sorted_batches(lengths: Sequence[int], batch_sentences: int) -> Iterator[list[int]]:
    """Positions in batches of at most `batch_sentences`, long ones first."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    for first in range(0, len(order), batch_sentences):
        yield order[first : first + batch_sentences]


def layout(source: Sequence[int]) -> tuple[int, ...]:
    """Its length, and where its turns end: sources with one layout are padded nowhere, in no level of an encoder."""
    if getattr(source, "ndim", 1) == 2:  # a series, which has no turns
        return (len(source),)
    return len(source), *(step for step, token in enumerate(source) if token == TURN_END)


def equal_length_batches(layouts: Sequence[tuple[int, ...]], batch_sentences: int) -> Iterator[list[int]]:
    """Positions in batches of at most `batch_sentences`, all of one layout, long ones first.

    Long ones first, so that a batch too large for the memory shows at once.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, same in enumerate(layouts):
        groups.setdefault(same, []).append(position)
    for same in sorted(groups, reverse=True):
        rows = groups[same]
        for first in range(0, len(rows), batch_sentences):
            yield rows[first : first + batch_sentences]


def prepare_sources(
    encode: Encode, decoder: Decoder, sources: Sequence[Sequence[int]], device: torch.device | str
) -> Any:
    """Encode sources (ids without end mark), with rows filled up to the decoder's multiple and dropped again."""
    count = len(sources)
    rows = [*sources, *[sources[0]] * (-count % row_multiple(decoder))]
    tokens, lengths = padded(rows)
    prepared = decoder.prepare(encode(tokens.to(device), lengths))
    return prepared if len(rows) == count else prepared.select(torch.arange(count, device=device))
