"""The likeliest sets of labels, exactly. A search that adds one label after another would lose its way: where many
labels are unlikely, each next one is likelier than that none of them comes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from regard.data.config import BYTES, SPECIALS
from regard.decode.outputs import Hypothesis, src_lengths


def likeliest_sets(odds: Tensor, valid: Tensor, weights: Tensor | None, n_best: int) -> list[list[Hypothesis]]:
    """The `n_best` likeliest sets of every row, best first (fewer where there are not so many).

    odds      (rows, labels) the log-odds of each label, which are independent of one another
    valid     (rows, src_len) True = real token of the source
    weights   (rows, src_len) what was looked at; None: not wanted
    """
    lengths = src_lengths(valid)
    found: list[list[Hypothesis]] = []
    for row, each in enumerate(odds.double().cpu()):
        there, out = each > 0, torch.cat([each.new_zeros(1), logsigmoid(-each).cumsum(0)])
        shown = None if weights is None else weights[row, : lengths[row]].cpu()
        order = each.abs().argsort(stable=True)
        found.append([])
        for flipped in _cheapest(each.abs()[order].tolist(), n_best):
            chosen = there.clone()
            chosen[order[flipped]] ^= True
            found[-1].append(_hypothesis(chosen, logsigmoid(each), out, shown))
    return found


def _cheapest(costs: list[float], count: int) -> Iterator[list[int]]:
    """The subsets of least sum, in order; `costs` rise. Each follows from one before by taking its last member's
    neighbour, with that member or in its place."""
    yield []
    heap = [(costs[0], [0])] if costs else []
    for _ in range(count - 1):
        if not heap:
            return
        cost, members = heapq.heappop(heap)
        yield members
        last = members[-1]
        if last + 1 < len(costs):
            heapq.heappush(heap, (cost + costs[last + 1], [*members, last + 1]))
            heapq.heappush(heap, (cost + costs[last + 1] - costs[last], [*members[:-1], last + 1]))


def _hypothesis(chosen: Tensor, inside: Tensor, out: Tensor, weights: Tensor | None) -> Hypothesis:
    """A set as an output: its labels in order, with the terms of `LabelDecoder`'s chain."""
    labels, terms, after = chosen.nonzero()[:, 0].tolist(), [], 0
    for label in labels:
        terms.append(float(out[label] - out[after] + inside[label]))
        after = label + 1
    terms.append(float(out[-1] - out[after]))
    return Hypothesis(
        tokens=[SPECIALS + BYTES + label for label in labels],
        score=sum(terms),
        log_prob=sum(terms),
        token_log_probs=terms,
        finished=True,
        weights=None if weights is None else weights.expand(len(terms), -1).clone(),
    )
