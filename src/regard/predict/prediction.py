"""What comes back for a text."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

END_MARK = "</s>"
"""How the end of a sentence is labelled beside pieces; the model reads one after every source."""


@dataclass(frozen=True)
class Prediction:
    """One output for one text.

    An empty text has an empty output, of which it is certain; so has a text that was refused, with the reason in
    `problem`.
    """

    text: str = ""
    score: float = 0.0
    """What outputs of a text are ranked by: log_prob / length^α, plus the coverage penalty."""
    log_prob: float = 0.0
    """The model's natural log-probability of the tokens and of the end after them."""
    tokens: list[str] = field(default_factory=list)
    """One readable piece per token."""
    token_log_probs: list[float] = field(default_factory=list)
    """One per token, then that of the end, if finished."""
    finished: bool = True
    """False where a limit cut the output off."""
    ids: list[int] = field(default_factory=list)
    """The tokens as numbers of the target vocabulary."""
    source_tokens: list[str] | None = None
    """Pieces of the text and the end mark after them; None unless attention was asked for."""
    attention: Tensor | None = None
    """(len(token_log_probs), len(source_tokens)) weights; None unless asked for, and for an empty text."""
    problem: str | None = None
    """Why the text was refused."""

    @property
    def probability(self) -> float:
        """e^log_prob: what the model gives this output among all there are."""
        return math.exp(self.log_prob)

    @property
    def alignment(self) -> list[tuple[int, int]] | None:
        """(source token, target token) pairs from 0: where attention looked most for each target token.

        A token for which it looked most at the end mark has no pair, nor has one for which it looked nowhere (monotonic
        attention past its end). None unless attention was asked for.
        """
        if self.source_tokens is None:
            return None
        if self.attention is None:
            return []
        most, best = (part.tolist() for part in self.attention[: len(self.tokens)].max(1))
        pairs = [(source, target) for target, source in enumerate(best) if most[target] > 0]
        return [(source, target) for source, target in pairs if source < len(self.source_tokens) - 1]
