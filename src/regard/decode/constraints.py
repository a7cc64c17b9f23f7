"""Words that must appear in an output: beam search with places kept for beginnings that have more of them.

Post & Vilar 2018, "Fast lexically constrained decoding with dynamic beam allocation for neural machine translation"
(arXiv:1804.06609): beside the likeliest tokens each hypothesis is offered those that would go on with a phrase it still
lacks, and the beam is shared out among hypotheses by how many required tokens they have. What a hypothesis has is read
off its tokens at every step, so that a phrase may be begun, left and begun again, and phrases may overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.data.tokenizer import BOS, EOS, PAD, UNK
from regard.decode.config import SearchConfig
from regard.decode.lanes import FREE, SoFar
from regard.decode.propose import Beam, Candidates, LaneFloats
from regard.errors import RegardError

NOTHING = -2
"""Where there is no token: no phrase has it."""

Phrases = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Constraints:
    """What each sentence's output must have in it."""

    phrases: Sequence[Phrases]
    """for each sentence its phrases, each the ids of a word or of several in a row"""
    breaks: Bool[Tensor, "vocab"] | None = None
    """whether a piece ends the word before it: a phrase that another piece goes on with is another word. None, and for
    what is copied from the source: it does."""

    def of(self, rows: Sequence[int]) -> "Constraints":
        """Those of some sentences."""
        return Constraints([self.phrases[row] for row in rows], self.breaks)

    def required(self, sentences: int) -> Int[Tensor, "sentences phrases longest"]:
        """As a tensor, FREE past the end of each."""
        if len(self.phrases) != sentences:
            raise RegardError(f"constraints: {len(self.phrases)} of them for {sentences} sentences; give each a list")
        most = max(map(len, self.phrases), default=0)
        longest = max((len(phrase) for phrases in self.phrases for phrase in phrases), default=0)
        found = torch.full((sentences, most, longest), FREE)
        for row, phrases in enumerate(self.phrases):
            for place, phrase in enumerate(phrases):
                if any(token in (PAD, UNK, BOS, EOS) or token < 0 for token in phrase):
                    raise RegardError(
                        f"constraints of sentence {row}: a special token cannot be required; leave it out"
                    )
                found[row, place, : len(phrase)] = torch.as_tensor(list(phrase), dtype=torch.int64)
        return found


@dataclass
class Had:
    """Which phrases a hypothesis has. An empty phrase is had by all."""

    settled: Bool[Tensor, "lanes beam phrases"]
    """whatever comes next"""
    last: Bool[Tensor, "lanes beam phrases"]
    """its last tokens are the phrase, which the next one may go on with"""


def had(
    history: Int[Tensor, "lanes beam step"],
    required: Int[Tensor, "lanes phrases longest"],
    breaks: Bool[Tensor, "vocab"] | None,
) -> Had:
    """What is in these tokens."""
    steps, longest = history.shape[2], required.shape[2]
    lengths = (required != FREE).sum(2)  # lanes phrases
    empty = (lengths == 0).unsqueeze(1).expand(-1, history.shape[1], -1)
    if steps == 0:
        return Had(empty, torch.zeros_like(empty))
    over = _ends_word(history, breaks)
    windows = F.pad(history, (0, longest), value=NOTHING).unfold(2, longest, 1)[:, :, :steps]
    free = (required == FREE)[:, None, None]
    here = ((windows.unsqueeze(3) == required[:, None, None]) | free).all(-1)  # lanes beam steps phrases
    after = F.pad(over, (0, longest + 1), value=True).unfold(2, longest + 1, 1)[:, :, :steps]
    next_breaks = after.gather(3, lengths[:, None, None].expand_as(here))
    until = torch.arange(steps, device=history.device)[:, None] + lengths.unsqueeze(1)  # lanes steps phrases
    ends = (until == steps).unsqueeze(1)
    return Had((here & next_breaks & ~ends).any(2) | empty, (here & ends).any(2) & ~empty)


def progress(
    tail: Int[Tensor, "lanes candidates longest"], required: Int[Tensor, "lanes phrases longest"]
) -> Int[Tensor, "lanes candidates phrases"]:
    """How many tokens of each phrase these last tokens begin it with: the most that fit."""
    found = torch.zeros(*tail.shape[:2], required.shape[1], dtype=torch.int64, device=tail.device)
    longest = required.shape[2]
    for count in range(1, longest + 1):
        same = (tail[:, :, None, longest - count :] == required[:, None, :, :count]).all(-1)
        found.masked_fill_(same, count)
    return found


class MustAppear:
    """A filter: no end before all of them are there."""

    def __init__(self, breaks: Bool[Tensor, "vocab"] | None) -> None:
        self.breaks = breaks

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], so_far: SoFar) -> None:
        assert so_far.history is not None, "constraints need the tokens chosen so far"
        have = had(so_far.history, so_far.lanes.required, self.breaks)
        lacking = ~(have.settled | have.last).all(2)
        log_probs[..., EOS].masked_fill_(lacking, -torch.inf)


