"""Cells whose step is linear in their state, so that a whole sequence is one scan."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, Product, up_to_ends
from regard.ops.scan import linear_scan


class ScanCell(Cell):
    """h' = a h + b, with a and b of the input alone: nothing of a step waits for a matrix product of the step before.

    A new cell says how many `parts` of its own size the map of its input has, and makes a and b of them in
    `coefficients`.
    """

    parts = 2
    multiplies_state = False

    def __init__(self, config: Cell.Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.input = nn.Linear(input_size, self.parts * hidden)

    @property
    def input_weight(self) -> Float[Tensor, "gates input"]:
        return self.input.weight

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return self.input.bias

    def coefficients(
        self, gates: Float[Tensor, "*rows gates"]
    ) -> tuple[Float[Tensor, "*rows hidden"], Float[Tensor, "*rows hidden"]]:
        """a and b of steps, from their projected input."""
        raise NotImplementedError

    def advance(
        self, gates: Float[Tensor, "batch gates"], state: CellState, product: Product | None = None
    ) -> CellState:
        a, b = self.coefficients(gates)
        return (a * state[0] + b,)

    def sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        recurrent: Tensor | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """`plain_sequence` by a scan."""
        outputs, last = self._scanned(self.project(x), lengths, None if state is None else state[0])
        return outputs, (last,)

    def _scanned(
        self, gates: Float[Tensor, "batch steps gates"], lengths: Tensor | None, start: Tensor | None
    ) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
        """The recurrence over all steps, zero past each row's end, and each row's last."""
        a, b = self.coefficients(gates)
        states = linear_scan(a, b, b.new_zeros(b[:, 0].shape) if start is None else start)
        if lengths is None or bool((lengths == b.shape[1]).all()):
            return states, states[:, -1]
        return up_to_ends(states, lengths)
