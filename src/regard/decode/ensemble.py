"""Several models as one: the mean of their next-token probabilities.

    log p(y) = logsumexp_m log p_m(y) - log M

An arithmetic mean, so one model that knows is enough; models may differ in everything but the target vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.decode.protocol import Decoder, StepOutput
from regard.decode.scores import by_token, log_probs
from regard.decode.state import State
from regard.errors import RegardError
from regard.ops.squash import log_sum_exp


@dataclass
class EnsembleSource:
    """The same sentences, as each model prepared them."""

    parts: tuple[Any, ...]

    @property
    def rows(self) -> int:
        return self.parts[0].rows

    @property
    def src_len(self) -> int:
        return self.parts[0].src_len

    @property
    def valid(self) -> Tensor:
        """The first model's, whose source lengths set the length limits."""
        return self.parts[0].valid

    @property
    def weights(self) -> Tensor | None:
        """The mean of what heads of labels looked at, if all did at the same steps."""
        return _mean_of([part.weights for part in self.parts])

    def select(self, rows: Tensor) -> EnsembleSource:
        return EnsembleSource(tuple(part.select(rows) for part in self.parts))


class Ensemble:
    """Decoders that search sees as one.

    both = Ensemble([first.decoder, second.decoder])
    source = both.prepare([[first.encode(ids, lengths)], [second.encode(ids, lengths)]])
    search(both, source, SearchConfig())
    """

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        if not decoders:
            raise RegardError("an ensemble of no models; name at least one run")
        self.decoders = list(decoders)

    @property
    def rows_alone(self) -> bool:
        """Whether every model's rows are."""
        return all(getattr(decoder, "rows_alone", False) for decoder in self.decoders)

    def log_odds(self, source: EnsembleSource) -> Tensor | None:
        """Of each label, by the mean of the probabilities; None where outputs are no sets."""
        pairs = zip(self.decoders, source.parts, strict=True)
        found = [decoder.log_odds(part) if hasattr(decoder, "log_odds") else None for decoder, part in pairs]
        if any(odds is None for odds in found):
            return None
        each = torch.stack([odds.double() for odds in found if odds is not None])
        return F.logsigmoid(each).logsumexp(0) - F.logsigmoid(-each).logsumexp(0)  # finite where a mean would be 1

    def prepare(self, memories: Sequence[Sequence[Any]]) -> EnsembleSource:
        """For each model the memories that it reads."""
        pairs = zip(self.decoders, memories, strict=True)
        return EnsembleSource(tuple(decoder.prepare(own) for decoder, own in pairs))

    def start(self, source: EnsembleSource, beam: int = 1) -> State:
        """All states in one, under the names 0.hidden, 1.hidden, …"""
        pairs = zip(self.decoders, source.parts, strict=True)
        return joined(decoder.start(part, beam) for decoder, part in pairs)

    def step(self, tokens: Tensor, state: State, source: EnsembleSource) -> tuple[StepOutput, State]:
        outputs, states = [], []
        for number, (decoder, part) in enumerate(zip(self.decoders, source.parts, strict=True)):
            output, own = decoder.step(tokens, of_model(number, state), part)
            outputs.append(output)
            states.append(own)
        vocabularies = [output.vocab or output.scores.shape[1] for output in outputs]
        if len(set(vocabularies)) > 1:
            raise RegardError(f"an ensemble shares one target vocabulary, these have {vocabularies} tokens")
        return StepOutput(_mean(outputs), normalized=True, weights=_mean_weights(outputs)), joined(states)


def joined(states: Iterable[State]) -> State:
    """Several models' states as one, under the names 0.hidden, 1.hidden, …"""
    return {f"{number}.{name}": values for number, state in enumerate(states) for name, values in state.items()}


def of_model(number: int, state: State) -> State:
    """One model's part of it."""
    own = f"{number}."
    return {name.removeprefix(own): values for name, values in state.items() if name.startswith(own)}


def _mean(outputs: Sequence[StepOutput]) -> Tensor:
    """Log of the mean probability (rows, vocab)."""
    each = [by_token(log_probs(output), output) for output in outputs]
    columns = max(part.shape[1] for part in each)  # more than the vocabulary, where a model can copy
    found = [F.pad(part, (0, columns - part.shape[1]), value=-torch.inf) for part in each]
    return log_sum_exp(found) - math.log(len(outputs))


def _mean_weights(outputs: Sequence[StepOutput]) -> Tensor | None:
    """The mean attention, if all models look back over the same source steps."""
    return _mean_of([output.weights for output in outputs])


def _mean_of(each: Sequence[Tensor | None]) -> Tensor | None:
    weights = [one for one in each if one is not None]
    if len(weights) < len(each) or len({one.shape for one in weights}) > 1:
        return None
    return reduce(torch.add, weights) / len(weights)