class AllocatedBeam(Beam):
    """Beam search that keeps places for hypotheses with more of what must appear (Post & Vilar 2018, section 3).

    Candidates with as many required tokens are a bank. Places go around: the best of each bank, that with the most
    first, then the second best of each. Without constraints there is one bank, and this is beam search.
    """

    def __init__(self, config: SearchConfig, breaks: Bool[Tensor, "vocab"] | None) -> None:
        super().__init__(config)
        self.breaks = breaks

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, so_far: SoFar) -> Candidates:
        history, required = so_far.history, so_far.lanes.required
        assert history is not None, "constraints need the tokens chosen so far"
        longest = required.shape[2]
        have = had(history, required, self.breaks)
        before = F.pad(history, (longest, 0), value=NOTHING)[..., history.shape[2] :]  # lanes beam longest
        likely = self.extensions(log_probs, totals)
        asked = self._asked_for(log_probs, totals, have, progress(before, required), required, likely)
        all_ = Candidates(
            *(torch.cat(pair, 1) for pair in zip(vars(likely).values(), vars(asked).values(), strict=True))
        )
        tail = before.gather(1, all_.parent.unsqueeze(2).expand(-1, -1, longest))
        tail = torch.cat([tail[:, :, 1:], all_.token.unsqueeze(2)], 2)
        order = _around(self._tokens_had(all_, tail, have, required), all_.total)[:, : 2 * self.beam]
        return Candidates(*(values.gather(1, order) for values in vars(all_).values()))

    def _asked_for(
        self,
        log_probs: Float[Tensor, "lanes beam vocab"],
        totals: LaneFloats,
        have: Had,
        begun: Int[Tensor, "lanes beam phrases"],
        required: Int[Tensor, "lanes phrases longest"],
        likely: Candidates,
    ) -> Candidates:
        """Each hypothesis with the next token of each phrase it lacks; a total of -inf where it lacks none, and where
        that token is among the likeliest or asked for by a phrase before."""
        lanes, beam, phrases = begun.shape
        lengths = (required != FREE).sum(2).unsqueeze(1)
        lacks = ~(have.settled | have.last)
        place = begun.minimum((lengths - 1).clamp(min=0)).transpose(1, 2)
        token = required.gather(2, place).transpose(1, 2)  # lanes beam phrases
        lacks = lacks & (token != FREE)
        token = token.clamp(min=0)
        same = token.unsqueeze(3) == token.unsqueeze(2)
        earlier = torch.ones(phrases, phrases, dtype=torch.bool, device=token.device).tril(-1)
        lacks &= ~(same & earlier & lacks.unsqueeze(2)).any(3)
        there = likely.token.view(lanes, beam, -1)
        lacks &= ~(token.unsqueeze(3) == there.unsqueeze(2)).any(3)
        log_prob = log_probs.gather(2, token)
        total = (totals.unsqueeze(2) + log_prob).masked_fill(~lacks, -torch.inf)
        parent = torch.arange(beam, device=token.device).view(1, beam, 1).expand_as(token)
        return Candidates(*(values.reshape(lanes, beam * phrases) for values in (parent, token, log_prob, total)))

    def _tokens_had(
        self,
        all_: Candidates,
        tail: Int[Tensor, "lanes candidates longest"],
        have: Had,
        required: Int[Tensor, "lanes phrases longest"],
    ) -> Int[Tensor, "lanes candidates"]:
        """How many of the required tokens each candidate has: of whole phrases, and of the one it is in."""
        lengths = (required != FREE).sum(2).unsqueeze(1)
        parent = all_.parent.unsqueeze(2).expand(-1, -1, required.shape[1])
        over, begun = _ends_word(all_.token, self.breaks), progress(tail, required)
        whole = have.settled.gather(1, parent) | (have.last.gather(1, parent) & over.unsqueeze(2)) | (begun == lengths)
        return (lengths * whole).sum(2) + begun.masked_fill(whole, 0).amax(2)


def _ends_word(tokens: Int[Tensor, "..."], breaks: Bool[Tensor, "vocab"] | None) -> Bool[Tensor, "..."]:
    if breaks is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    return breaks[tokens.clamp(max=len(breaks) - 1)] | (tokens >= len(breaks))


def _around(bank: Int[Tensor, "lanes candidates"], total: Float[Tensor, "lanes candidates"]) -> Tensor:
    """The order in which candidates get places: by their rank within their bank, then the fullest bank first. Those
    that cannot be (-inf) come last; of equal ones the first."""
    by_total = total.sort(dim=1, descending=True, stable=True).indices
    banks = bank.gather(1, by_total)
    dead = total.gather(1, by_total) == -torch.inf
    banks = banks.masked_fill(dead, -1)
    grouped = banks.sort(dim=1, descending=True, stable=True)
    place = torch.arange(bank.shape[1], device=bank.device).expand_as(bank)
    begins = torch.ones_like(dead)
    begins[:, 1:] = grouped.values[:, 1:] != grouped.values[:, :-1]
    rank = place - torch.where(begins, place, 0).cummax(1).values
    rank = rank + (grouped.values < 0) * bank.shape[1]
    around = rank.sort(dim=1, stable=True).indices  # stable: of one rank the fullest bank first
    return by_total.gather(1, grouped.indices.gather(1, around))
