"""From a decoder's scores to log-probabilities."""

import torch
from jaxtyping import Float
from torch import Tensor

from regard.decode.protocol import StepOutput
from regard.errors import RegardError
from regard.ops import native

CHUNK = 2**17
"""Floats normalized at a time on a CPU: they stay in its cache, and no second table as large as the scores is
allocated, which at 640 rows of 6,000 cost as much as the product that makes the scores (24 ms; 7 ms in chunks)."""


def log_probs(output: StepOutput) -> Float[Tensor, "rows vocab"]:
    """The log-probabilities of every next token, float32 at least; the scores are overwritten.

    Torch's logsumexp, subtracted from the few that are wanted, is no faster: it takes three times as long as its
    log_softmax, which makes one pass over a row, as the kernel does.
    """
    scores = output.scores if output.scores.dtype == torch.float64 else output.scores.float()
    if output.normalized:
        scores = scores.clamp_(max=0.0)  # a mean of probabilities may round to more than one
    elif native.usable(scores, multiple=1) and scores.is_contiguous():
        native.call("log_softmax", *scores.shape, scores)
    else:
        rows = len(scores) if scores.is_cuda else max(CHUNK // scores.shape[1], 1)
        for part in scores.split(rows):
            part.copy_(part.log_softmax(-1))
    if scores[:, 0].isnan().any():  # one such score makes its whole row so
        raise RegardError(
            "the model's scores are not finite: its weights are damaged or its training diverged; "
            "use an earlier checkpoint"
        )
    return scores


def by_token(log_probs: Float[Tensor, "rows columns"], output: StepOutput) -> Float[Tensor, "rows vocab"]:
    """Log-probabilities with a column for every token, -inf where a shortlist leaves it out."""
    if output.words is None:
        return log_probs
    words = output.words.repeat_interleave(len(log_probs) // len(output.words), 0)
    spread = log_probs.new_full((len(log_probs), output.vocab), -torch.inf)
    # Columns without a word stand for padding, which never comes, and may overwrite its score.
    return spread.scatter_(1, words, log_probs)
