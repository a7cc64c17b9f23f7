"""What search sees of a decoder: prepare once, start once a batch, step once a token.

Anything with these calls can be searched: a model's decoder, an ensemble of them, an exported graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from regard.decode.state import State


@dataclass
class StepOutput:
    """One step's answer, one row per hypothesis. The caller owns the tensors and may write into `scores`."""

    scores: Tensor
    """(rows, vocab) what the model gives every next token; with `words`, one column for each of those."""
    normalized: bool = False
    """True when `scores` are log-probabilities; otherwise search subtracts their logsumexp."""
    weights: Tensor | None = None
    """(rows, src_len) attention of this step, zero on padding; None for a decoder that does not look back."""
    words: Tensor | None = None
    """(sentences, columns) int64, for a decoder that scores a part of the vocabulary: the token of each column. The
    special tokens come first, in order, so that their columns are their ids; a column without a word scores -inf."""
    vocab: int = 0
    """How many tokens there are, where `words` is given, or columns for what the source adds; 0: a column each."""
    features: Tensor | None = None
    """(rows, features) from which the scores were read, for a cache; None for a decoder that cannot have one."""
    aux: dict[str, Tensor] = field(default_factory=dict)
    """Whatever else a part reports, one row per hypothesis."""


@runtime_checkable
class Source(Protocol):
    """What `prepare` made of a batch of sentences: one row per sentence, read-only."""

    @property
    def rows(self) -> int:
        """How many sentences."""

    @property
    def src_len(self) -> int:
        """Source steps, padding included."""

    @property
    def valid(self) -> Tensor:
        """(sentences, src_len) bool, True = real token."""

    def select(self, rows: Tensor) -> Source:
        """The sentences `rows` (int64), in that order, repeats allowed; `src_len` stays."""


@runtime_checkable
class Decoder(Protocol):
    """A next-token model with its state outside.

    One with an attribute `rows_alone` that is true gives a row the same bits whatever other rows there are, and reads
    sources of several lengths together; for others, sources of one length are searched together, in full rows.
    """

    def prepare(self, memories: Sequence[Any]) -> Any:
        """What every step needs of the sources, computed once a batch."""

    def start(self, source: Any, beam: int = 1) -> State:
        """The state before the first token: `source.rows` × `beam` rows, a sentence's rows together."""

    def step(self, tokens: Tensor, state: State, source: Any) -> tuple[StepOutput, State]:
        """Read one token a row, score the next. `tokens` (rows,); the beam is rows / `source.rows`."""
