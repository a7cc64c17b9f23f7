"""LSTM and GRU with layer normalization."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product
from regard.ops.squash import sigmoid


class NormedCell(Cell):
    """What both have: their two products are normalized, each with a gain; one bias is enough for their sum."""

    gates: int

    def __init__(self, config: Cell.Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        size = self.gates * hidden
        self.input = nn.Linear(input_size, size)
        self.recurrent = nn.Linear(hidden, size, bias=False)
        self.norm_input, self.norm_recurrent = nn.LayerNorm(size), nn.LayerNorm(size, bias=False)

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        return self.recurrent.weight

    def _normed(
        self, gates: Float[Tensor, "batch gates"], h: Float[Tensor, "batch hidden"], product: Product | None
    ) -> tuple[Float[Tensor, "batch gates"], Float[Tensor, "batch gates"]]:
        """The input's share of the gates and the state's."""
        from_h = F.linear(h, self.recurrent_weight) if product is None else product(h, None)
        return self.norm_input(gates), self.norm_recurrent(from_h)


class LayerNormLSTM(NormedCell):
    """Long short-term memory with layer normalization.

        f, i, g, o = LN(W x + b) + LN(U h),   c' = σ(f) c + σ(i) tanh(g),   h' = σ(o) tanh(LN(c'))

    Ba, Kiros & Hinton 2016, "Layer normalization" (arXiv:1607.06450), equations 20 to 22. Their three biases of the
    gates' sum are one, of the first norm, of which the forget gate's starts at 1.
    """

    class Config(NormedCell.Config):
        """An LSTM whose products and cell are normalized; steps one by one, slower than `lstm`."""

        type: Literal["layer_norm_lstm"] = "layer_norm_lstm"

    state_names = ("h", "c")
    gates = 4

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.norm_cell = nn.LayerNorm(hidden)
        with torch.no_grad():
            self.norm_input.bias[hidden : 2 * hidden] = 1.0

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        h, c = state
        from_x, from_h = self._normed(gates, h, product)
        i, f, g, o = (from_x + from_h).chunk(4, dim=-1)
        c = sigmoid(f) * c + sigmoid(i) * g.tanh()
        return sigmoid(o) * self.norm_cell(c).tanh(), c


class LayerNormGRU(NormedCell):
    """Gated recurrent unit with layer normalization.

        x_r, x_z, x_n = LN(W x + b),   h_r, h_z, h_n = LN(U h)
        n = tanh(x_n + σ(x_r + h_r) h_n),   z = σ(x_z + h_z),   h' = (1 − z) n + z h

    Ba, Kiros & Hinton 2016 (arXiv:1607.06450), equations 23 to 25, with one norm over the gates and the candidate of
    each product where they have two, and with z as our GRU has it.
    """

    class Config(NormedCell.Config):
        """A GRU whose products are normalized; steps one by one, slower than `gru`."""

        type: Literal["layer_norm_gru"] = "layer_norm_gru"

    gates = 3

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        (h,) = state
        from_x, from_h = self._normed(gates, h, product)
        x_r, x_z, x_n = from_x.chunk(3, dim=-1)
        h_r, h_z, h_n = from_h.chunk(3, dim=-1)
        n = (x_n + sigmoid(x_r + h_r) * h_n).tanh()
        return (n + sigmoid(x_z + h_z) * (h - n),)
