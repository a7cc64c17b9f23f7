"""The decoder of spans for decoding: ragged batches, every passage the same bits in any of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from regard.attend.memory import Memory
from regard.decode.protocol import StepOutput
from regard.decode.source import Counted
from regard.decode.spans import SpanDecoder, SpanSource
from regard.decode.state import State
from regard.encode.question_flow import PASSAGE
from regard.ops import native


@dataclass(frozen=True)
class PassagesAlone(Counted):
    """A batch of passages, each by itself and without padding."""

    passages: tuple[SpanSource, ...]
    valid: Bool[Tensor, "batch src_len"]

    def select(self, rows: Int[Tensor, "rows"]) -> "PassagesAlone":
        return PassagesAlone(tuple(self.passages[row] for row in rows.tolist()), self.valid.index_select(0, rows))


class PackedSpanDecoder:
    """A `SpanDecoder` that looks at one passage after the other, so that none is padded: a few vectors each, which is
    little beside reading them. The same scores as its `step`."""

    rows_alone = True

    def __init__(self, decoder: SpanDecoder) -> None:
        assert self.takes(decoder), "ask `takes` first"
        self.plain = decoder

    @staticmethod
    def takes(decoder: object) -> bool:
        """Whether it is this decoder, where packed encoders are."""
        return type(decoder) is SpanDecoder and native.usable(*decoder.parameters(), multiple=1)

    def prepare(self, memories: Sequence[Memory]) -> PassagesAlone:
        (memory,) = memories
        passages = tuple(self.plain.prepare([_row(memory, row)]) for row in range(len(memory.values)))
        return PassagesAlone(passages, memory.src_valid)

    def start(self, source: PassagesAlone, beam: int = 1) -> State:
        return {"first": source.valid.new_full((source.rows * beam,), -1, dtype=torch.int64)}

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: PassagesAlone) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        beam = len(tokens) // source.rows
        pairs = zip(tokens.split(beam), state["first"].split(beam), source.passages, strict=True)
        each = [(passage, *self.plain.step(told, {"first": first}, passage)) for told, first, passage in pairs]
        scores, weights = [], []
        for passage, output, _ in each:
            assert output.weights is not None
            rest = source.src_len - passage.src_len
            scores.append(F.pad(output.scores, (0, rest), value=-torch.inf))
            weights.append(F.pad(output.weights, (0, rest)))
        first = torch.cat([after["first"] for _, _, after in each])
        output = StepOutput(torch.cat(scores), normalized=True, weights=torch.cat(weights), vocab=self.plain.vocab)
        return output, {"first": first}


def _row(memory: Memory, row: int) -> Memory:
    """One row, as long as it is, as a tensor of its own: products go by strides, and round by them too."""
    assert memory.levels is not None and memory.asked is not None, "the memory of encoder flow"
    length, part = int(memory.lengths[row]), slice(row, row + 1)
    levels = memory.levels[part, :, :length]
    asked = int((levels == PASSAGE).int().argmax()) + 1  # the tab is the last step of a question, too
    return Memory(
        values=memory.values[row, :length].clone()[None],
        src_valid=memory.src_valid[row, :length][None],
        lengths=memory.lengths[part],
        summary=memory.summary[part],
        levels=levels,
        asked=memory.asked[row, :length, :asked].clone()[None],
    )
