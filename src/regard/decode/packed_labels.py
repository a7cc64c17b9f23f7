"""The decoder of labels for decoding: ragged batches, every text the same bits in any of them."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attend.memory import Memory
from regard.cells.packed import Linear
from regard.decode.labels import LabelDecoder, LabelSource, label_source
from regard.decode.protocol import StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.state import State
from regard.encode.packed import pack_pooling, packs_pooling
from regard.ops import native
from regard.ops.packed import PackedLinear


class PackedLabelDecoder:
    """A `LabelDecoder`, its weights copied into packed products. The same scores as its `step`, to rounding.

    linear   Int8Linear: an approximation
    """

    rows_alone = True

    def __init__(self, decoder: LabelDecoder, linear: Linear = PackedLinear) -> None:
        assert self.takes(decoder), "ask `takes` first"
        self.plain, readout = decoder, decoder.readout
        self.pooling = pack_pooling(decoder.pooling, linear)
        self.hidden = linear(decoder.hidden.weight, bias=decoder.hidden.bias)
        self.project = linear(readout.project.weight, bias=readout.project.bias)
        table = cast(Tensor, readout.table.weight).detach()
        self.table = linear(table[decoder.labels], bias=readout.bias.detach()[decoder.labels])

    @staticmethod
    def takes(decoder: object) -> bool:
        """Whether there are kernels for this decoder where it is."""
        return (
            type(decoder) is LabelDecoder
            and type(decoder.readout) is SoftmaxReadout
            and packs_pooling(decoder.pooling)
            and native.usable(*decoder.parameters(), multiple=1)
        )

    def prepare(self, memories: Sequence[Memory]) -> LabelSource:
        (memory,) = memories
        return label_source(memory, self.pooling(memory))

    def start(self, source: LabelSource, beam: int = 1) -> State:
        return self.plain.start(source, beam)

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: LabelSource) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        return self.plain.step_from(self.logits(source), tokens, state, source)

    def logits(self, source: LabelSource) -> Float[Tensor, "batch labels"]:
        """As the plain decoder has them, divided by its temperature."""
        found = self.table(self.project(torch.tanh(self.hidden(source.vector))))
        return found if self.plain.temperature == 1.0 else found / self.plain.temperature

    def log_odds(self, source: LabelSource) -> Float[Tensor, "batch labels"] | None:
        """As the plain decoder has them."""
        return self.logits(source) if self.plain.config.several else None

    def probabilities(self, logits: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Of each label that training data has."""
        return self.plain.probabilities(logits)
