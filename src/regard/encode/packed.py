"""Encoders for decoding: ragged batches without padding, every sentence the same bits in any batch."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attend.memory import Memory, valid_steps
from regard.attend.normalizers import Softmax
from regard.attend.pooling import AttentionPooling, LastPooling, MaxPooling, Pooled, StructuredPooling
from regard.cells.cell import Cell
from regard.cells.packed import Linear, PackedCell, pack_cell, packs
from regard.encode.birnn import BiRNN, reversal
from regard.encode.encoder import Encoder
from regard.encode.hierarchical import Hierarchical, read_levels
from regard.encode.nothing import Nothing
from regard.encode.question_flow import Parts, QuestionFlow, matches
from regard.ops import native
from regard.ops.attention import AttentionLoop
from regard.ops.noise import Noise
from regard.ops.packed import PackedLinear


class PackedBiRNN:
    """A `BiRNN` of LSTMs or GRUs whose weights are copied into packed products.

    The same numbers as `BiRNN` gives, to rounding. Rows are put in order of length, so that at every step the sentences
    that are still running are the first ones, and neither padding nor masks are computed.

    linear   Int8Linear: an approximation
    """

    def __init__(self, encoder: BiRNN, linear: Linear = PackedLinear) -> None:
        assert self.takes(encoder), "ask `takes` first"
        self.residual, self.hidden = encoder.config.residual, encoder.config.hidden
        self.layers = [[pack_cell(cell, linear, steps=False) for cell in directions] for directions in _layers(encoder)]

    @staticmethod
    def takes(encoder: object) -> bool:
        """Whether there are kernels for this encoder where it is."""
        return (
            type(encoder) is BiRNN  # a subclass may compute something else
            and all(packs(cell) for directions in _layers(encoder) for cell in directions)
            and native.usable(*encoder.parameters(), multiple=1)
        )

    def __call__(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> Memory:
        """`lengths` on the CPU, each at least 1. There is no noise where nothing is trained."""
        order = lengths.argsort(descending=True, stable=True)
        steps = int(lengths.max())
        running = (lengths > torch.arange(steps)[:, None]).sum(1).tolist()
        at_once, long = x.index_select(0, order).transpose(0, 1).contiguous(), lengths[order]  # steps first
        turn = reversal(long, steps).T.contiguous()
        finals = []
        for depth, directions in enumerate(self.layers):
            found = []
            for cell, back in zip(directions, (False, True), strict=False):
                outputs, final = _run(cell, self.hidden, _turned(at_once, turn) if back else at_once, running)
                found.append((_turned(outputs, turn) if back else outputs, final))
            outputs = torch.cat([each for each, _ in found], -1)
            at_once = at_once + outputs if self.residual and depth > 0 else outputs
            finals.append(torch.cat([final for _, final in found], -1))
        place = order.argsort()
        return Memory(
            values=at_once.transpose(0, 1).index_select(0, place),
            src_valid=valid_steps(lengths, steps),
            lengths=lengths,
            summary=torch.stack(finals, 1).index_select(0, place),
        )


class PackedAttentionPooling:
    """An `AttentionPooling` or `StructuredPooling` with softmax: each hop is additive attention, asked nothing."""

    def __init__(self, pooling: AttentionPooling, linear: Linear) -> None:
        self.hidden = linear(pooling.hidden.weight, bias=pooling.hidden.bias)
        self.hops = pooling.queries.weight.detach().unbind()

    @staticmethod
    def takes(pooling: AttentionPooling) -> bool:
        """Whether there is a kernel for its sizes, and it weighs by softmax."""
        normalizer, hidden = pooling.normalizer, pooling.hidden
        usual = type(normalizer) is Softmax and normalizer.temperature == 1.0
        return usual and not any(size % native.LANES for size in hidden.weight.shape)

    def __call__(self, memory: Memory) -> Pooled:
        values, lengths = memory.values, memory.lengths if memory.ragged else None
        keys = self.hidden(values.flatten(0, 1)).unflatten(0, values.shape[:2])
        nothing = keys.new_zeros(len(keys), 1, keys.shape[2])
        found = [AttentionLoop(keys, values, hop, lengths)(nothing) for hop in self.hops]
        return Pooled(torch.cat([each for each, _ in found], 1).flatten(1), torch.cat([each for _, each in found], 1))


class PackedHierarchical:
    """A `Hierarchical` whose recurrences are packed, and whose poolings keep rows alone.

    The same numbers as `Hierarchical` gives, to rounding; segments of similar length are a ragged batch.

    linear   Int8Linear: an approximation
    """

    by_turns = True

    def __init__(self, encoder: Hierarchical, linear: Linear = PackedLinear) -> None:
        assert self.takes(encoder), "ask `takes` first"
        self.config = encoder.config
        self.recurrences = [PackedBiRNN(cast(BiRNN, each), linear) for each in encoder.recurrences]
        self.poolings = [pack_pooling(each, linear) for each in encoder.poolings]

    @staticmethod
    def takes(encoder: object) -> bool:
        """Whether there are kernels for this encoder where it is."""
        return (
            type(encoder) is Hierarchical
            and all(map(PackedBiRNN.takes, encoder.recurrences))
            and all(map(packs_pooling, encoder.poolings))
        )

    def __call__(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"],
        levels: Int[Tensor, "batch nesting steps"] | None = None,
    ) -> Memory:
        """`lengths` on the CPU, each at least 1."""
        parts = (self.recurrences, self.poolings, self.config)
        return read_levels(*parts, x, lengths, levels, grouped=True).memory  # whose rows are alone in any group


class PackedQuestionFlow:
    """A `QuestionFlow` whose recurrences are packed; a question and its passage attend to each other alone.

    The same numbers as `QuestionFlow` gives, to rounding.

    linear   Int8Linear: an approximation
    """

    by_ids = True

    def __init__(self, encoder: QuestionFlow, linear: Linear = PackedLinear) -> None:
        assert self.takes(encoder), "ask `takes` first"
        self.flow, self.matches, modelling = encoder.flow, encoder.config.matches, encoder.flow.modelling
        self.recurrence = PackedBiRNN(encoder.recurrence, linear)
        self.modelling = None if modelling is None else PackedBiRNN(modelling, linear)

    @staticmethod
    def takes(encoder: object) -> bool:
        """Whether there are kernels for this encoder where it is."""
        return (
            type(encoder) is QuestionFlow
            and PackedBiRNN.takes(encoder.recurrence)
            and (encoder.flow.modelling is None or PackedBiRNN.takes(encoder.flow.modelling))
        )

    def __call__(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], ids: Int[Tensor, "batch steps"]
    ) -> Memory:
        """`lengths` on the CPU, each at least 1."""
        parts = Parts.of(ids, lengths)
        if self.matches:
            x = torch.cat([x, matches(ids, parts)[..., None].to(x)], -1)
        question = self.recurrence(x[:, : int(parts.asked.max())].contiguous(), parts.asked)
        passage = self.recurrence(parts.passage(x), parts.read)
        rows = range(len(x))
        each = [self.flow.attend(_alone(passage, row), _alone(question, row)) for row in rows]
        read, asked = int(parts.read.max()), int(parts.asked.max())
        merged = x.new_zeros(len(x), read, each[0][0].shape[2])
        to_question = x.new_zeros(len(x), read, asked)
        for row, (own, looked, _) in enumerate(each):
            merged[row, : own.shape[1]] = own[0]
            to_question[row, : looked.shape[1], : looked.shape[2]] = looked[0]
        modelled = replace(passage, values=merged)
        if self.modelling is not None:
            modelled = self.modelling(merged, parts.read)
        return parts.memory(modelled, merged, to_question)


def _alone(memory: Memory, row: int) -> Memory:
    """One row, without padding, as a tensor of its own: products go by strides, and round by them too."""
    length = int(memory.lengths[row])
    return Memory(
        values=memory.values[row, :length].clone()[None],
        src_valid=memory.src_valid[row, :length][None],
        lengths=memory.lengths[row : row + 1],
        summary=memory.summary[row : row + 1],
    )


def pack_pooling(pooling: object, linear: Linear) -> Callable[[Memory], Pooled]:
    """A pooling whose rows are alone; ask `packs_pooling` first."""
    return PackedAttentionPooling(pooling, linear) if isinstance(pooling, AttentionPooling) else cast(Any, pooling)


def packs_pooling(pooling: object) -> bool:
    """Whether a row's vector does not depend on the others': sums over steps by torch do."""
    if type(pooling) in (AttentionPooling, StructuredPooling):
        return PackedAttentionPooling.takes(cast(AttentionPooling, pooling))
    return type(pooling) in (LastPooling, MaxPooling)


PACKED: dict[type[Encoder], Any] = {
    BiRNN: PackedBiRNN,
    Hierarchical: PackedHierarchical,
    QuestionFlow: PackedQuestionFlow,
}
"""The encoders that have such a form."""


def packs_encoder(encoder: Encoder) -> bool:
    """Whether an encoder can go with a packed decoder: it has such a form, or reads nothing."""
    return type(encoder) is Nothing or (type(encoder) in PACKED and PACKED[type(encoder)].takes(encoder))


def pack_encoder(encoder: Encoder, linear: Linear) -> Callable[..., Memory]:
    """That form; ask `packs_encoder` first."""
    return encoder if type(encoder) is Nothing else PACKED[type(encoder)](encoder, linear)


def _layers(encoder: BiRNN) -> list[list[Cell]]:
    return [list(cast("Iterable[Cell]", directions)) for directions in encoder.layers]


def _turned(x: Float[Tensor, "steps batch dim"], turn: Int[Tensor, "steps batch"]) -> Float[Tensor, "steps batch dim"]:
    """Each row's real steps backwards."""
    return x.gather(0, turn.unsqueeze(-1).expand_as(x))


def _run(
    cell: PackedCell, hidden: int, x: Float[Tensor, "steps batch input"], running: list[int]
) -> tuple[Float[Tensor, "steps batch hidden"], Float[Tensor, "batch hidden"]]:
    """One direction of one layer: outputs (zero past a row's end) and the final outputs. Rows by length, longest first;
    the first `running[t]` have a step t."""
    steps, rows = x.shape[:2]
    state = tuple(x.new_zeros(rows, hidden) for _ in cell.state_names)
    outputs = x.new_zeros(steps, rows, hidden)
    gates_x = cell.project(x.flatten(0, 1)).unflatten(0, (steps, rows))
    for t, some in enumerate(running):
        after = cell.advance(gates_x[t, :some], tuple(part[:some] for part in state))
        outputs[t, :some] = after[0]
        if some == rows:
            state = after
        else:
            for part, new in zip(state, after, strict=True):
                part[:some] = new
    return outputs, state[0]
