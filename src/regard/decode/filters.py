"""The second role of search: what may not be said. Every filter writes -inf into log-probabilities, in place.

Filters do not renormalize: the tokens left keep the model's own log-probabilities.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.tokenizer import BOS, EOS, PAD, UNK
from regard.decode.config import SearchConfig
from regard.decode.lanes import FREE, SoFar

LogProbs = Float[Tensor, "lanes beam vocab"]
Filter = Callable[[LogProbs, SoFar], None]


def never_special(log_probs: LogProbs, so_far: SoFar) -> None:
    """Padding, unknown and begin of sentence are no outputs."""
    assert (PAD, UNK, BOS) == (0, 1, 2)
    log_probs[..., : BOS + 1] = -torch.inf


def special_but_unknown(log_probs: LogProbs, so_far: SoFar) -> None:
    """The same, where a word of the source stands for an unknown one."""
    log_probs[..., [PAD, BOS]] = -torch.inf


@dataclass
class MinLength:
    """No end of sentence before `length` tokens."""

    length: int

    def __call__(self, log_probs: LogProbs, so_far: SoFar) -> None:
        if so_far.step < self.length:
            log_probs[..., EOS] = -torch.inf


@dataclass
class NoRepeat:
    """No n-gram twice in an output (Paulus, Xiong & Socher 2017, section 2.5, where n is 3)."""

    n: int

    def __call__(self, log_probs: LogProbs, so_far: SoFar) -> None:
        history = so_far.history
        assert history is not None, "no_repeat_ngram needs the tokens chosen so far"
        if so_far.step < self.n:
            return
        grams = history.unfold(2, self.n, 1)  # lanes beam step-n+1 n
        begun = history[..., so_far.step - self.n + 1 :].unsqueeze(2)  # the last n-1 tokens
        again = (grams[..., :-1] == begun).all(-1)
        # A gram that has begun again may not end as before; the others ban padding, which never comes anyway.
        log_probs.scatter_(2, grams[..., -1].where(again, PAD), -torch.inf)


def build_filters(config: SearchConfig) -> list[Filter]:
    """The filters that a configuration asks for."""
    filters: list[Filter] = [special_but_unknown if config.unknown == "attended" else never_special]
    if config.min_length:
        filters.append(MinLength(config.min_length))
    if config.no_repeat_ngram:
        filters.append(NoRepeat(config.no_repeat_ngram))
    return filters


def needs_history(filters: Sequence[Filter]) -> bool:
    """Whether the tokens chosen so far must be kept in sight."""
    return any(isinstance(one, NoRepeat) for one in filters)


def apply_filters(filters: Sequence[Filter], log_probs: LogProbs, so_far: SoFar) -> None:
    """Run them all. Where a prefix has a token for this step it alone remains, whatever the filters say."""
    prefix = so_far.lanes.prefix
    if so_far.step >= prefix.shape[1]:
        for ban in filters:
            ban(log_probs, so_far)
        return
    forced = prefix[:, so_far.step].view(-1, 1, 1)
    place = forced.clamp(min=0).expand(-1, log_probs.shape[1], 1)
    given = log_probs.gather(2, place)  # before any filter
    for ban in filters:
        ban(log_probs, so_far)
    log_probs.masked_fill_(forced != FREE, -torch.inf)
    log_probs.scatter_(2, place, given.where(forced != FREE, log_probs.gather(2, place)))
