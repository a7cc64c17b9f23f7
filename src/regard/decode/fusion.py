"""A model helped by a language model of what it writes.

    log p(y | x) + weight · log p_LM(y)

at every token: shallow fusion, Gulcehre et al. 2015, "On using monolingual corpora in neural machine translation"
(arXiv:1503.03535), section 4.1. The language model needs no pairs, so that it may have read much more text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from regard.data.tokenizer import BOS, EOS
from regard.decode.ensemble import EnsembleSource, joined, of_model
from regard.decode.protocol import Decoder, StepOutput
from regard.decode.scores import by_token, log_probs
from regard.decode.state import State
from regard.errors import RegardError


class Fused:
    """Two decoders that search sees as one.

        both = Fused(translator.decoder, writer.decoder, weight=0.2)
        source = both.prepare([[translator.encode(ids, lengths)], [writer.encode(nothing, ones)]])

    What it scores is no probability: the sum over all tokens is less than one. Attention is the first model's.
    """

    def __init__(self, decoder: Decoder, language: Decoder, weight: float) -> None:
        self.decoder, self.language, self.weight = decoder, language, weight

    @property
    def rows_alone(self) -> bool:
        """Whether both decoders' rows are."""
        return all(getattr(each, "rows_alone", False) for each in (self.decoder, self.language))

    def prepare(self, memories: Sequence[Any]) -> EnsembleSource:
        """What the decoder prepares from, and what the language model does."""
        own, language = memories
        return EnsembleSource((self.decoder.prepare(own), self.language.prepare(language)))

    def start(self, source: EnsembleSource, beam: int = 1) -> State:
        own, language = source.parts
        return joined([self.decoder.start(own, beam), self.language.start(language, beam)])

    def step(self, tokens: Tensor, state: State, source: EnsembleSource) -> tuple[StepOutput, State]:
        own, language = source.parts
        output, next_ = self.decoder.step(tokens, of_model(0, state), own)
        # What a language model has read begins after the end of what was before.
        told, read = self.language.step(tokens.masked_fill(tokens == BOS, EOS), of_model(1, state), language)
        scores, liked = by_token(log_probs(output), output), by_token(log_probs(told), told)
        if scores.shape != liked.shape:
            raise RegardError(
                f"a language model shares the target vocabulary: it has {liked.shape[1]:,} tokens, and the model "
                f"{scores.shape[1]:,}"
            )
        return StepOutput(scores + self.weight * liked, normalized=True, weights=output.weights), joined([next_, read])
