"""The attentive decoder for decoding: few calls a step, every hypothesis the same bits in any batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attend import Attended, Attention
from regard.attend.combination import Gathered, steps_of
from regard.attend.memory import Memory, filled, present, summaries
from regard.attend.several import Concat
from regard.cells.cell import Cell
from regard.cells.packed import Linear, pack_cell, packs
from regard.decode.protocol import StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.recurrent import RecurrentDecoder
from regard.decode.shortlist import Shortlist, ShortlistReadout
from regard.decode.source import DecoderSource
from regard.decode.state import State
from regard.ops import native
from regard.ops.attention import AttentionLoop
from regard.ops.packed import PackedLinear


@dataclass(frozen=True)
class ListedSource(DecoderSource):
    """Sentences with the words that they may be answered with."""

    readout: ShortlistReadout
    sentence: Int[Tensor, "batch"]
    """each row's place in `readout`"""

    def select(self, rows: Int[Tensor, "rows"]) -> "ListedSource":
        plain = super().select(rows)
        parts = (plain.attended, plain.summary, plain.valid, None)
        return ListedSource(*parts, self.readout, self.sentence.index_select(0, rows))


class PackedDecoder:
    """A `RecurrentDecoder` of LSTMs or GRUs, its weights copied into packed products; one head, softmax, whole source.

    The same scores as its `step`, to rounding. The products of a layer's gates, one for each thing that is fed to it,
    are one product here. As rows are alone, search need neither fill rows up nor keep to sources of one length.

    linear      Int8Linear: an approximation
    shortlist   score these words alone, in float32: an approximation
    """

    rows_alone = True

    def __init__(
        self,
        decoder: RecurrentDecoder,
        linear: Linear = PackedLinear,
        shortlist: Shortlist | None = None,
    ) -> None:
        assert self.takes(decoder), "ask `takes` first"
        self.config, self.plain, self.shortlist = decoder.config, decoder, shortlist
        self.cells = [pack_cell(cell, linear, steps=True) for cell in cast("Sequence[Cell]", list(decoder.cells))]
        bridge, combine, readout = decoder.bridge.project, decoder.combine, decoder.readout
        self.bridge = linear(bridge.weight, bias=bridge.bias)
        self.combine = linear(combine.weight, bias=combine.bias)
        self.project = linear(readout.project.weight, bias=readout.project.bias)
        self.output = cast(Tensor, readout.table.weight).detach(), readout.bias.detach()
        self.table = None if shortlist else linear(self.output[0], bias=self.output[1])
        scores = [part.score for part in decoder.attentions]
        self.vectors = [None if score.vector is None else score.vector.detach() for score in scores]
        self.queries = [None if score.query_weight is None else linear(score.query_weight) for score in scores]
        self.keys = [
            None if score.key_weight is None else linear(score.key_weight, bias=score.key_bias) for score in scores
        ]

    @staticmethod
    def takes(decoder: object) -> bool:
        """Whether there are kernels for this decoder where it is."""
        return (
            type(decoder) is RecurrentDecoder  # a subclass may compute something else
            and type(decoder.readout) is SoftmaxReadout
            and all(map(packs, cast("Sequence[Cell]", decoder.cells)))
            and type(decoder.attentions) is Concat
            and all(map(_has_kernel, decoder.attentions))
            and native.usable(*decoder.parameters(), multiple=1)
        )

    def prepare(self, memories: Sequence[Memory]) -> DecoderSource:
        """Keys, values and lengths: once per batch of sentences, of any lengths."""
        attended = []
        for vector, keys, memory in zip(self.vectors, self.keys, memories, strict=bool(self.keys)):
            memory = filled(memory)
            values, lengths = memory.values, memory.lengths if memory.ragged else None
            made = values if keys is None else keys(values.flatten(0, 1)).unflatten(0, values.shape[:2])
            loop = AttentionLoop(made, values, vector, lengths)
            attended.append(Attended(made, values, memory.src_valid if memory.ragged else None, loop))
        gathered = Gathered(tuple(attended), steps_of(memories), present(memories))
        parts = (gathered, summaries(memories), memories[0].src_valid, None)
        if self.shortlist is None:
            return DecoderSource(*parts)
        ids = memories[0].source_ids
        assert ids is not None, "a shortlist needs the memory's source_ids"
        readout = ShortlistReadout(*self.output, self.shortlist.allowed(ids))
        return ListedSource(*parts, readout, torch.arange(len(ids)))

    def start(self, source: DecoderSource, beam: int = 1) -> State:
        return self.plain.start_from(self.plain.bridge.states(self.bridge(source.summary)), source, beam)

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: DecoderSource) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        embedded = self.plain.embedding(tokens)
        before, after = self.config.attend == "before", State()
        contexts: list[Tensor] = []
        weights: list[Tensor] = []
        if before:
            contexts, weights = self._attend(state[f"h.{len(self.cells) - 1}"], source)
        fed = contexts + ([state["features"]] if self.config.input_feeding else [])
        output = torch.cat([embedded, *fed], 1)
        for depth, cell in enumerate(self.cells):
            parts = cell.step(output, tuple(state[f"{name}.{depth}"] for name in cell.state_names))
            after.update({f"{name}.{depth}": part for name, part in zip(cell.state_names, parts, strict=True)})
            output = output + parts[0] if self.config.residual and depth > 0 else parts[0]
        if not before:
            contexts, weights = self._attend(output, source)
        shown = [output, *contexts] + ([embedded] if self.config.deep_output else [])
        features = self.combine(torch.cat(shown, 1)).tanh_()
        if self.config.input_feeding:
            after["features"] = features
        answer = self._read_out(self.project(features), source)
        answer.features, answer.weights = features, weights[0] if weights else None
        answer.aux = {f"weights.{index}": part for index, part in enumerate(weights[1:], start=1)}
        return answer, after

    def _read_out(self, projected: Float[Tensor, "rows embed"], source: DecoderSource) -> StepOutput:
        if self.table is not None:
            return StepOutput(self.table(projected))
        assert isinstance(source, ListedSource), "`prepare` made one"
        words = source.readout.words.index_select(0, source.sentence)
        return StepOutput(source.readout(projected, source.sentence), words=words, vocab=len(self.output[0]))

    def _attend(
        self, query: Float[Tensor, "rows hidden"], source: DecoderSource
    ) -> tuple[list[Float[Tensor, "rows dim"]], list[Float[Tensor, "rows src_len"]]]:
        """Contexts and weights, one per memory."""
        contexts, weights = [], []
        for index, (project, attended) in enumerate(zip(self.queries, source.attended.parts, strict=True)):
            assert attended.loop is not None, "`prepare` made one"
            asked = query if project is None else project(query)
            context, weight = attended.loop(asked.unflatten(0, (source.rows, -1)))
            contexts.append(context.flatten(0, 1))
            weights.append(source.attended.only_present(index, weight).flatten(0, 1))
        return contexts, weights


def _has_kernel(attention: Attention) -> bool:
    if attention.heads > 1 or not attention.usual or not hasattr(attention.score, "key_weight"):
        return False
    keys = attention.score.key_weight
    sizes = (attention.context_dim, attention.context_dim if keys is None else len(keys))
    return all(size % native.LANES == 0 for size in sizes)
