"""A deep decoder: attention is asked by its first layer, and all layers above see what it found."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from regard.attend import Attention
from regard.attend.combination import Looked
from regard.decode.layered import LayeredDecoder, LayersConfig, LoopRun, dropped
from regard.decode.source import DecoderSource
from regard.decode.state import State
from regard.decode.trace import stacked
from regard.ops.noise import Noise


class DeepDecoder(LayeredDecoder):
    """Layers of which the first asks, and the others, which attention does not wait for, run over whole sequences.

        h¹ = cell₁([e; c⁻], h¹⁻),  c = attend(h¹),  hᵏ = cellₖ([hᵏ⁻¹; c], hᵏ⁻) for k > 1
        features = tanh(W [hᴷ; c; e])          c where `output_context`, e where `deep_output`

    c⁻ is the context of the step before (`context_feeding`). Wu et al. 2016, "Google's neural machine translation
    system" (arXiv:1609.08144), section 3 and figure 1: attention goes by the first layer, and its context to all
    others, with residual paths from the third layer on. Chen et al. 2018, "The best of both worlds" (arXiv:1804.09849),
    section 4.1, RNMT+: the context goes to the output layer, too, attention has several heads, and cells are
    normalized. So

        GNMT    decoder: {type: deep, layers: 8, residual: true, output_context: false}
        RNMT+   decoder: {type: deep, layers: 8, residual: true, cell: layer_norm_lstm}, attention: {heads: 4}

    In both papers attention is asked by the first layer's output of the step before, here by that of the same step
    (as in the decoder `recurrent`), and residual paths begin at the second layer.
    """

    class Config(LayersConfig):
        """A deep decoder, as GNMT and RNMT+ have them."""

        type: Literal["deep"] = "deep"
        layers: int = Field(3, ge=2)
        """One that asks and two that do not; GNMT and RNMT+ have eight."""
        context_feeding: bool = True
        """The first layer is told what was found at the step before, as in both papers. Without it the whole target is
        trained in one call a layer."""
        output_context: bool = True
        """The output layer sees what was found, as in RNMT+."""

    config: Config

    @staticmethod
    def conflict(config: Any, attention: Attention.Config | None) -> str | None:
        """Why it cannot work, if it cannot."""
        if attention is None:
            return (
                "decoder deep shows all layers what attention finds, and attention is none: choose a score, or, where "
                "there is no source, decoder recurrent"
            )
        return LayeredDecoder.conflict(config, attention)

    def _sizes(self, context: int) -> tuple[int, int, int]:
        return (context if self.config.context_feeding else 0), context, (context if self.config.output_context else 0)

    def _fed_back(self, source: DecoderSource) -> State:
        if not self.config.context_feeding:
            return {}
        return {"context": source.summary.new_zeros(source.rows, self.attentions.context_dim)}

    def _through(
        self,
        embedded: Float[Tensor, "batch tgt_len embed"],
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "batch tgt_len features"], Looked, Float[Tensor, "batch tgt_len hidden"] | None]:
        """All tokens: the first layer and attention, then all layers above in one call each."""
        if not self.fed_size and all(part.stateless for part in self._attentions()):
            first, _ = self._whole_layer(0, embedded, state, run, noise)
            looked, _ = self.attentions(first, source.attended, {}, noise)
            contexts = looked.contexts
        else:
            first, contexts, looked = self._first_steps(embedded, state, source, run, noise)
        output = top = first
        for depth in range(1, len(self.cells)):
            below = torch.cat([dropped(output, run.masks[depth]), *contexts], -1)
            top, _ = self._whole_layer(depth, below, state, run, noise)
            output = output + top if self.config.residual else top
        features = self._features(output, contexts if self.config.output_context else [], embedded, run)
        return features, looked, top

    def _first_steps(
        self,
        embedded: Float[Tensor, "batch tgt_len embed"],
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "batch tgt_len hidden"], list[Tensor], Looked]:
        """The first layer and attention, a step at a time: outputs, contexts, and where attention went."""
        gates = self._project(embedded)  # every step's, in one product
        outputs: list[Tensor] = []
        found: list[Tensor] = []
        looks: list[Looked] = []
        for t, gates_t in enumerate(gates.unbind(1)):
            now = None if noise is None else noise.under(f"step.{t}")
            output, context, state, looked = self._ask(gates_t, state, source, run, now)
            outputs.append(output)
            found.append(context)
            looks.append(Looked(weights=looked.weights if run.keep_weights else [], aux=looked.aux))
        return torch.stack(outputs, 1), [torch.stack(found, 1)], stacked(looks)

    def _ask(
        self, gates: Tensor, state: State, source: DecoderSource, run: LoopRun, noise: Noise | None
    ) -> tuple[Float[Tensor, "rows hidden"], Float[Tensor, "rows context"], State, Looked]:
        """One step of the first layer and of attention."""
        if self.config.context_feeding:
            gates = run.fed(state["context"], gates)
        output, after = self._layer(0, gates, state, run, noise)
        looked, moved = self._attend(output, state, source, noise)
        context = torch.cat(looked.contexts, -1)
        if self.config.context_feeding:
            after["context"] = context
        return output, context, after | moved, looked

    def _advance(
        self,
        gates: Tensor,
        embedded: Tensor,
        state: State,
        source: DecoderSource,
        run: LoopRun,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "rows features"], State, Looked]:
        """One token of every row: the definition."""
        output, context, after, looked = self._ask(gates, state, source, run, noise)
        for depth in range(1, len(self.cells)):
            below = torch.cat([dropped(output, run.masks[depth]), context], -1)
            own, moved = self._layer(depth, self._cells()[depth].project(below), state, run, noise)
            after |= moved
            output = output + own if self.config.residual else own
        return self._features(output, [context] if self.config.output_context else [], embedded, run), after, looked
