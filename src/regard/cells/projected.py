"""An LSTM that puts out less than it remembers."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product
from regard.ops.gates import lstm_gates
from regard.ops.product import LoopProduct


class ProjectedLSTM(Cell):
    """Long short-term memory with a recurrent projection: a wide memory, and products with a narrow output.

        i, f, g, o = W x + b + U h                              each as large as the memory
        c' = σ(f) c + σ(i) tanh(g),   h' = P (σ(o) tanh(c'))

    Sak, Senior & Beaufays 2014, "Long short-term memory based recurrent neural network architectures for large
    vocabulary speech recognition" (arXiv:1402.1128), section 2.2, without peepholes and without the projection that is
    not recurrent: `nn.LSTM` with `proj_size`, which on a CPU has no kernel. The forget gate's bias starts at 1.
    """

    class Config(Cell.Config):
        """An LSTM whose memory is wider than its output, by a recurrent projection; steps one by one."""

        type: Literal["projected_lstm"] = "projected_lstm"
        memory: int = Field(512, ge=2)
        """Numbers of the memory; the cell's size is that of its output, which must be smaller."""

        def conflict(self, hidden: int) -> str | None:
            if hidden < self.memory:
                return None
            return f"cell {self.type}: a memory of {self.memory} is not wider than the output of {hidden}"

    state_names = ("h", "c")
    given_names = ("h",)

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.memory = config.memory
        self.input = nn.Linear(input_size, 4 * config.memory)
        self.recurrent = nn.Linear(hidden, 4 * config.memory, bias=False)
        self.projection = nn.Linear(config.memory, hidden, bias=False)
        with torch.no_grad():
            self.input.bias[config.memory : 2 * config.memory] = 1.0

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        return self.recurrent.weight

    def loop_product(self, recurrent: Tensor | None = None) -> tuple[Product, Product]:
        """Of the recurrent weight, and of the projection."""
        weights = self.recurrent_weight if recurrent is None else recurrent, self.projection.weight
        return LoopProduct(weights[0]), LoopProduct(weights[1])

    def begin(self, given: CellState) -> CellState:
        """The memory is empty."""
        (h,) = given
        return h, h.new_zeros(len(h), self.memory)

    def advance(
        self,
        gates: Float[Tensor, "batch gates"],
        state: CellState,
        product: tuple[Product, Product] | None = None,
    ) -> CellState:
        h, c = state
        if product is None:
            wide, c = lstm_gates(torch.addmm(gates, h, self.recurrent_weight.T), c)
            return F.linear(wide, self.projection.weight), c
        recur, project = product
        wide, c = lstm_gates(recur(h, gates), c)
        return project(wide, None), c
