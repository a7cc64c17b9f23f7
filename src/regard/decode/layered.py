"""What decoders of layers of cells with attention share: all but the order in which layers and attention come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend import Attention
from regard.attend.combination import Looked
from regard.attend.memory import Memory, summaries
from regard.attend.several import Concat, combined
from regard.cells import CELLS
from regard.cells.cell import Cell, CellState, OfCells, Product
from regard.config import choice, optional
from regard.decode.bridge import Bridge, begin
from regard.decode.embedding import Embedding
from regard.decode.originals import Originals
from regard.decode.protocol import StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.source import DecoderSource
from regard.decode.state import State
from regard.decode.trace import Trace, trace
from regard.errors import RegardError
from regard.ops.activation import activation_penalty
from regard.ops.dropout import dropout, sequence_dropout, sequence_mask
from regard.ops.loss import NllSums
from regard.ops.noise import Noise
from regard.ops.pointer import Pointed
from regard.ops.product import LoopProduct
from regard.ops.reinforce import reinforce


@dataclass
class LoopRun:
    """What stays the same over one loop: products, masks. Made per call, never kept."""

    fed: Product
    """context and fed-back features → the first cell's gates"""
    dropped: list[Tensor | None]
    """recurrent weights of all layers in training with `weight_drop`"""
    recurrent: list[Any]
    """what each cell's `loop_product` gave"""
    combine: Product
    masks: list[Tensor | None]
    """dropout of the input of every layer past the first, one mask per sequence"""
    feature_mask: Tensor | None
    keep_weights: bool = False
    """whether where attention went is asked for"""
    penalized: bool = False
    """whether the top layer's outputs are"""


class LayersConfig(OfCells):
    """Settings of the layers."""

    cell: choice(CELLS) = "lstm"  # type: ignore[valid-type]
    """LSTM: see the encoder's."""
    hidden: int = Field(256, ge=1)
    """Size of the state; the encoder's size is the convention."""
    layers: int = Field(1, ge=1)
    """One, as in the encoder."""
    top: optional(choice(CELLS)) = None  # type: ignore[valid-type]
    """The last layer's cell, where it is another than the others': `attentive` on an LSTM looks back once, for half
    of what two layers of it cost."""
    deep_output: bool = False
    """Show the token's embedding to the output layer as well; with input feeding it has seen it already."""
    residual: bool = False
    """Add a layer's input to its output from the second layer on; for decoders of 3 layers and more."""
    weight_drop: float = Field(0.0, ge=0, lt=1)
    """Of the recurrent weights, one mask a batch (DropConnect); for language models, where 0.5 is usual (Merity
    et al. 2018, section 2)."""
    ar: float = Field(0.0, ge=0)
    """Activation regularization: so many times the mean square of the top layer's output is added to the loss
    (Merity et al. 2017; 2 in theirs)."""
    tar: float = Field(0.0, ge=0)
    """Temporal activation regularization: the same of its change from step to step (1 in theirs)."""


