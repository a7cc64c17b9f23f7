"""An LSTM some of whose numbers stay as they were."""

from typing import Literal

import torch
from pydantic import Field

from regard.cells.cell import Cell, CellState
from regard.cells.lstm import LSTM
from regard.ops.noise import Noise

MASKS = 256
"""A mask's share of zeros is a multiple of 1 / MASKS (`Noise.keep_mask`)."""
MOST = 0.99


class ZoneoutLSTM(LSTM):
    """Long short-term memory with zoneout: in training each number of the state keeps its last value by chance.

        i, f, g, o = W x + b + U h
        ĉ = σ(f) c + σ(i) tanh(g),   ĥ = σ(o) tanh(ĉ)
        c' = d_c c + (1 − d_c) ĉ,    h' = d_h h + (1 − d_h) ĥ          d: zeros and ones, drawn for every step

    Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations" (arXiv:1606.01305),
    section 3.2; outside training d is its mean. The rest is the LSTM's.
    """

    class Config(Cell.Config):
        """An LSTM whose state keeps some of its numbers by chance (zoneout); steps one by one, slower than `lstm`."""

        type: Literal["zoneout_lstm"] = "zoneout_lstm"
        zoneout_c: float = Field(0.5, ge=0, le=MOST)
        """Share of the memory that keeps its value; 0.5 for characters of the Penn Treebank in the paper."""
        zoneout_h: float = Field(0.05, ge=0, le=MOST)
        """Share of the output that keeps its value; much of it is too much."""

    fast = False
    sequence, encode = Cell.sequence, Cell.encode  # no kernel draws between steps

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.rates = tuple(round(rate * MASKS) / MASKS for rate in (config.zoneout_h, config.zoneout_c))
        """those that masks have"""

    def settled(self, before: CellState, after: CellState, noise: Noise | None) -> CellState:
        parts = zip(self.state_names, self.rates, before, after, strict=True)
        if noise is None:
            return tuple(rate * old + (1.0 - rate) * new for _, rate, old, new in parts)
        changes = ((noise.keep_mask(name, new.shape, rate, like=new) > 0, old, new) for name, rate, old, new in parts)
        return tuple(torch.where(mask, new, old) for mask, old, new in changes)
