"""The long short-term memory-network: a cell that attends to its own past."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product
from regard.ops.attention import mix
from regard.ops.gates import lstm_gates
from regard.ops.squash import tanh_sum


class LSTMN(Cell):
    """An LSTM that attends over the tape of its own states, where an LSTM has its last one alone.

        a_i = v · tanh(W_h h_i + W_x x_t + W_h̃ h̃_{t−1} + b),   s = softmax(a)          equations 5 and 6
        (h̃_t, c̃_t) = Σ_{i<t} s_i (h_i, c_i)                                             equation 7
        i, f, g, o = W [h̃_t; x_t] + d                                                    equation 8
        c_t = σ(f) c̃_t + σ(i) tanh(g),   h_t = σ(o) tanh(c_t)                            equations 9 and 10

    Cheng, Dong & Lapata 2016, "Long short-term memory-networks for machine reading" (arXiv:1601.06733), section 3.1.
    With nothing on the tape, h̃ and c̃ are zero, as is h̃₀. Unlike the paper there are biases, of which the forget
    gate's starts at 1 as our LSTM's does. A first state from elsewhere, (h₀, c₀), is the tape's first entry: so a
    decoder can return to what its bridge told it at any step.

    Step t costs t scores; a sequence in training keeps steps² · (dim + 2 · hidden) numbers a row.

        cell = LSTMN(LSTMN.Config(dim=64), input_size=32, hidden=64)
        state = cell.step(x[:, 0], cell.start(like=x, rows=8))   # x (8, steps, 32); state[0] is the output (8, 64)
    """

    class Config(Cell.Config):
        """An LSTM that attends over its own earlier states (LSTMN)."""

        type: Literal["intra"] = "intra"
        dim: int = Field(256, ge=1)
        """Size of the hidden layer that scores the tape; the size of the state is the convention."""

    state_names = ("h", "query", "keys", "tape", "real")
    given_names = ("h", "c")

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.sizes = [4 * hidden, config.dim]
        # What multiplies one thing is one weight: the gates' rows, then the score's.
        self.input = nn.Linear(input_size, sum(self.sizes))
        self.recurrent = nn.Linear(hidden, sum(self.sizes), bias=False)
        self.key = nn.Linear(hidden, config.dim, bias=False)
        self.score = nn.Linear(config.dim, 1, bias=False)
        with torch.no_grad():
            self.input.bias[hidden : 2 * hidden] = 1.0

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        """Of h̃_t: W's columns, for this step, and W_h̃, for the next one's query."""
        return self.recurrent.weight

    def start(self, like: Tensor, rows: int) -> CellState:
        h, query = like.new_zeros(rows, self.hidden), like.new_zeros(rows, self.sizes[1])
        keys, tape = query.new_empty(rows, 0, self.sizes[1]), h.new_empty(rows, 0, 2 * self.hidden)
        return h, query, keys, tape, h.new_empty(rows, 0, dtype=torch.bool)

    def begin(self, given: CellState) -> CellState:
        h, c = given
        _, query, *tapes = self.start(h, len(h))
        return h, query, *self._write(h, c, *tapes)

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        _, query, keys, tape, real = state
        gates, asked = gates.split(self.sizes, -1)
        scores = self.score(tanh_sum((asked + query)[:, None, None], keys[:, None]))[..., 0]  # (batch, 1, entries)
        h, c = mix(scores, tape, real[:, None])[0][:, 0].chunk(2, -1)  # h̃, c̃
        told = F.linear(h, self.recurrent_weight) if product is None else product(h, None)
        to_gates, query = told.split(self.sizes, -1)
        h, c = lstm_gates(gates + to_gates, c)
        return h, query, *self._write(h, c, keys, tape, real)

    def _write(
        self,
        h: Float[Tensor, "batch hidden"],
        c: Float[Tensor, "batch hidden"],
        keys: Float[Tensor, "batch entries dim"],
        tape: Float[Tensor, "batch entries memory"],
        real: Bool[Tensor, "batch entries"],
    ) -> CellState:
        """One more entry: W_h h, (h, c), and that it is one."""
        keys = torch.cat([keys, self.key(h)[:, None]], 1)
        tape = torch.cat([tape, torch.cat([h, c], -1)[:, None]], 1)
        return keys, tape, torch.cat([real, real.new_ones(len(h), 1)], 1)
