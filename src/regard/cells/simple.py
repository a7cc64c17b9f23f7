"""The simple recurrent units: no products with the state; SRU has a highway around it."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product
from regard.cells.scan import ScanCell
from regard.ops.squash import sigmoid


class SSRU(ScanCell):
    """The simpler simple recurrent unit.

        f = σ(W x + b),   c' = f c + (1 − f) U x,   h' = max(c', 0)

    Kim et al. 2019, "From research to production and back: ludicrously fast neural machine translation", for decoders
    on a CPU. The candidate has a bias of ours.
    """

    state_names = ("h", "c")
    given_names = ("c",)

    class Config(ScanCell.Config):
        """A cell of one gate and a rectifier, for fast decoders (SSRU)."""

        type: Literal["ssru"] = "ssru"

    def begin(self, given: CellState) -> CellState:
        return self.told(*given)

    def told(self, states: Float[Tensor, "*rows hidden"]) -> CellState:
        return states.relu(), states

    def coefficients(
        self, gates: Float[Tensor, "*rows gates"]
    ) -> tuple[Float[Tensor, "*rows hidden"], Float[Tensor, "*rows hidden"]]:
        forget, candidate = gates.chunk(2, dim=-1)
        f = sigmoid(forget)
        return f, (1.0 - f) * candidate


class SRU(Cell):
    """The simple recurrent unit.

        f = σ(W_f x + v_f c + b_f),   c' = f c + (1 − f) W x
        r = σ(W_r x + v_r c + b_r),   h' = r c' + (1 − r) W_x x          equations 1 to 4, with v · c pointwise

    Lei et al. 2018, "Simple recurrent units for highly parallelizable recurrence" (arXiv:1709.02755v5), section 3. The
    highway takes W_x x, as theirs does where sizes differ, whose weights have their α = √3 in them at the start; it and
    the candidate have biases. The forget gate sees the state, so steps go one by one, each of them pointwise.
    """

    state_names = ("h", "c")
    given_names = ("c",)
    multiplies_state = False

    class Config(Cell.Config):
        """A cell whose gates see the state pointwise, with a highway (SRU)."""

        type: Literal["sru"] = "sru"

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.input = nn.Linear(input_size, 4 * hidden)
        self.peephole = nn.Parameter(torch.empty(2 * hidden).uniform_(-1.0, 1.0))
        with torch.no_grad():
            self.input.weight[3 * hidden :] *= 3.0**0.5

    def begin(self, given: CellState) -> CellState:
        (c,) = given
        return torch.zeros_like(c), c

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        c = state[1]
        seen, candidate, passing = gates.split([2 * self.hidden, self.hidden, self.hidden], dim=-1)
        f, r = sigmoid(seen + torch.cat([c, c], -1) * self.peephole).chunk(2, dim=-1)
        after = candidate + f * (c - candidate)
        return passing + r * (after - passing), after
