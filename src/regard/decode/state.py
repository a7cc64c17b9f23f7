"""What a decoder carries from one token to the next, and the one function that reorders it.

A state is flat and named, with one row per hypothesis in every tensor, so that search can follow its beam
without knowing what kind of decoder it drives.
"""

from __future__ import annotations

from torch import Tensor

State = dict[str, Tensor]


def select(state: State, rows: Tensor) -> State:
    """The named tensors with only `rows` (int64) of each, in that order; a row may appear several times.

    select({"hidden": h}, torch.tensor([0, 0, 2]))["hidden"]   # h[0], h[0], h[2]
    """
    return {name: tensor.index_select(0, rows) for name, tensor in state.items()}
