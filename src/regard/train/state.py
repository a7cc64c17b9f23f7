"""Where training stands: the part of a checkpoint that is numbers, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from regard.data.batches import Indices


@dataclass
class Sums:
    """Totals over some updates, from which reports are made."""

    loss: float = 0.0
    nll: float = 0.0
    correct: float = 0.0
    tokens: int = 0
    source_tokens: int = 0
    source_computed: int = 0
    target_computed: int = 0
    cost: float = 0.0
    judged: int = 0

    @classmethod
    def of(cls, pairs: Any, group: Sequence[Indices]) -> Sums:
        """The tokens of an update, end marks counted, known before anything is computed."""
        sums = cls()
        for indices in group:
            source = np.asarray(pairs.source_lengths[indices], dtype=np.int64) + 1
            target = np.asarray(pairs.target_lengths[indices], dtype=np.int64) + 1
            sums.tokens += int(target.sum())
            sums.source_tokens += int(source.sum())
            sums.source_computed += int(source.max()) * len(indices)
            sums.target_computed += int(target.max()) * len(indices)
        return sums

    def add(self, other: Sums) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def report(self) -> dict[str, Any]:
        """Per-token means in nats, the percentage of right tokens, and padding as (computed − real) / computed; what
        outputs cost on average, where some were found."""
        return {
            "loss": self.loss / self.tokens,
            "nll": self.nll / self.tokens,
            **({"cost": self.cost / self.judged} if self.judged else {}),
            "accuracy": 100.0 * self.correct / self.tokens,
            "tokens": self.tokens,
            "padding": {
                "source": 1.0 - self.source_tokens / self.source_computed,
                "target": 1.0 - self.tokens / self.target_computed,
            },
        }


@dataclass
class State:
    """Position, choices made so far, and sums that the log has not told yet."""

    epoch: int = 0
    """Passes completed."""
    batch: int = 0
    """Batches of this epoch that are done, over all processes."""
    update: int = 0
    """Updates done."""
    seconds: float = 0.0
    """Wall-clock so far, over all resumes; only the time limit and people read it."""
    best: dict[str, float] = field(default_factory=dict)
    """Scores of the best validation."""
    best_update: int = 0
    waiting: int = 0
    """Validations since the best one."""
    ended: str = ""
    """Why training is over; empty while it goes on. What remains is the final evaluation."""
    unjudged: bool = False
    """Whether the clock ended it where no validation was due. The one it then has comes after the checkpoint, and
    counts for nothing if the run is given more time: a run never stopped would not have had it."""
    window: Sums = field(default_factory=Sums)
    """Since the last `train` record."""
    pass_sums: Sums = field(default_factory=Sums)
    """Since the epoch began."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> State:
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        known["window"], known["pass_sums"] = Sums(**known["window"]), Sums(**known["pass_sums"])
        return cls(**known)
