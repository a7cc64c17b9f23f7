"""What models give outputs that they are told, all tokens at once.

The second road to the numbers of `regard.decode.rescore`, which goes token by token as search does; a test holds the
two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from regard.data.batches import padded
from regard.data.tokenizer import BOS, EOS, PAD
from regard.decode.config import SearchConfig
from regard.decode.engine import equal_length_batches, layout
from regard.decode.lanes import ROW_MULTIPLE
from regard.decode.outputs import Hypothesis
from regard.decode.rank import Rank
from regard.errors import RegardError
from regard.model import Seq2Seq


@torch.inference_mode()
def score_forced(
    models: Sequence[Seq2Seq],
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    config: SearchConfig,
    *,
    batch_sentences: int = 64,
    keep_weights: bool = False,
    device: torch.device | str = "cpu",
) -> list[Hypothesis]:
    """One hypothesis per pair (ids without special tokens), in the order given.

    Several models are the mean of their probabilities. As in search, sources of one length go together, in rows
    filled up to a multiple, so that no pair's numbers depend on the others.
    """
    found: list[Hypothesis | None] = [None] * len(sources)
    for rows in equal_length_batches(list(map(layout, sources)), batch_sentences):
        filled = rows + rows[:1] * (-len(rows) % ROW_MULTIPLE)
        told = [list(targets[row]) for row in filled]
        ids = padded([sources[row] for row in filled])[0].to(device)
        look = keep_weights or config.coverage_penalty > 0
        chosen, weights = _forced(models, ids, told, look=look)
        for row, hypothesis in zip(rows, _hypotheses(told, chosen, weights, config, keep_weights), strict=False):
            found[row] = hypothesis
    return [one for one in found if one is not None]


def _forced(
    models: Sequence[Seq2Seq], ids: Tensor, told: list[list[int]], *, look: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the told tokens and their end (batch, tgt_len), and attention (batch, tgt_len, src_len)."""
    longest = max(map(len, told))
    before = torch.tensor([[BOS, *tokens] + [PAD] * (longest - len(tokens)) for tokens in told], device=ids.device)
    after = torch.tensor([[*tokens, EOS] + [PAD] * (longest - len(tokens)) for tokens in told], device=ids.device)
    lengths = torch.full((len(told),), ids.shape[1])
    chosen, weights = [], []
    for model in models:
        source = model.teller.prepare([model.encode(ids, lengths)])
        found, looked = model.teller.forced(source, before, after, keep_weights=look)
        chosen.append(found)
        weights.append(looked)
    if len(models) == 1:
        return chosen[0], weights[0]
    mean = torch.stack(chosen).logsumexp(0) - math.log(len(models))
    kept = [one for one in weights if one is not None]
    return mean.clamp(max=0.0), torch.stack(kept).mean(0) if len(kept) == len(models) else None


def _hypotheses(
    told: list[list[int]], chosen: Tensor, weights: Tensor | None, config: SearchConfig, keep_weights: bool
) -> list[Hypothesis]:
    """Sum up to each target's own end, and rank as search would."""
    ends = torch.tensor([[len(tokens)] for tokens in told], device=chosen.device)
    totals = chosen.double().cumsum(1).gather(1, ends)  # (batch, 1)
    coverage = src_valid = None
    if config.coverage_penalty:
        if weights is None:
            raise RegardError("search.coverage_penalty needs attention, and this model has none; set it to 0")
        coverage = weights.double().cumsum(1)  # (batch, tgt_len, src_len)
        coverage = coverage.gather(1, ends.unsqueeze(-1).expand(-1, -1, coverage.shape[2]))
        src_valid = torch.ones_like(coverage[:, 0], dtype=torch.bool)
    rank = Rank(config, chosen.shape[1], chosen.device)
    scores = rank.score(totals, ends + 1, coverage, src_valid)
    terms = chosen.tolist()
    return [
        Hypothesis(
            tokens=tokens,
            score=float(scores[row, 0]),
            log_prob=float(totals[row, 0]),
            token_log_probs=terms[row][: len(tokens) + 1],
            finished=True,
            weights=weights[row, : len(tokens) + 1].cpu().clone() if keep_weights and weights is not None else None,
        )
        for row, tokens in enumerate(told)
    ]
