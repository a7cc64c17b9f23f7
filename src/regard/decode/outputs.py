"""What search hands back: plain Python, sentence by sentence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.decode.state import State
from regard.decode.trellis import Trellis


@dataclass
class Hypothesis:
    """One output of search."""

    tokens: list[int]
    """Ids without begin and end of sentence."""
    score: float
    """What outputs of a sentence are ranked by: log_prob / length^α, plus the coverage penalty."""
    log_prob: float
    """The model's own log-probability (no filter, no temperature): the sum of `token_log_probs`."""
    token_log_probs: list[float]
    """One per token, then that of the end of sentence if finished."""
    finished: bool
    """False where the maximum length, or having no token left that the filters allow, cut the output off."""
    weights: Tensor | None = None
    """(len(token_log_probs), source steps) attention while each token was chosen, padding removed; on the CPU."""


def read_outputs(
    entries: State, trellis: Trellis, sentences: int, n_best: int, src_valid: Tensor
) -> list[list[Hypothesis]]:
    """The first `n_best` of every sentence's pool entries, which may be spread over several samples."""
    entries = {name: values.view(sentences, -1)[:, :n_best] for name, values in entries.items()}
    place = (entries["score"] > -torch.inf).nonzero()  # (ends, 2): sentence, rank
    ends = {name: values[place[:, 0], place[:, 1]] for name, values in entries.items()}
    tokens, log_probs, came = trellis.trace(ends["step"], ends["row"])
    weights = _trace_weights(trellis, came)
    real_steps = src_lengths(src_valid)
    terms, ids = log_probs.tolist(), tokens.tolist()
    plain = {name: values.tolist() for name, values in ends.items()}
    found: list[list[Hypothesis]] = [[] for _ in range(sentences)]
    for i, sentence in enumerate(place[:, 0].tolist()):
        step, finished = plain["step"][i], plain["finished"][i]
        found[sentence].append(
            Hypothesis(
                tokens=ids[i][:step],
                score=plain["score"][i],
                log_prob=plain["log_prob"][i],
                token_log_probs=terms[i][:step] + [plain["last"][i]] * finished,
                finished=finished,
                weights=None if weights is None else weights[i, : step + finished, : real_steps[sentence]].clone(),
            )
        )
    return found


def merged(found: list[list[Hypothesis]], n_best: int) -> list[list[Hypothesis]]:
    """Of each sentence, whose groups have found outputs by themselves, the best that are different."""
    several = []
    for outputs in found:
        best: dict[tuple[int, ...], Hypothesis] = {}
        for one in sorted(outputs, key=lambda one: (not one.finished, -one.score)):
            best.setdefault(tuple(one.tokens), one)
        several.append(list(best.values())[:n_best])
    return several


def src_lengths(src_valid: Tensor) -> list[int]:
    """The source steps of each sentence up to the last real one."""
    steps = torch.arange(1, src_valid.shape[1] + 1, device=src_valid.device)
    return (src_valid * steps).amax(1).tolist()


def _trace_weights(trellis: Trellis, came: Tensor) -> Tensor | None:
    """(ends, steps, src_len) on the CPU, or None if they were not kept."""
    if not trellis.weights:
        return None
    return torch.stack([trellis.weights[step][came[:, step]] for step in range(came.shape[1])], dim=1).cpu()
