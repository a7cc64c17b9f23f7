"""The recurrent encoder: layers of cells, in one direction or both."""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard.attend.memory import Memory, valid_steps
from regard.cells import CELLS
from regard.cells.cell import Cell, OfCells
from regard.config import choice
from regard.encode.encoder import Encoder
from regard.ops.dropout import sequence_dropout
from regard.ops.noise import Noise


class BiRNN(Encoder):
    """Reads a sequence forwards and, unless told otherwise, backwards; the two are side by side in each layer.

    Schuster & Paliwal 1997; as the encoder of attention: Bahdanau, Cho & Bengio 2015, section 3.2. Dropout
    takes the same features away at every step of a sequence (Gal & Ghahramani 2016), from the input of each layer
    and from the memory's values; the summary is left whole.
    """

    class Config(OfCells):
        """A recurrent encoder."""

        type: Literal["birnn"] = "birnn"
        cell: choice(CELLS) = "lstm"  # type: ignore[valid-type]
        """LSTM, the convention in translation (better than GRU in Britz et al. 2017, section 4.2); GRU has a quarter
        fewer parameters."""
        hidden: int = Field(256, ge=1)
        """Size of each direction's state; at 256 one core trains on some 2,000 target tokens a second."""
        layers: int = Field(1, ge=1)
        """One, as in Bahdanau et al. 2015; more pay on larger data."""
        bidirectional: bool = True
        """Both directions: each step then knows what follows it."""
        residual: bool = False
        """Add a layer's input to its output from the second layer on (He et al. 2016); for 3 layers and more."""

        @property
        def memory_dim(self) -> int:
            """Features of each step of the memory."""
            return self.hidden * (2 if self.bidirectional else 1)

    def __init__(self, config: Config, *, input_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config, self.dropout = config, dropout
        directions = 2 if config.bidirectional else 1
        self.dim = directions * config.hidden
        """features of each step of the memory"""
        self.summary_size = config.layers * self.dim
        sizes = [input_size] + [self.dim] * (config.layers - 1)
        build = CELLS[config.cell.type]
        self.layers = nn.ModuleList(
            nn.ModuleList(build(config.cell, size, config.hidden) for _ in range(directions)) for size in sizes
        )

    def forward(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> Memory:
        """`lengths` on the CPU, each at least 1."""
        ragged = bool((lengths != x.shape[1]).any())
        back = reversal(lengths, x.shape[1]).to(x.device) if ragged and self.config.bidirectional else None
        finals = []
        for depth, directions in enumerate(self.layers):
            layer = f"encoder.{depth}"
            x_in = sequence_dropout(x, self.dropout, noise, layer)
            forward, *rest = cast("Iterable[Cell]", directions)
            outputs, final = forward.encode(x_in, lengths, noise and noise.under(f"{layer}.forward"))
            for cell in rest:
                turned = x_in.flip(1) if back is None else take_steps(x_in, back)
                backward, backward_final = cell.encode(turned, lengths, noise and noise.under(f"{layer}.backward"))
                backward = backward.flip(1) if back is None else take_steps(backward, back)
                outputs, final = torch.cat([outputs, backward], -1), torch.cat([final, backward_final], -1)
            x = x + outputs if self.config.residual and depth > 0 else outputs
            finals.append(final)
        return Memory(
            values=sequence_dropout(x, self.dropout, noise, "encoder.out"),
            src_valid=valid_steps(lengths, x.shape[1]).to(x.device),
            lengths=lengths,
            summary=torch.stack(finals, 1),  # (batch, layers, dim)
        )


def reversal(lengths: Int[Tensor, "batch"], steps: int) -> Int[Tensor, "batch steps"]:
    """For each row the steps length − 1, …, 0, then the padding where it was: its own inverse."""
    position = torch.arange(steps)
    return torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)


def take_steps(
    x: Float[Tensor, "batch steps dim"], order: Int[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps dim"]:
    """Row b's steps in the order `order[b]`."""
    return x.gather(1, order[..., None].expand_as(x))
