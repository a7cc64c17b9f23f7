"""A recurrent layer and causal self-attention over its outputs, as one cell."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product, up_to_ends
from regard.cells.lstm import LSTM
from regard.ops.attention import mix
from regard.ops.noise import Noise

CHUNK = 64
"""With a window, at least so many steps ask at once: fewer make more calls than they save scores."""


class Attentive(Cell):
    """An LSTM whose output is told what it attends to among the outputs so far, its own included.

        h_t, c_t = LSTM(x_t, h_{t−1}, c_{t−1}),   n = layer norm(h)
        y_t = h_t + W Σ_{i≤t} weights_i V n_i,    weights = softmax over i of (Q n_t) · (K n_i) / √d

    The recurrent layer with attention, residual path and norm of Chen et al. 2018, "The best of both worlds" (RNMT+),
    and Merity 2019, "Single headed attention RNN", in the causal form; attention is Vaswani et al. 2017, equation 1,
    for each of several heads of size d. Norm before attention. What is attended to does not enter the recurrence, so
    that a sequence is the LSTM's, then one call of attention: the layer `SelfAttention` with scope `past`, or
    with `window` the causal scope of that name. No dropout inside. The output before the first step is h₀; it is not
    attended to. W begins as zero (as a residual branch's last layer in Goyal et al. 2017, section 5.1): a new cell is
    its LSTM, and attends as far as it pays.

    Step t costs t scores, with a window no more than window + 1.

        cell = Attentive(Attentive.Config(heads=2, dim=64), input_size=32, hidden=64)
        state = cell.step(x[:, 0], cell.start(like=x, rows=8))   # x (8, steps, 32); state[0] is the output (8, 64)
    """

    class Config(Cell.Config):
        """An LSTM with causal self-attention over its own outputs."""

        type: Literal["attentive"] = "attentive"
        heads: int = Field(1, ge=1)
        """One, as in Merity 2019."""
        dim: int = Field(256, ge=1)
        """Size of all heads' projections together; the size of the state is the convention."""
        window: int | None = Field(None, ge=1)
        """Steps before one's own that are seen; null: all."""

        @model_validator(mode="after")
        def _heads_fit(self) -> Any:
            if self.dim % self.heads:
                raise ValueError(
                    f"dim {self.dim} cannot be split over {self.heads} heads: choose a multiple of the number of heads"
                )
            return self

    state_names = ("y", "h", "c", "keys", "values", "real")
    given_names = ("h", "c")

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.heads, self.dim, self.window = config.heads, config.dim, config.window
        self.scale = (config.dim // config.heads) ** -0.5
        self.lstm = LSTM(LSTM.Config(), input_size, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, config.dim, bias=False)
        self.key = nn.Linear(hidden, config.dim, bias=False)
        self.value = nn.Linear(hidden, config.dim, bias=False)
        self.merge = nn.Linear(config.dim, hidden, bias=False)
        nn.init.zeros_(self.merge.weight)

    @property
    def input_weight(self) -> Float[Tensor, "gates input"]:
        return self.lstm.input_weight

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return self.lstm.input_bias

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        return self.lstm.recurrent_weight

    def begin(self, given: CellState) -> CellState:
        h, c = given
        empty = h.new_empty(len(h), 0, self.dim)
        return h, h, c, empty, empty, h.new_empty(len(h), 0, dtype=torch.bool)

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        _, h, c, *tapes = state
        h, c = self.lstm.advance(gates, (h, c), product)
        y, tapes = self._look_back(h[:, None], tapes)
        return y[:, 0], h, c, *map(self._recent, tapes)

    def sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        recurrent: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """`plain_sequence` whole. What lies past a row's end may ask, and is never seen: it comes later."""
        _, h, c, *tapes = self.start(x, len(x)) if state is None else state
        outputs, (h, c) = self.lstm.sequence(x, lengths, (h, c), recurrent)
        y, tapes = self._look_back(outputs, tapes)
        if lengths is None or bool((lengths == x.shape[1]).all()):
            return y, (y[:, -1], h, c, *map(self._recent, tapes))
        y, last = up_to_ends(y, lengths)
        tapes = [_to_the_end(tape, x.shape[1] - lengths.to(x.device)) for tape in tapes]
        return y, (last, h, c, *map(self._recent, tapes))

    def encode(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
        tapes = list(self.start(x, len(x))[3:])
        y, _ = self._look_back(self.lstm.encode(x, lengths)[0], tapes)
        return up_to_ends(y, lengths)

    def _look_back(
        self, h: Float[Tensor, "batch steps hidden"], tapes: list[Tensor]
    ) -> tuple[Float[Tensor, "batch steps hidden"], list[Tensor]]:
        """Outputs y, and the tapes with these steps at their end."""
        steps, normed = h.shape[1], self.norm(h)
        entries = self.key(normed), self.value(normed), tapes[2].new_ones(h.shape[:2])
        tapes = [torch.cat(pair, 1) for pair in zip(tapes, entries, strict=True)]
        query = self._split(self.query(normed) * self.scale)
        at_once = steps if self.window is None else max(self.window, CHUNK)
        before = tapes[0].shape[1] - steps
        some = zip(query.split(at_once, 2), range(before, before + steps, at_once), strict=True)
        found = [self._ask(asking, first, tapes) for asking, first in some]
        context = torch.cat(found, 2).transpose(1, 2).flatten(2)  # heads side by side
        return h + self.merge(context), tapes

    def _ask(
        self, query: Float[Tensor, "batch heads steps size"], first: int, tapes: list[Tensor]
    ) -> Float[Tensor, "batch heads steps size"]:
        """Contexts of the steps whose own entries are `first` and those after it."""
        start = 0 if self.window is None else max(0, first - self.window)
        end = first + query.shape[2]
        keys, values, real = (tape[:, start:end] for tape in tapes)
        place = torch.arange(start, end, device=query.device)
        own = place[first - start :, None]
        seen = place <= own if self.window is None else (place <= own) & (place >= own - self.window)
        scores = query @ self._split(keys).mT
        return mix(scores, self._split(values), (seen & real[:, None])[:, None])[0]

    def _recent(self, tape: Tensor) -> Tensor:
        """What the next step can still see of it."""
        return tape if self.window is None else tape[:, -self.window :]

    def _split(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch heads steps size"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _to_the_end(tape: Tensor, by: Int[Tensor, "batch"]) -> Tensor:
    """Each row moved `by` entries towards the end, where so many fall off; zeros come in front."""
    place = torch.arange(tape.shape[1], device=tape.device) - by[:, None]  # (batch, entries)
    moved = tape[torch.arange(len(tape), device=tape.device)[:, None], place.clamp(min=0)]
    return torch.where((place >= 0).view(*place.shape, *[1] * (tape.ndim - 2)), moved, torch.zeros_like(moved))
