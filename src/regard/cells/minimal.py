"""GRU and LSTM without their products with the state."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from regard.cells.scan import ScanCell
from regard.ops.squash import sigmoid

Coefficients = tuple[Float[Tensor, "*rows hidden"], Float[Tensor, "*rows hidden"]]


class MinGRU(ScanCell):
    """The minimal gated recurrent unit.

        z = σ(W x + b),   h' = (1 − z) h + z (U x + d)

    Feng et al. 2024, "Were RNNs all we needed?" (arXiv:2410.01201), section 3.1: a GRU whose gate and candidate do not
    see the state, without reset gate and tanh; trained as they say, by a scan, here not in logarithms. Biases are ours.
    """

    class Config(ScanCell.Config):
        """A GRU without products with its state (minGRU)."""

        type: Literal["mingru"] = "mingru"

    def coefficients(self, gates: Float[Tensor, "*rows gates"]) -> Coefficients:
        update, candidate = gates.chunk(2, dim=-1)
        z = sigmoid(update)
        return 1.0 - z, z * candidate


class MinLSTM(ScanCell):
    """The minimal long short-term memory.

        f, i = σ(W x + b),   h' = f / (f + i) h + i / (f + i) (U x + d)

    Feng et al. 2024 (arXiv:2410.01201), section 3.2: an LSTM whose gates and candidate do not see the state, without
    output gate and tanh, and with gates that sum to one. Biases are ours; the forget gate's starts at 1, as our LSTM's.
    """

    parts = 3

    class Config(ScanCell.Config):
        """An LSTM without products with its state (minLSTM)."""

        type: Literal["minlstm"] = "minlstm"

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        with torch.no_grad():
            self.input.bias[:hidden] = 1.0

    def coefficients(self, gates: Float[Tensor, "*rows gates"]) -> Coefficients:
        forget, enter, candidate = gates.chunk(3, dim=-1)
        share = sigmoid(_log_sigmoid(forget) - _log_sigmoid(enter))  # f / (f + i), also where both vanish
        return share, (1.0 - share) * candidate


def _log_sigmoid(x: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """log σ(x), whose bits do not depend on where a number stands, as those of torch's may."""
    return x.clamp(max=0.0) - x.abs().neg().exp().log1p()
