"""From an encoder's summary to a decoder's first state, whatever the two sizes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Bridge(nn.Module):
    """state = W · summary + b, one slice for every layer and state tensor; outputs h pass through tanh.

    s₀ = tanh(W h) of Bahdanau, Cho & Bengio 2015, appendix A.2.2, from the final states of every layer and both
    directions instead of the backward one alone; an LSTM's cell state is left unsquashed, as cells are.
    """

    def __init__(self, summary_size: int, *, layers: int, hidden: int, state_names: tuple[str, ...]) -> None:
        super().__init__()
        self.layers, self.hidden, self.state_names = layers, hidden, state_names
        self.project = nn.Linear(summary_size, layers * len(state_names) * hidden)

    def forward(self, summary: Float[Tensor, "batch summary"]) -> dict[str, Float[Tensor, "batch hidden"]]:
        """`{"h.0": …, "c.0": …, "h.1": …}`: the state's names, with the layer."""
        return self.states(self.project(summary))

    def states(self, projected: Float[Tensor, "batch states"]) -> dict[str, Float[Tensor, "batch hidden"]]:
        """The same from W · summary + b."""
        parts = iter(projected.split(self.hidden, dim=1))
        state = {}
        for layer in range(self.layers):
            for index, name in enumerate(self.state_names):
                part = next(parts)
                state[f"{name}.{layer}"] = torch.tanh(part) if index == 0 else part
        return state
