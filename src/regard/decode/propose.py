"""The first role of search: which tokens may come next, each method in its own way.

A proposer gets log-probabilities that the filters have cut (-inf = not allowed) and returns candidates, best
first. Candidate i extends hypothesis `parent[i]`; where fewer are possible, the rest have a total of -inf.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.decode.config import SearchConfig
from regard.decode.draw import uniform
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


@dataclass
class Draws:
    """Where in the random sequence a step stands: sentence and sample numbers per lane, and the step."""

    sentence: Int[Tensor, "lanes"]
    sample: Int[Tensor, "lanes"]
    step: int


Proposer = Callable[[Float[Tensor, "lanes beam vocab"], LaneFloats, Draws], Candidates]


class Beam:
    """beam search: the best extensions of all `beam` hypotheses together

    Twice `beam` candidates: each hypothesis has one way to end, so at least `beam` of them go on.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.beam = config.beam

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, draws: Draws) -> Candidates:
        lanes, beam, vocab = log_probs.shape
        each = min(beam + 1, vocab)  # the best `beam` that go on, and the end
        best, token = (found.reshape(lanes, beam * each) for found in topk(log_probs.flatten(0, 1), each))
        all_totals = totals.repeat_interleave(each, 1) + best
        total, place = all_totals.sort(dim=-1, descending=True, stable=True)  # lanes beam*each, few
        total, place = total[:, : 2 * beam], place[:, : 2 * beam]
        return Candidates(
            parent=place // each,
            token=token.gather(1, place),
            log_prob=best.gather(1, place),
            total=total,
        )


class Greedy:
    """greedy search: the best token each time"""

    def __init__(self, config: SearchConfig) -> None:
        pass

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, draws: Draws) -> Candidates:
        best, token = topk(log_probs.squeeze(1), 1)
        return Candidates(torch.zeros_like(token), token, best, totals + best)


class Sample:
    """sampling: each token drawn at random, after temperature, top-k and top-p

    `log_prob` stays the model's own, so that samples can be compared with searched outputs.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.temperature, self.top_k, self.top_p = config.temperature, config.top_k, config.top_p
        self.seed = config.seed

    def __call__(self, log_probs: Float[Tensor, "lanes beam vocab"], totals: LaneFloats, draws: Draws) -> Candidates:
        probs, allowed = self.distribution(log_probs.squeeze(1))
        below = probs.cumsum(-1)  # lanes choices
        u = uniform(self.seed, draws.sentence, draws.sample, draws.step).unsqueeze(1)
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
