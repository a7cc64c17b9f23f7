"""Gated recurrent unit."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from regard.cells.cell import CellState, Product, TorchCell
from regard.ops.squash import sigmoid


class GRU(TorchCell):
    """Gated recurrent unit, with the reset gate applied after the recurrent product, as cuDNN and torch have it.

        r, z = σ(W x + b + U h + d),   n = tanh(W_n x + b_n + r (U_n h + d_n)),   h' = (1 − z) n + z h

    Cho et al. 2014 (arXiv:1406.1078v3), equations 5–8, where r multiplies h before the product. Parameters in
    torch's layout (`nn.GRU`).
    """

    class Config(TorchCell.Config):
        """The GRU cell."""

        type: Literal["gru"] = "gru"

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.rnn = nn.GRU(input_size, hidden, batch_first=True)

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        (h,) = state
        bias = self.recurrent_bias
        from_h = F.linear(h, self.recurrent_weight, bias) if product is None else product(h, None) + bias
        x_r, x_z, x_n = gates.chunk(3, dim=-1)
        h_r, h_z, h_n = from_h.chunk(3, dim=-1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = (x_n + r * h_n).tanh()
        return (n + z * (h - n),)