class LayeredDecoder(nn.Module):
    """Layers of cells, attention and a readout. A subclass says how a token goes through them: `_advance` for one,
    which is the definition, and `_through` for all of a target.

    a token's embedding e and what is fed back → the first layer → … → the last one, h → features, tanh(W [h; …])
    """

    copies = True
    """whether it tells a readout where attention points"""
    agrees = True
    """whether `train.r_drop` is for it"""
    drops_output = True
    """whether `model.output_dropout` is for it"""
    free_running = True
    """whether `train.scheduled_sampling` and objectives of whole outputs are for it"""
    config: Any

    def __init__(
        self,
        config: Any,
        *,
        embedding: Embedding,
        readout: "SoftmaxReadout",
        attention: Attention.Config | None,
        memory_dims: Sequence[int],
        summary_size: int,
        combine: config.Config | None = None,
        dropout: float = 0.0,
    ) -> None:
        """A decoder with attention over one memory or several."""
        super().__init__()
        self.config, self.dropout = config, dropout
        self.embedding, self.readout = embedding, readout
        hidden, layers = config.hidden, config.layers
        self.attentions = combined(combine, attention, query_dim=hidden, memory_dims=memory_dims)
        if readout.copies and type(self.attentions) is not Concat:
            raise RegardError("readout copy needs weights that sum to one over the first memory: combine by concat.")
        for part in self.attentions:
            part.normalizer.expect(-math.log(len(readout.bias)))
        self.fed_size, above, shown = self._sizes(self.attentions.context_dim)
        self.lasting = bool(self.fed_size or above)
        """whether what attention finds for a token goes into the state, and so into later ones"""
        sizes = [embedding.dim + self.fed_size] + [hidden + above] * (layers - 1)
        chosen = [config.cell] * (layers - 1) + [config.top or config.cell]
        built = zip(chosen, sizes, strict=True)
        self.cells = nn.ModuleList(CELLS[cell.type](cell, size, hidden) for cell, size in built)
        self.bridge = Bridge(summary_size, hidden=hidden, names=[cell.given_names for cell in self._cells()])
        self.combine = nn.Linear(hidden + shown + (embedding.dim if config.deep_output else 0), hidden)

    def _sizes(self, context: int) -> tuple[int, int, int]:
        """How much the first layer reads beside the embedding, each other one beside what is below it, and the features
        beside the last one; `context`: the size of what attention finds."""
        raise NotImplementedError

    def _fed_back(self, source: DecoderSource) -> State:
        """What is fed back to the first token, one row per sentence."""
        raise NotImplementedError

    def teacher_forced(
        self,
        source: DecoderSource,
        inputs: Int[Tensor, "batch tgt_len"],
        noise: Noise | None = None,
        keep_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch tgt_len features"], Trace]:
        """Features for every step of `inputs` (the target with BOS before it), one row per sentence."""
        embedded = sequence_dropout(self.embedding(inputs, noise, "target.words"), self.dropout, noise, "decoder.in")
        run, state = self._run(noise, like=embedded), self.start(source)
        run.keep_weights = keep_weights
        features, looked, tops = self._through(embedded, state, source, run, noise)
        told = trace(looked if keep_weights else replace(looked, weights=[]))
        if tops is not None and run.penalized:
            penalty = activation_penalty(tops, self.config.ar, self.config.tar)
            told = replace(told, penalty=penalty if told.penalty is None else told.penalty + penalty)
        return features, told

    def _through(
        self,
        embedded: Float[Tensor, "batch tgt_len embed"],
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "batch tgt_len features"], Looked, Float[Tensor, "batch tgt_len hidden"] | None]:
        """All tokens: features, where attention went, and the top layer's outputs, where they are penalized."""
        raise NotImplementedError

    def _advance(
        self,
        gates: Tensor,
        embedded: Tensor,
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "rows features"], State, Looked]:
        """One token of every row: features, the state after it, and where attention went."""
        raise NotImplementedError

    @staticmethod
    def conflict(config: Any, attention: Attention.Config | None) -> str | None:
        """Why it cannot work, if it cannot."""
        below, top = config.cell, config.top or config.cell
        if config.weight_drop:
            for cell in (below, top):
                if not CELLS[cell.type].multiplies_state:
                    return f"decoder.weight_drop: cell {cell.type} has no weights that multiply its state; leave it out"
        if config.top is None:
            return None
        if config.layers < 2:
            return f"decoder.top {top.type} is for the last of several layers, and there is one: set decoder.cell to it"
        found = top.conflict(config.hidden)
        return None if found is None else f"decoder.top: {found}"

    def _cells(self) -> list[Cell]:
        return cast("list[Cell]", list(self.cells))

    def _attentions(self) -> list[Attention]:
        return list(self.attentions)

    def prepare(self, memories: Sequence[Memory]) -> DecoderSource:
        """Keys, values and masks: once per batch of sentences."""
        first, attended = memories[0], self.attentions.prepare(memories)
        return DecoderSource(attended, summaries(memories), first.src_valid, self._originals(first))

    def _originals(self, memory: Memory) -> Originals | None:
        if not self.readout.copies:
            return None
        assert memory.source_ids is not None, "a readout that copies needs to know what stood at each step"
        return Originals.of(memory.source_ids, len(self.readout.bias))

    def start(self, source: DecoderSource, beam: int = 1) -> State:
        """The state before the first token, `source.rows` × `beam` rows, a sentence's rows together."""
        return self.start_from(self.bridge(source.summary), source, beam)

    def start_from(self, given: State, source: DecoderSource, beam: int) -> State:
        """The same from what the bridge made, one row per sentence."""
        state = begin(self._cells(), given)
        state.update(self._fed_back(source))
        state.update(self.attentions.start(source.attended))
        return {name: tensor.repeat_interleave(beam, 0) for name, tensor in state.items()} if beam > 1 else state

    def step(
        self, tokens: Int[Tensor, "rows"], state: State, source: DecoderSource, noise: Noise | None = None
    ) -> tuple[StepOutput, State]:
        """Read one token a row, score the next. `noise`, for attention that samples: `Noise.under` of the step."""
        embedded = self.embedding(tokens)
        gates = self._project(embedded)
        features, state, looked = self._advance(gates, embedded, state, source, self._run(None), noise)
        weights = looked.weights[0] if looked.weights else None
        scores, normalized = self.readout.score(features, pointed_by(source, weights))
        output = StepOutput(scores, normalized, weights, vocab=len(self.readout.bias), features=features)
        output.aux = {f"weights.{index}": part for index, part in enumerate(looked.weights[1:], start=1)}
        return output, state

    def loss(
        self,
        source: DecoderSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        valid: Bool[Tensor, "batch tgt_len"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
        agreement: float = 0.0,
    ) -> NllSums:
        """Sums over `valid` tokens, with what attention adds; no product is spent on the others.

        agreement   of batches whose second half is the first again: see `Seq2Seq.loss`
        """
        features, told = self.teacher_forced(source, inputs, noise, keep_weights=source.originals is not None)
        targets = targets if source.originals is None else source.originals.named(targets)
        real = valid.flatten().nonzero()[:, 0]
        found, right = features.flatten(0, 1)[real], targets.flatten()[real]
        pointed = pointed_by(source, told.weights)
        pointed = pointed and pointed.rows(real)
        sums = self.readout.nll(found, right, smoothing, noise, sampled, pointed, agreement)
        loss = sums.loss
        if told.penalty is not None:
            loss = loss + (told.penalty * valid).sum()
        if told.sampled:
            with torch.no_grad():
                rewards = self._spread(valid, found, right, pointed)
            lasting = self.lasting or any(part.remembers for part in self._attentions())
            for one in told.sampled:
                loss = loss + reinforce(rewards, valid, one.log_prob, one.baseline, lasting)
        return sums._replace(loss=loss)

    def log_likelihoods(
        self,
        source: DecoderSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        valid: Bool[Tensor, "batch tgt_len"],
    ) -> Float[Tensor, "batch tgt_len"]:
        """log p of each `valid` target, 0 elsewhere, with gradients; no product is spent on the others."""
        features, told = self.teacher_forced(source, inputs, keep_weights=source.originals is not None)
        targets = targets if source.originals is None else source.originals.named(targets)
        real = valid.flatten().nonzero()[:, 0]
        pointed = pointed_by(source, told.weights)
        return self._spread(
            valid, features.flatten(0, 1)[real], targets.flatten()[real], pointed and pointed.rows(real)
        )

    def _spread(
        self, valid: Bool[Tensor, "batch tgt_len"], features: Tensor, targets: Tensor, pointed: Pointed | None
    ) -> Float[Tensor, "batch tgt_len"]:
        """log p of the targets that are valid, at their places."""
        return valid.to(features).masked_scatter(valid, self.readout.log_likelihoods(features, targets, pointed))

    def forced(
        self,
        source: DecoderSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        keep_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch tgt_len"], Float[Tensor, "batch tgt_len src_len"] | None]:
        """log p of each target, and where attention was; a step at a time, as all would be tokens × vocabulary."""
        features, told = self.teacher_forced(source, inputs, keep_weights=keep_weights or source.originals is not None)
        targets = targets if source.originals is None else source.originals.named(targets)
        found = []
        for t in range(targets.shape[1]):
            pointed = pointed_by(source, None if told.weights is None else told.weights[:, t])
            found.append(self.readout.log_likelihoods(features[:, t], targets[:, t], pointed))
        return torch.stack(found, 1), told.weights if keep_weights else None

    def _project(self, embedded: Float[Tensor, "*rows embed"]) -> Float[Tensor, "*rows gates"]:
        """The embedding's share of the first cell's gates."""
        cell = self._cells()[0]
        return nn.functional.linear(embedded, cell.input_weight[:, : self.embedding.dim], cell.input_bias)

    def _run(self, noise: Noise | None, like: Tensor | None = None) -> LoopRun:
        first = self._cells()[0].input_weight
        masks: list[Tensor | None] = [None] * len(self.cells)
        feature_mask = None
        if noise is not None and like is not None:
            hidden = self.config.hidden
            for depth in range(1, len(self.cells)):
                masks[depth] = sequence_mask(like, hidden, self.dropout, noise, f"decoder.{depth}")
            feature_mask = sequence_mask(like, hidden, self.dropout, noise, "decoder.features")
        drop, dropped = self.config.weight_drop, cast("list[Tensor | None]", [None] * len(self.cells))
        if noise is not None and drop:
            weights = [(cell.recurrent_weight, f"decoder.{depth}.weights") for depth, cell in enumerate(self._cells())]
            dropped = [dropout(weight, drop, noise, name) for weight, name in weights]
        return LoopRun(
            dropped=dropped,
            fed=LoopProduct(first[:, self.embedding.dim :]),
            recurrent=[cell.loop_product(weight) for cell, weight in zip(self._cells(), dropped, strict=True)],
            combine=LoopProduct(self.combine.weight),
            masks=masks,
            feature_mask=feature_mask,
            penalized=noise is not None and bool(self.config.ar or self.config.tar),
        )

    def _attend(
        self, query: Float[Tensor, "rows hidden"], state: State, source: DecoderSource, noise: Noise | None
    ) -> tuple[Looked, State]:
        """A look at every memory, and the state after it. A sentence's keys are shared by its hypotheses."""
        queries = query.view(source.rows, -1, query.shape[-1])  # (sentences, beam, hidden)
        looked, after = self.attentions(queries, source.attended, state, noise)
        return looked.rows(), after

    def _layer(
        self, depth: int, gates: Tensor, state: State, run: LoopRun, noise: Noise | None
    ) -> tuple[Float[Tensor, "rows hidden"], State]:
        """One step of one layer from its gates: its output, and its state by name."""
        cell = self._cells()[depth]
        last: CellState = tuple(state[f"{name}.{depth}"] for name in cell.state_names)
        parts = cell.advance(gates, last, run.recurrent[depth])
        parts = cell.settled(last, parts, noise and noise.under(f"decoder.{depth}"))
        return parts[0], {f"{name}.{depth}": part for name, part in zip(cell.state_names, parts, strict=True)}

    def _whole_layer(
        self, depth: int, x: Float[Tensor, "batch tgt_len input"], state: State, run: LoopRun, noise: Noise | None
    ) -> tuple[Float[Tensor, "batch tgt_len hidden"], State]:
        """All steps of one layer."""
        cell = self._cells()[depth]
        start: CellState = tuple(state[f"{name}.{depth}"] for name in cell.state_names)
        own = noise and noise.under(f"decoder.{depth}")
        output, final = cell.sequence(x, None, start, run.dropped[depth], own)
        return output, {f"{name}.{depth}": part for name, part in zip(cell.state_names, final, strict=True)}

    def _top(self, state: State) -> Tensor:
        """What asks before the cell has moved on: the last cell's own output, without a residual layer's input."""
        return state[f"{self._cells()[-1].state_names[0]}.{len(self.cells) - 1}"]

    def _features(
        self, output: Tensor, contexts: list[Tensor], embedded: Tensor, run: LoopRun
    ) -> Float[Tensor, "*rows features"]:
        parts = [output, *contexts] + ([embedded] if self.config.deep_output else [])
        x = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        features = torch.tanh(run.combine(x.flatten(0, -2), self.combine.bias.expand(x[..., 0].numel(), -1)))
        features = features.view(*x.shape[:-1], -1)
        return dropped(features, run.feature_mask)


def pointed_by(source: DecoderSource, weights: Tensor | None) -> Pointed | None:
    """Where attention points, for a readout that copies; rows are sentence × query."""
    if source.originals is None or weights is None:
        return None
    return source.originals.pointed(weights.view(source.rows, -1, source.src_len))


def dropped(x: Float[Tensor, "batch *steps dim"], mask: Float[Tensor, "batch dim"] | None) -> Tensor:
    """Multiply by a mask that holds for all steps of a sequence."""
    if mask is None:
        return x
    return x * (mask if x.ndim == 2 else mask[:, None])
