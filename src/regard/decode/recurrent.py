"""The attentive recurrent decoder: attention before or after the cell, with or without input feeding."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attend.combination import Looked
from regard.decode.layered import LayeredDecoder, LayersConfig, LoopRun, dropped
from regard.decode.source import DecoderSource
from regard.decode.state import State
from regard.decode.trace import stacked
from regard.ops.noise import Noise


class RecurrentDecoder(LayeredDecoder):
    """Layers of cells that look back at the source with every token.

    attend: after   h = cell([e; a⁻], h⁻), context = attend(h)          Luong, Pham & Manning 2015, sections 3, 3.3
    attend: before  context = attend(h⁻), h = cell([e; context; a⁻], h⁻)    Bahdanau, Cho & Bengio 2015, A.2.2
    features        a = tanh(W [h; context; e])                         Luong equation 5; with e: deep output

    e is the token's embedding, a⁻ the features of the step before (input feeding), h the top layer's output.
    Bahdanau's deep output has a maxout layer where we have tanh. Without attention there is no context, and the
    source speaks through the first state alone (Sutskever, Vinyals & Le 2014). Of several memories the context is what
    `combine` makes of theirs, concatenated by default; see `regard.attend.several`.
    """

    class Config(LayersConfig):
        """An attentive recurrent decoder."""

        type: Literal["recurrent"] = "recurrent"
        attend: Literal["before", "after"] = "after"
        """After the cell: one product less in the chain of a step, and without input feeding the whole
        sentence is trained in one call."""
        input_feeding: bool = True
        """The decoder is told where it has looked (Luong et al. 2015, section 3.3; worth 1.3 BLEU in their table 1)."""

    config: Config

    def _sizes(self, context: int) -> tuple[int, int, int]:
        feeding = self.config.hidden if self.config.input_feeding else 0
        return (context if self.config.attend == "before" else 0) + feeding, 0, context

    def _fed_back(self, source: DecoderSource) -> State:
        if not self.config.input_feeding:
            return {}
        return {"features": source.summary.new_zeros(source.rows, self.config.hidden)}

    def _through(
        self,
        embedded: Float[Tensor, "batch tgt_len embed"],
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "batch tgt_len features"], Looked, Float[Tensor, "batch tgt_len hidden"] | None]:
        """All tokens: in one call a layer where nothing that attention finds is fed back."""
        if not self.fed_size and all(part.stateless for part in self._attentions()):
            return self._all_steps(embedded, state, source, run, noise)
        gates = self._project(embedded)  # every step's, in one product
        found: list[Tensor] = []
        tops: list[Tensor] = []
        looks: list[Looked] = []
        for t, (gates_t, embedded_t) in enumerate(zip(gates.unbind(1), embedded.unbind(1), strict=True)):
            now = None if noise is None else noise.under(f"step.{t}")
            features, state, looked = self._advance(gates_t, embedded_t, state, source, run, now)
            found.append(features)
            if run.penalized:
                tops.append(self._top(state))
            looks.append(Looked(weights=looked.weights if run.keep_weights else [], aux=looked.aux))
        return torch.stack(found, 1), stacked(looks), torch.stack(tops, 1) if tops else None

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

    def _advance(
        self,
        gates: Tensor,
        embedded: Tensor,
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "rows features"], State, Looked]:
        """One token of every row: the definition, used by `step` and by the loop of `_through`."""
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
                gates = cell.project(dropped(output, run.masks[depth]))
            own, moved = self._layer(depth, gates, state, run, noise)
            after.update(moved)
            output = output + own if self.config.residual and depth > 0 else own
        if not before:
            looked, attention_state = self._attend(output, state, source, noise)
            after.update(attention_state)
        features = self._features(output, looked.contexts, embedded, run)
        if self.config.input_feeding:
            after["features"] = features
        return features, after, looked

    def _all_steps(
        self, embedded: Tensor, state: State, source: DecoderSource, run: LoopRun, noise: Noise | None
    ) -> tuple[Float[Tensor, "batch tgt_len features"], Looked, Float[Tensor, "batch tgt_len hidden"]]:
        """All tokens at once, when nothing that attention finds is fed back: the fast form of the loop."""
        output, top, _ = self._all_cells(embedded, state, run, noise)
        looked, _ = self.attentions(output, source.attended, {}, noise)
        return self._features(output, looked.contexts, embedded, run), looked, top

    def _all_cells(
        self, embedded: Tensor, state: State, run: LoopRun, noise: Noise | None = None
    ) -> tuple[Float[Tensor, "batch tgt_len hidden"], Float[Tensor, "batch tgt_len hidden"], State]:
        """What comes out on top, the top cell's share of it, and the state after them."""
        output, top, after = embedded, embedded, State()
        for depth in range(len(self.cells)):
            top, moved = self._whole_layer(depth, dropped(output, run.masks[depth]), state, run, noise)
            after |= moved
            output = output + top if self.config.residual and depth > 0 else top
        return output, top, after
