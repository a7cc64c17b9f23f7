"""What a decoder's looks at its memories leave behind, besides the features."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attend.combination import Looked


@dataclass(frozen=True)
class Sampled:
    """What attention to one memory picked by chance, and may learn from through what came of it."""

    log_prob: Float[Tensor, "batch tgt_len"]
    """of what was picked, times the weight that rewards have"""
    baseline: Float[Tensor, "batch tgt_len"]
    """the mean log-likelihood that was expected of each token from here on"""


@dataclass
class Trace:
    """What `teacher_forced` reports besides the features."""

    weights: Float[Tensor, "batch tgt_len src_len"] | None = None
    """attention to the first memory; None for a decoder without attention, or when not asked for"""
    penalty: Float[Tensor, "batch tgt_len"] | None = None
    """what attention and regularization add to each token's loss, in nats"""
    sampled: tuple[Sampled, ...] = ()


def stacked(looks: list[Looked]) -> Looked:
    """Every step's look as one, with a dimension for steps after the sentences'."""

    def stack(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, 1)

    weights = [stack(list(each)) for each in zip(*(look.weights for look in looks), strict=True)]
    aux = [
        {name: stack([part[name] for part in each]) for name in each[0]}
        for each in zip(*(look.aux for look in looks), strict=True)
    ]
    return Looked(weights=weights, aux=aux)


def trace(looked: Looked) -> Trace:
    """What is told of it: penalties of several memories add up."""
    penalties = [part["penalty"] for part in looked.aux if "penalty" in part]
    sampled = tuple(Sampled(part["log_prob"], part["baseline"]) for part in looked.aux if "log_prob" in part)
    weights = looked.weights[0] if looked.weights else None
    return Trace(weights, sum(penalties[1:], penalties[0]) if penalties else None, sampled)
