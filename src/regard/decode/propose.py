"""The first role of search: which tokens may come next, each method in its own way.

A proposer gets log-probabilities that the filters have cut (-inf = not allowed) and returns candidates, best
first. Candidate i extends hypothesis `parent[i]`; where fewer are possible, the rest have a total of -inf.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.tokenizer import EOS
from regard.decode.config import SearchConfig
from regard.decode.draw import uniform
from regard.decode.lanes import SoFar
from regard.decode.topk import topk

LaneFloats = Float[Tensor, "lanes beam"]
LaneInts = Int[Tensor, "lanes beam"]


@dataclass
class Candidates:
    """Extensions by one token, best first, (lanes, candidates) each."""

    parent: Int[Tensor, "lanes candidates"]
    token: Int[Tensor, "lanes candidates"]
    log_prob: Float[Tensor, "lanes candidates"]
    total: Float[Tensor, "lanes candidates"]


Proposer = Callable[[Float[Tensor, "lanes beam vocab"], LaneFloats, SoFar], Candidates]


class Beam:
    """beam search: the best extensions of all `beam` hypotheses together

    Twice `beam` candidates: each hypothesis has one way to end, so at least `beam` of them go on.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.beam = config.width

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, so_far: SoFar) -> Candidates:
        token, log_prob, totals = self._likeliest(log_probs, totals)
        total, place = totals.sort(dim=-1, descending=True, stable=True)  # lanes beam*each, few
        total, place = total[:, : 2 * self.beam], place[:, : 2 * self.beam]
        each = token.shape[1] // self.beam
        return Candidates(place // each, token.gather(1, place), log_prob.gather(1, place), total)

    def extensions(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats) -> Candidates:
        """Each hypothesis in turn with its likeliest tokens, as many as may be wanted: `beam` that go on, and the
        end."""
        token, log_prob, total = self._likeliest(log_probs, totals)
        each = token.shape[1] // self.beam
        parent = torch.arange(self.beam, device=token.device).repeat_interleave(each).expand_as(token)
        return Candidates(parent, token, log_prob, total)

    def _likeliest(
        self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats
    ) -> tuple[Int[Tensor, "lanes several"], Float[Tensor, "lanes several"], Float[Tensor, "lanes several"]]:
        """Tokens, their log-probabilities and the totals with them, hypothesis by hypothesis."""
        lanes, beam, vocab = log_probs.shape
        each = min(beam + 1, vocab)
        best, token = (found.reshape(lanes, beam * each) for found in topk(log_probs.flatten(0, 1), each))
        return token, best, totals.repeat_interleave(each, 1) + best


class DiverseBeam(Beam):
    """Beam search in groups, each of which has its part of the beam and avoids what those before it have just chosen.

    Vijayakumar et al. 2018, "Diverse beam search" (arXiv:1610.02424), section 3, with Hamming diversity: at each step a
    token that n hypotheses of groups before have chosen is worth `diversity` · n less. That is for choosing alone:
    totals stay log-probabilities. A group is a lane, its number the lane's `sample`.
    """

    def __init__(self, config: SearchConfig) -> None:
        super().__init__(config)
        self.groups, self.diversity = config.groups, config.diversity

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, so_far: SoFar) -> Candidates:
        lanes = so_far.lanes
        sentence = lanes.output // self.groups
        chosen = log_probs.new_zeros(int(sentence.max()) + 1, log_probs.shape[2])
        parts, places = [], []
        for group in range(self.groups):
            rows = (lanes.sample == group).nonzero().squeeze(1)
            own, before = log_probs[rows], totals[rows]
            cost = self.diversity * chosen[sentence[rows]].unsqueeze(1)
            found = super().__call__(own - cost, before, so_far)
            found.log_prob = own.flatten(1).gather(1, found.parent * own.shape[2] + found.token)
            found.total = before.gather(1, found.parent) + found.log_prob
            goes = (found.token != EOS) & (found.total > -torch.inf)
            goes &= (goes.cumsum(1) <= self.beam) & lanes.live[rows].unsqueeze(1)
            at = sentence[rows].unsqueeze(1).expand_as(goes)
            chosen.index_put_((at[goes], found.token[goes]), chosen.new_ones(()), accumulate=True)
            parts.append(found)
            places.append(rows)
        back = torch.cat(places).argsort()
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return Candidates(*(torch.cat(values)[back] for values in columns))


class Greedy:
    """greedy search: the best token each time"""

    def __init__(self, config: SearchConfig) -> None:
        pass

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, so_far: SoFar) -> Candidates:
        best, token = topk(log_probs.squeeze(1), 1)
        return Candidates(torch.zeros_like(token), token, best, totals + best)


class Sample:
    """sampling: each token drawn at random, after temperature, top-k and top-p

    `log_prob` stays the model's own, so that samples can be compared with searched outputs.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.temperature, self.top_k, self.top_p = config.temperature, config.top_k, config.top_p
        self.seed = config.seed

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, so_far: SoFar) -> Candidates:
        probs, allowed = self.distribution(log_probs.squeeze(1))
        below = probs.cumsum(-1)  # lanes choices
        u = uniform(self.seed, so_far.lanes.sentence, so_far.lanes.sample, so_far.step).unsqueeze(1)
        choice = torch.searchsorted(below, u * below[:, -1:], right=True)  # never one of probability zero
        choice = choice.clamp(max=probs.shape[1] - 1)  # a row with nothing allowed: its total is -inf anyway
        token = choice if allowed is None else allowed.gather(1, choice)
        log_prob = log_probs.squeeze(1).gather(1, token)
        return Candidates(torch.zeros_like(token), token, log_prob, totals + log_prob)

    def distribution(
        self, log_probs: Float[Tensor, "lanes vocab"]
    ) -> tuple[Float[Tensor, "lanes choices"], Int[Tensor, "lanes choices"] | None]:
        """Float64 probabilities to draw from, and the token of each column (None: column = token).

        top-p keeps a token if the likelier ones hold less than p together: always the first, and the one that
        crosses p.
        """
        vocab = log_probs.shape[1]
        if self.top_k == 0 and self.top_p == 1:
            return _softmax(log_probs / self.temperature), None
        values, allowed = topk(log_probs, min(self.top_k or vocab, vocab))
        probs = _softmax(values / self.temperature)
        likelier = probs.cumsum(-1) - probs
        return probs.masked_fill(likelier >= self.top_p, 0.0), allowed


def _softmax(values: Tensor) -> Tensor:
    """In float64, and zero throughout where nothing is allowed."""
    return values.softmax(-1, dtype=torch.float64).nan_to_num(0.0)
