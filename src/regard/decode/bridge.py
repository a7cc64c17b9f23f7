"""From an encoder's summary to a decoder's first state, whatever the two sizes."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.cells.cell import Cell
from regard.decode.state import State


class Bridge(nn.Module):
    """state = W · summary + b, one slice for every layer and tensor of `names`; outputs h pass through tanh.

    s₀ = tanh(W h) of Bahdanau, Cho & Bengio 2015, appendix A.2.2, from the final states of every layer and both
    directions instead of the backward one alone; an LSTM's cell state is left unsquashed, as cells are. `begin` adds
    what else a cell carries.

    names   each layer's `given_names`
    """

    def __init__(self, summary_size: int, *, hidden: int, names: Sequence[tuple[str, ...]]) -> None:
        super().__init__()
        self.hidden, self.names = hidden, names
        self.project = nn.Linear(summary_size, sum(map(len, names)) * hidden)

    def forward(self, summary: Float[Tensor, "batch summary"]) -> dict[str, Float[Tensor, "batch hidden"]]:
        """`{"h.0": …, "c.0": …, "h.1": …}`: the tensors' names, with the layer."""
        return self.states(self.project(summary))

    def states(self, projected: Float[Tensor, "batch states"]) -> dict[str, Float[Tensor, "batch hidden"]]:
        """The same from W · summary + b."""
        parts = iter(projected.split(self.hidden, dim=1))
        state = {}
        for layer, names in enumerate(self.names):
            for index, name in enumerate(names):
                part = next(parts)
                state[f"{name}.{layer}"] = torch.tanh(part) if index == 0 else part
        return state


def begin(cells: Iterable[Cell], given: State) -> State:
    """All layers' first state, from what the bridge made: under the names of each cell's state, with the layer."""
    state: State = {}
    for layer, cell in enumerate(cells):
        parts = cell.begin(tuple(given[f"{name}.{layer}"] for name in cell.given_names))
        state |= {f"{name}.{layer}": part for name, part in zip(cell.state_names, parts, strict=True)}
    return state
