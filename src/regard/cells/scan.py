"""Cells whose step is linear in their state, so that a whole sequence is one scan."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product, up_to_ends
from regard.ops.noise import Noise
from regard.ops.scan import linear_scan


class ScanCell(Cell):
    """h' = a h + b, with a and b of the input alone: nothing of a step waits for a matrix product of the step before.

    A new cell says how many `parts` of its own size the map of its input has, and makes a and b of them in
    `coefficients`; where h is not what it puts out, in `told`.
    """

    parts = 2
    multiplies_state = False

    def __init__(self, config: Cell.Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.input = nn.Linear(input_size, self.parts * hidden)

    def coefficients(
        self, gates: Float[Tensor, "*rows gates"]
    ) -> tuple[Float[Tensor, "*rows hidden"], Float[Tensor, "*rows hidden"]]:
        """a and b of steps, from their projected input."""
        raise NotImplementedError

    def told(self, states: Float[Tensor, "*rows hidden"]) -> CellState:
        """The cell's state where that of the recurrence is h, which is its last part; the output of zero is zero."""
        return (states,)

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        a, b = self.coefficients(gates)
        return self.told(a * state[-1] + b)

    def sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        recurrent: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """`plain_sequence` by a scan."""
        a, b = self.coefficients(self.project(x))
        states = linear_scan(a, b, b.new_zeros(b[:, 0].shape) if state is None else state[-1])
        last = states[:, -1]
        if lengths is not None and not bool((lengths == b.shape[1]).all()):
            states, last = up_to_ends(states, lengths)
        return self.told(states)[0], self.told(last)
