"""The sLSTM of xLSTM: exponential gates, and a memory that is an average."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product
from regard.ops.squash import log_sigmoid, sigmoid

FORGET = (3.0, 6.0)
"""Between these the forget gates' biases start, in each head, so that there are short memories and long ones."""


class SLSTM(Cell):
    """Scalar long short-term memory of xLSTM.

        z, ĩ, f̃, õ = W x + b + R h
        m' = max(log σ(f̃) + m, ĩ),   i = exp(ĩ − m'),   f = exp(log σ(f̃) + m − m')
        c' = f c + i tanh(z),   n' = f n + i,   h' = σ(õ) c' / n'

    Beck et al. 2024, "xLSTM: extended long short-term memory" (arXiv:2405.04517), equations 8 to 17, with the sigmoid
    as the forget gate's function. `heads` are blocks of R: units see the last outputs of their own head. The cell
    alone, without the normalization and the wider layers of the paper's blocks.
    """

    class Config(Cell.Config):
        """An LSTM with exponential gates and a normalized memory (xLSTM); steps one by one, slower than `lstm`."""

        type: Literal["slstm"] = "slstm"
        heads: int = Field(1, ge=1)
        """Blocks of units that see each other's last outputs; the cell's size is a multiple of them."""

        def conflict(self, hidden: int) -> str | None:
            return of_heads(self.type, self.heads, hidden)

    state_names = ("h", "c", "n", "m")
    given_names = ("h", "c")

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.input = nn.Linear(input_size, 4 * hidden)
        self.recurrent = nn.Parameter(torch.empty(config.heads, 4 * hidden // config.heads, hidden // config.heads))
        nn.init.uniform_(self.recurrent, -(hidden**-0.5), hidden**-0.5)
        with torch.no_grad():
            self.input.bias[2 * hidden : 3 * hidden] = torch.linspace(*FORGET, hidden // config.heads).repeat(
                config.heads
            )

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        """A block for each head in each gate."""
        if len(self.recurrent) == 1:
            return self.recurrent[0]
        blocks = [torch.block_diag(*gate) for gate in self.recurrent.chunk(4, 1)]
        return torch.cat(blocks)

    def begin(self, given: CellState) -> CellState:
        """A memory that is given counts as one step of weight 1."""
        h, c = given
        return h, c, torch.ones_like(c), torch.zeros_like(c)

    def start(self, like: Tensor, rows: int) -> CellState:
        zeros = like.new_zeros(rows, self.hidden)
        return zeros, zeros, zeros, torch.full_like(zeros, -torch.inf)

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        h, c, n, m = state
        gates = torch.addmm(gates, h, self.recurrent_weight.T) if product is None else product(h, gates)
        z, i, f, o = gates.chunk(4, dim=-1)
        open_ = log_sigmoid(f) + m
        m = torch.maximum(open_, i)
        f, i = (open_ - m).exp(), (i - m).exp()
        c, n = f * c + i * z.tanh(), f * n + i
        return sigmoid(o) * c / n, c, n, m


def of_heads(name: str, heads: int, hidden: int) -> str | None:
    """Why a cell of this size cannot have so many heads."""
    return f"cell {name}: {hidden} units are no multiple of {heads} heads" if hidden % heads else None
