"""The plain recurrent network."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.cells.cell import CellState, Product, TorchCell


class RNN(TorchCell):
    """The plain recurrent network of Elman 1990.

        h' = tanh(W x + b + U h + d)

    Parameters in torch's layout (`nn.RNN`).
    """

    class Config(TorchCell.Config):
        """The plain (Elman) cell."""

        type: Literal["rnn"] = "rnn"

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.rnn = nn.RNN(input_size, hidden, batch_first=True)

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return super().input_bias + self.recurrent_bias

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        (h,) = state
        gates = torch.addmm(gates, h, self.recurrent_weight.T) if product is None else product(h, gates)
        return (gates.tanh(),)
