"""What is asked of a memory at one moment, and what attention carries from moment to moment."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from regard.ops.noise import Noise

AttentionState = dict[str, Tensor]
"""What attention carries from step to step, by name; first dimension: hypotheses, second: heads, where there are
several."""


@dataclass(frozen=True)
class Question:
    """All that a part may read besides keys and values. Parts never see heads: they are in the batch dimension."""

    query: Float[Tensor, "batch queries query"]
    state: AttentionState
    """one row per query, a sentence's queries together"""
    noise: Noise | None = None
    """None outside training: a part that samples takes what is likeliest"""


@dataclass(frozen=True)
class Answer:
    """What a normalizer makes of scores."""

    weights: Float[Tensor, "batch queries steps"]
    state: AttentionState = field(default_factory=dict)
    """its own part of the next state"""
    aux: dict[str, Tensor] = field(default_factory=dict)
    """(batch, queries) each: `penalty`, to be added to the loss, in nats; `log_prob` of what was sampled, and
    `baseline`, what reward was expected (see `Trace`)"""
