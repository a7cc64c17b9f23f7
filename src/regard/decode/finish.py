"""The fourth role of search: collect what has ended, and say when a sentence is done."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.decode.state import State, select


class Pool:
    """The best `size` outputs of each lane so far, best first; an empty place has a score of -inf.

    Its size is the beam, so what it keeps, and when it is full, do not depend on how many are asked for.
    An output is its `score`, its `log_prob`, the `step` and `row` of the trellis at which it ended, `last`, the
    log-probability of its end of sentence, and whether it is `finished`, that is, has one.
    """

    def __init__(self, lanes: int, size: int, device: torch.device) -> None:
        floats = torch.full((lanes, size), -torch.inf, dtype=torch.float64, device=device)
        ints = torch.zeros(lanes, size, dtype=torch.int64, device=device)
        self.size = size
        self.entries: State = {
            "score": floats,
            "log_prob": floats.clone(),
            "last": floats.clone(),
            "step": ints,
            "row": ints.clone(),
            "finished": ints.bool(),
        }

    def add(self, new: State) -> None:
        """Keep the best of old and new, (lanes, any number) each; on equal scores the older, then the first."""
        joined = self._joined(new)
        self._keep(joined, joined["score"].sort(dim=1, descending=True, stable=True).indices)

    def fill(self, new: State) -> None:
        """Put the best of the new into places that are still empty, behind everything kept."""
        order = new["score"].sort(dim=1, descending=True, stable=True).indices
        joined = self._joined({name: values.gather(1, order) for name, values in new.items()})
        empty = joined["score"] == -torch.inf
        self._keep(joined, empty.to(torch.int8).sort(dim=1, stable=True).indices)

    def select(self, rows: Int[Tensor, "lanes"]) -> None:
        """Go on with these lanes only."""
        self.entries = select(self.entries, rows)

    def store(self, places: Int[Tensor, "done"], other: "Pool", rows: Int[Tensor, "done"]) -> None:
        """Copy `rows` of another pool to `places` of this one."""
        for name, values in self.entries.items():
            values[places] = other.entries[name][rows]

    @property
    def worst(self) -> Float[Tensor, "lanes"]:
        """The score that one more output must beat: -inf until the pool is full."""
        return self.entries["score"][:, -1]

    def _joined(self, new: State) -> State:
        assert new.keys() == self.entries.keys(), f"an output is {set(self.entries)}, not {set(new)}"
        return {name: torch.cat([old, new[name].to(old.dtype)], dim=1) for name, old in self.entries.items()}

    def _keep(self, joined: State, order: Tensor) -> None:
        self.entries = {name: values.gather(1, order[:, : self.size]) for name, values in joined.items()}


def is_done(
    stop: Literal["beam", "bound"], worst: Float[Tensor, "lanes"], best_possible: Float[Tensor, "lanes"]
) -> Bool[Tensor, "lanes"]:
    """Whether the search may rest, given the pool's worst score (-inf: not full) and the living's best chance."""
    full = worst > -torch.inf
    return full if stop == "beam" else full & (best_possible <= worst)
