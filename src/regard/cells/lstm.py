"""Long short-term memory."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.cells.cell import CellState, Product, TorchCell
from regard.ops.gates import lstm_gates


class LSTM(TorchCell):
    """Long short-term memory with a forget gate, no peepholes.

        i, f, g, o = W x + b + U h + d
        c' = σ(f) c + σ(i) tanh(g),   h' = σ(o) tanh(c')

    Hochreiter & Schmidhuber 1997; forget gate Gers, Schmidhuber & Cummins 2000. Parameters in torch's layout
    (`nn.LSTM`). The forget gate's bias starts at 1 (Jozefowicz, Zaremba & Sutskever 2015).
    """

    class Config(TorchCell.Config):
        """The LSTM cell."""

        type: Literal["lstm"] = "lstm"

    state_names = ("h", "c")
    fast = True

    def __init__(self, config: TorchCell.Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.rnn = nn.LSTM(input_size, hidden, batch_first=True)
        with torch.no_grad():
            super().input_bias[hidden : 2 * hidden] = 1.0
            self.recurrent_bias.zero_()

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return super().input_bias + self.recurrent_bias

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        h, c = state
        gates = torch.addmm(gates, h, self.recurrent_weight.T) if product is None else product(h, gates)
        return lstm_gates(gates, c)
