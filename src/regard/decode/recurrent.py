"""The attentive recurrent decoder: attention before or after the cell, with or without input feeding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

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
from regard.cells.cell import Cell, OfCells, Product
from regard.config import choice, optional
from regard.decode.bridge import Bridge, begin
from regard.decode.embedding import Embedding
from regard.decode.originals import Originals
from regard.decode.protocol import StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.source import DecoderSource
from regard.decode.state import State
from regard.decode.trace import Trace, stacked, trace
from regard.errors import RegardError
from regard.ops.activation import activation_penalty
from regard.ops.dropout import dropout, sequence_dropout, sequence_mask
from regard.ops.loss import NllSums
from regard.ops.noise import Noise
from regard.ops.pointer import Pointed
from regard.ops.product import LoopProduct
from regard.ops.reinforce import reinforce


@dataclass
class _Run:
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


class RecurrentDecoder(nn.Module):
    """Layers of cells that look back at the source with every token.

    attend: after   h = cell([e; a⁻], h⁻), context = attend(h)          Luong, Pham & Manning 2015, sections 3, 3.3
    attend: before  context = attend(h⁻), h = cell([e; context; a⁻], h⁻)    Bahdanau, Cho & Bengio 2015, A.2.2
    features        a = tanh(W [h; context; e])                         Luong equation 5; with e: deep output

    e is the token's embedding, a⁻ the features of the step before (input feeding), h the top layer's output.
    Bahdanau's deep output has a maxout layer where we have tanh. Without attention there is no context, and the
    source speaks through the first state alone (Sutskever, Vinyals & Le 2014). Of several memories the context is what
    `combine` makes of theirs, concatenated by default; see `regard.attend.several`.
    """

    class Config(OfCells):
        """An attentive recurrent decoder."""

        type: Literal["recurrent"] = "recurrent"
        cell: choice(CELLS) = "lstm"  # type: ignore[valid-type]
        """LSTM: see the encoder's."""
        hidden: int = Field(256, ge=1)
        """Size of the state; the encoder's size is the convention."""
        layers: int = Field(1, ge=1)
        """One, as in the encoder."""
        top: optional(choice(CELLS)) = None  # type: ignore[valid-type]
        """The last layer's cell, where it is another than the others': `attentive` on an LSTM looks back once, for half
        of what two layers of it cost."""
        attend: Literal["before", "after"] = "after"
        """After the cell: one product less in the chain of a step, and without input feeding the whole
        sentence is trained in one call."""
        input_feeding: bool = True
        """The decoder is told where it has looked (Luong et al. 2015, section 3.3; worth 1.3 BLEU in their table 1)."""
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

    def __init__(
        self,
        config: Config,
        *,
        embedding: Embedding,
        readout: "SoftmaxReadout",
        attention: Attention.Config | None,
        memory_dims: Sequence[int],
        summary_size: int,
        combine: config.Config | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.config, self.dropout = config, dropout
        self.embedding, self.readout = embedding, readout
        hidden, layers = config.hidden, config.layers
        self.attentions = combined(combine, attention, query_dim=hidden, memory_dims=memory_dims)
        if readout.copies and type(self.attentions) is not Concat:
            raise RegardError("readout copy needs weights that sum to one over the first memory: combine by concat.")
        for part in self.attentions:
            part.normalizer.expect(-math.log(len(readout.bias)))
        context = self.attentions.context_dim
        self.fed_size = (context if config.attend == "before" else 0) + (hidden if config.input_feeding else 0)
        sizes = [embedding.dim + self.fed_size] + [hidden] * (layers - 1)
        chosen = [config.cell] * (layers - 1) + [config.top or config.cell]
        built = zip(chosen, sizes, strict=True)
        self.cells = nn.ModuleList(CELLS[cell.type](cell, size, hidden) for cell, size in built)
        self.bridge = Bridge(summary_size, hidden=hidden, names=[cell.given_names for cell in self._cells()])
        self.combine = nn.Linear(hidden + context + (embedding.dim if config.deep_output else 0), hidden)

    copies = True
    """whether it tells a readout where attention points"""
    agrees = True
    """whether `train.r_drop` is for it"""

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
        if self.config.input_feeding:
            state["features"] = source.summary.new_zeros(source.rows, self.config.hidden)
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
        scores, normalized = self.readout.score(features, _pointed(source, weights))
        output = StepOutput(scores, normalized, weights, vocab=len(self.readout.bias), features=features)
        output.aux = {f"weights.{index}": part for index, part in enumerate(looked.weights[1:], start=1)}
        return output, state

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
        penalized = noise is not None and bool(self.config.ar or self.config.tar)
        if not self.fed_size and all(part.stateless for part in self._attentions()):
            features, looked, top = self._all_steps(embedded, state, source, run, noise)
            looked = looked if keep_weights else replace(looked, weights=[])
            return features, self._trace(looked, top if penalized else None)
        gates = self._project(embedded)  # every step's, in one product
        found: list[Tensor] = []
        tops: list[Tensor] = []
        looks: list[Looked] = []
        for t, (gates_t, embedded_t) in enumerate(zip(gates.unbind(1), embedded.unbind(1), strict=True)):
            now = None if noise is None else noise.under(f"step.{t}")
            features, state, looked = self._advance(gates_t, embedded_t, state, source, run, now)
            found.append(features)
            if penalized:
                tops.append(self._top(state))
            looks.append(Looked(weights=looked.weights if keep_weights else [], aux=looked.aux))
        return torch.stack(found, 1), self._trace(stacked(looks), torch.stack(tops, 1) if penalized else None)

    def _trace(self, looked: Looked, tops: Float[Tensor, "batch tgt_len hidden"] | None) -> Trace:
        """What is told of all looks, with the penalties of the top layer's outputs where they are given."""
        told = trace(looked)
        if tops is None:
            return told
        penalty = activation_penalty(tops, self.config.ar, self.config.tar)
        return replace(told, penalty=penalty if told.penalty is None else told.penalty + penalty)

    def read(
        self, tokens: Int[Tensor, "batch steps"], state: State, source: DecoderSource
    ) -> tuple[Float[Tensor, "batch steps features"], State]:
        """Features of some steps from a state, and the state after them: `step` for many, where nothing is attended to
        and nothing fed back, so that a text can be read in pieces of any size."""
        assert not self.fed_size and not self._attentions(), "a decoder that looks back reads step by step"
        embedded = self.embedding(tokens)
        run = self._run(None)
        output, _, after = self._all_cells(embedded, state, run)
        looked, _ = self.attentions(output, source.attended, {}, None)
        return self._features(output, looked.contexts, embedded, run), after

    def read_told(
        self, inputs: Int[Tensor, "one steps"], targets: Int[Tensor, "one steps"], state: State, source: DecoderSource
    ) -> tuple[Float[Tensor, "steps"], Bool[Tensor, "steps"], State]:
        """For some steps of one text that is read in pieces: log p of each target, whether it ranks first, and the
        state after them."""
        features, after = self.read(inputs, state, source)
        return *self.readout.judged(features[0], targets[0]), after

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
        pointed = _pointed(source, told.weights)
        pointed = pointed and pointed.rows(real)
        sums = self.readout.nll(found, right, smoothing, noise, sampled, pointed, agreement)
        loss = sums.loss
        if told.penalty is not None:
            loss = loss + (told.penalty * valid).sum()
        if told.sampled:
            rewards = valid.to(features).masked_scatter(valid, self.readout.log_likelihoods(found, right, pointed))
            lasting = bool(self.fed_size) or any(part.remembers for part in self._attentions())
            for each in told.sampled:
                loss = loss + reinforce(rewards, valid, each.log_prob, each.baseline, lasting)
        return sums._replace(loss=loss)

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
            pointed = _pointed(source, None if told.weights is None else told.weights[:, t])
            found.append(self.readout.log_likelihoods(features[:, t], targets[:, t], pointed))
        return torch.stack(found, 1), told.weights if keep_weights else None

    def _project(self, embedded: Float[Tensor, "*rows embed"]) -> Float[Tensor, "*rows gates"]:
        """The embedding's share of the first cell's gates."""
        cell = self._cells()[0]
        return nn.functional.linear(embedded, cell.input_weight[:, : self.embedding.dim], cell.input_bias)

    def _run(self, noise: Noise | None, like: Tensor | None = None) -> _Run:
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
        return _Run(
            dropped=dropped,
            fed=LoopProduct(first[:, self.embedding.dim :]),
            recurrent=[cell.loop_product(weight) for cell, weight in zip(self._cells(), dropped, strict=True)],
            combine=LoopProduct(self.combine.weight),
            masks=masks,
            feature_mask=feature_mask,
        )

    def _attend(
        self, query: Float[Tensor, "rows hidden"], state: State, source: DecoderSource, noise: Noise | None
    ) -> tuple[Looked, State]:
        """A look at every memory, and the state after it. A sentence's keys are shared by its hypotheses."""
        queries = query.view(source.rows, -1, query.shape[-1])  # (sentences, beam, hidden)
        looked, after = self.attentions(queries, source.attended, state, noise)
        return looked.rows(), after

    def _advance(
        self,
        gates: Tensor,
        embedded: Tensor,
        state: State,
        source: DecoderSource,
        run: _Run,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "rows features"], State, Looked]:
        """One token of every row: the definition, used by `step` and by the loop of `teacher_forced`."""
        before = self.config.attend == "before"
        fed: list[Tensor] = []
        after: State = {}
        looked = Looked()
        if before:
            looked, after = self._attend(self._top(state), state, source, noise)
            fed += looked.contexts
        if self.config.input_feeding:
            fed.append(state["features"])
        if fed:
            gates = run.fed(torch.cat(fed, 1) if len(fed) > 1 else fed[0], gates)
        output = embedded
        for depth, cell in enumerate(self._cells()):
            if depth > 0:
                gates = cell.project(_drop(output, run.masks[depth]))
            last = tuple(state[f"{name}.{depth}"] for name in cell.state_names)
            parts = cell.advance(gates, last, run.recurrent[depth])
            parts = cell.settled(last, parts, noise and noise.under(f"decoder.{depth}"))
            after.update({f"{name}.{depth}": part for name, part in zip(cell.state_names, parts, strict=True)})
            output = output + parts[0] if self.config.residual and depth > 0 else parts[0]
        if not before:
            looked, attention_state = self._attend(output, state, source, noise)
            after.update(attention_state)
        features = self._features(output, looked.contexts, embedded, run)
        if self.config.input_feeding:
            after["features"] = features
        return features, after, looked

    def _top(self, state: State) -> Tensor:
        """What asks before the cell has moved on: the last cell's own output, without a residual layer's input."""
        return state[f"{self._cells()[-1].state_names[0]}.{len(self.cells) - 1}"]

    def _features(
        self, output: Tensor, contexts: list[Tensor], embedded: Tensor, run: _Run
    ) -> Float[Tensor, "*rows features"]:
        parts = [output, *contexts] + ([embedded] if self.config.deep_output else [])
        x = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        features = torch.tanh(run.combine(x.flatten(0, -2), self.combine.bias.expand(x[..., 0].numel(), -1)))
        features = features.view(*x.shape[:-1], -1)
        return _drop(features, run.feature_mask)

    def _all_steps(
        self, embedded: Tensor, state: State, source: DecoderSource, run: _Run, noise: Noise | None
    ) -> tuple[Float[Tensor, "batch tgt_len features"], Looked, Float[Tensor, "batch tgt_len hidden"]]:
        """All tokens at once, when nothing that attention finds is fed back: the fast form of the loop."""
        output, top, _ = self._all_cells(embedded, state, run, noise)
        looked, _ = self.attentions(output, source.attended, {}, noise)
        return self._features(output, looked.contexts, embedded, run), looked, top

    def _all_cells(
        self, embedded: Tensor, state: State, run: _Run, noise: Noise | None = None
    ) -> tuple[Float[Tensor, "batch tgt_len hidden"], Float[Tensor, "batch tgt_len hidden"], State]:
        """What comes out on top, the top cell's share of it, and the state after them."""
        output, top, after = embedded, embedded, State()
        for depth, cell in enumerate(self._cells()):
            start = tuple(state[f"{name}.{depth}"] for name in cell.state_names)
            own = noise and noise.under(f"decoder.{depth}")
            top, final = cell.sequence(_drop(output, run.masks[depth]), None, start, run.dropped[depth], own)
            after |= {f"{name}.{depth}": part for name, part in zip(cell.state_names, final, strict=True)}
            output = output + top if self.config.residual and depth > 0 else top
        return output, top, after


def _pointed(source: DecoderSource, weights: Tensor | None) -> Pointed | None:
    """Where attention points, for a readout that copies; rows are sentence × query."""
    if source.originals is None or weights is None:
        return None
    return source.originals.pointed(weights.view(source.rows, -1, source.src_len))


def _drop(x: Float[Tensor, "batch *steps dim"], mask: Float[Tensor, "batch dim"] | None) -> Tensor:
    """Multiply by a mask that holds for all steps of a sequence."""
    if mask is None:
        return x
    return x * (mask if x.ndim == 2 else mask[:, None])
