"""Several cells, one after the other, within a step."""

from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState
from regard.cells.gru import GRU
from regard.cells.lstm import LSTM
from regard.cells.normed import LayerNormGRU, LayerNormLSTM
from regard.cells.rnn import RNN
from regard.config import choice

INNER: dict[str, type[Cell]] = {
    "gru": GRU,
    "lstm": LSTM,
    "rnn": RNN,
    "layer_norm_gru": LayerNormGRU,
    "layer_norm_lstm": LayerNormLSTM,
}
"""The cells that a transition may be of."""


class DeepTransition(Cell):
    """A deep path from state to state: the first cell reads the input, the others the state alone.

        s¹ = cell₁(x, s),   sᵏ = cellₖ(1, sᵏ⁻¹),   s' = sᵈ

    Pascanu et al. 2014, "How to construct deep recurrent neural networks" (arXiv:1312.6026), section 3.3.2; of gated
    cells, as the encoder and decoder of translation: Miceli Barone et al. 2017 (arXiv:1707.07631), section 2.3.1. The
    input of the cells past the first is the number 1, so that its weight is a bias.
    """

    class Config(Cell.Config):
        """Cells one after the other within a step (deep transition); steps one by one, slower than `lstm`."""

        type: Literal["deep_transition"] = "deep_transition"
        cell: choice(INNER) = "gru"  # type: ignore[valid-type]
        """The cell; GRU in Miceli Barone et al. 2017."""
        depth: int = Field(2, ge=2)
        """Cells in a step; 4 to 10 in theirs."""

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        build = INNER[config.cell.type]
        sizes = [input_size] + [1] * (config.depth - 1)
        self.cells = nn.ModuleList(build(config.cell, input_size=size, hidden=hidden) for size in sizes)

    @property
    def _cells(self) -> list[Cell]:
        return cast("list[Cell]", list(self.cells))

    @property
    def state_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._cells[0].state_names

    @property
    def input_weight(self) -> Float[Tensor, "gates input"]:
        return self._cells[0].input_weight

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return self._cells[0].input_bias

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        """Those of all cells, one below the other."""
        return torch.cat([cell.recurrent_weight for cell in self._cells])

    def loop_product(self, recurrent: Tensor | None = None) -> Any:
        """A list, one of each cell."""
        weights = [None] * len(self.cells) if recurrent is None else recurrent.chunk(len(self.cells))
        return [cell.loop_product(weight) for cell, weight in zip(self._cells, weights, strict=True)]

    def advance(self, gates: Float[Tensor, "batch gates"], state: CellState, product: Any = None) -> CellState:
        products = [None] * len(self.cells) if product is None else product
        for depth, (cell, own) in enumerate(zip(self._cells, products, strict=True)):
            if depth:
                gates = cell.project(gates.new_ones(len(gates), 1))
            state = cell.advance(gates, state, own)
        return state
