"""What a model gives outputs that it is told: step by step, the way search would have come to them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.data.tokenizer import BOS, EOS
from regard.decode.config import SearchConfig
from regard.decode.lanes import fill_up, row_multiple
from regard.decode.outputs import Hypothesis, src_lengths
from regard.decode.protocol import Decoder
from regard.decode.rank import Rank
from regard.decode.scores import by_token, log_probs
from regard.errors import RegardError


@torch.inference_mode()
def score_targets(
    decoder: Decoder,
    source: Any,
    targets: Sequence[Sequence[int]],
    config: SearchConfig | None = None,
    *,
    keep_weights: bool = False,
) -> list[Hypothesis]:
    """Each sentence's target (ids without begin and end of sentence) as if search had found it.

        [found] = search(decoder, source, config)[0]
        [again] = score_targets(decoder, source, [found.tokens], config)   # again.score ≈ found.score

    `config` says how log-probability becomes a score; by default the mean per token.
    """
    config = config or SearchConfig()
    if len(targets) != source.rows:
        raise RegardError(f"targets: {len(targets)} of them for {source.rows} sentences; give one for each")
    if not targets:
        return []
    count, src_valid, device = len(targets), source.valid, source.valid.device
    padded = fill_up(torch.arange(count, device=device), row_multiple(decoder))
    if len(padded) > count:
        source = source.select(padded)
    told = _with_ends([targets[i] for i in padded.tolist()]).to(device)
    state, before = decoder.start(source, 1), torch.full_like(padded, BOS)
    terms, weights = [], []
    for step in range(told.shape[1]):
        output, state = decoder.step(before, state, source)
        before = told[:, step]
        terms.append(by_token(log_probs(output), output).gather(1, before.unsqueeze(1)).squeeze(1))
        if output.weights is not None and (keep_weights or config.coverage_penalty):
            weights.append(output.weights)
    chosen = torch.stack(terms, 1)[:count]
    attention = torch.stack(weights, 1)[:count] if weights else None
    return _outputs(targets, chosen, attention, src_valid, config, keep_weights)


def _with_ends(targets: Sequence[Sequence[int]]) -> Tensor:
    """(sentences, longest + 1), each followed by ends of sentence."""
    told = torch.full((len(targets), max(map(len, targets)) + 1), EOS)
    for row, tokens in enumerate(targets):
        told[row, : len(tokens)] = torch.as_tensor(list(tokens), dtype=torch.int64)
    return told


def _outputs(
    targets: Sequence[Sequence[int]],
    chosen: Tensor,
    attention: Tensor | None,
    src_valid: Tensor,
    config: SearchConfig,
    keep_weights: bool,
) -> list[Hypothesis]:
    """Sum up to each target's own end, in order, as search does."""
    lengths = torch.tensor([[len(tokens) + 1] for tokens in targets], device=chosen.device)
    totals = chosen.double().cumsum(1).gather(1, lengths - 1)  # sentences 1
    coverage = None
    if config.coverage_penalty:
        if attention is None:
            raise RegardError("search.coverage_penalty needs attention, and this model has none; set it to 0")
        coverage = attention.double().cumsum(1)
        coverage = coverage.gather(1, (lengths - 1).unsqueeze(-1).expand(-1, -1, coverage.shape[2]))
    scores = Rank(config, chosen.shape[1], chosen.device).score(totals, lengths, coverage, src_valid)
    return [
        Hypothesis(
            tokens=list(tokens),
            score=float(scores[i, 0]),
            log_prob=float(totals[i, 0]),
            token_log_probs=chosen[i, : len(tokens) + 1].tolist(),
            finished=True,
            weights=attention[i, : len(tokens) + 1, :steps].cpu().clone()
            if keep_weights and attention is not None
            else None,
        )
        for i, (tokens, steps) in enumerate(zip(targets, src_lengths(src_valid), strict=True))
    ]
