"""What every recurrent cell offers: a step form for decoders, a sequence form for encoders."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import model_validator
from torch import Tensor, nn

from regard.config import Config
from regard.ops.noise import Noise
from regard.ops.product import LoopProduct

CellState = tuple[Tensor, ...]
"""The tensors a cell carries from step to step, batch first; the first is its output, (batch, hidden).

The others may be of any size, and may grow: a tape, (batch, entries, …), is empty at the start and gets an entry at its
end with every step. A row that rests while others go on gets its entries in front, all zeros, so that the tape itself
must tell an entry from filling: by a tensor of bools, say, which are then False.
"""

Product = Callable[[Tensor, Tensor | None], Tensor]
"""(x, addend) ↦ x · Wᵀ + addend, for one recurrent weight W: see `regard.ops.product`."""


LEAST_FILLED, LEAST_ROWS = 0.7, 16
"""Of rows that are run together as if of one length: their least share of the longest, and how many make a group."""


class Cell(nn.Module):
    """One layer in one direction.

    A new cell has `input`, the linear map of what it reads before the state comes in, which decoders split and compute
    ahead (or `input_weight` and `input_bias`), and writes `recurrent_weight` and `advance`. `project`, `step` and a
    `sequence` that is right for ragged lengths follow. Where a library kernel runs whole sequences, the cell overrides
    `sequence` and `encode`, and the contract test holds them together, outputs and gradients. A cell whose state is
    more than what a decoder's bridge can make says so in `given_names` and `begin`.

        cell = LSTM(LSTM.Config(), input_size=32, hidden=64)
        state = cell.start(like=x, rows=8)               # zeros
        state = cell.step(x[:, 0], state)                # x (8, steps, 32); state[0] is the output (8, 64)
        outputs, state = cell.sequence(x, lengths)       # (8, steps, 64)
    """

    class Config(Config):
        """Every cell's settings carry its name in `type`."""

        def conflict(self, hidden: int) -> str | None:
            """Why a cell of these settings cannot have this size, if it cannot."""
            return None

    state_names: tuple[str, ...] = ("h",)
    """names of the state's tensors, the output first"""
    input: nn.Linear
    """what each step reads, before the state comes in"""
    multiplies_state = True
    """whether a step has a product with the state; if not, there is no `recurrent_weight`"""

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__()
        self.input_size, self.hidden = input_size, hidden

    @property
    def given_names(self) -> tuple[str, ...]:
        """What a first state is made of, each (batch, hidden), outputs of tanh first: all of it, unless the cell says
        otherwise."""
        return self.state_names

    @property
    def input_weight(self) -> Float[Tensor, "gates input"]:
        """The weight that `project` multiplies inputs with; decoders slice it to hoist parts out of the loop."""
        return self.input.weight

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return self.input.bias

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        raise NotImplementedError

    def loop_product(self, recurrent: Tensor | None = None) -> Any:
        """What `advance` takes as `product` at all steps of one loop; `recurrent` stands in for `recurrent_weight`."""
        if not self.multiplies_state:
            return None
        return LoopProduct(self.recurrent_weight if recurrent is None else recurrent)

    def advance(self, gates: Float[Tensor, "batch gates"], state: CellState, product: Any = None) -> CellState:
        """One step from projected input. `product`, of `loop_product`, stands in for that with `recurrent_weight`."""
        raise NotImplementedError

    def settled(self, before: CellState, after: CellState, noise: Noise | None) -> CellState:
        """The state after a step that `advance` took from `before`; in training some of it by chance, `noise` being
        that of the layer and the step."""
        return after

    def project(self, x: Float[Tensor, "*rows input"]) -> Float[Tensor, "*rows gates"]:
        """The part of a step that needs no state, and so can be done for all steps at once."""
        return nn.functional.linear(x, self.input_weight, self.input_bias)

    def begin(self, given: CellState) -> CellState:
        """The state before the first step, from the tensors of `given_names`."""
        return given

    def start(self, like: Tensor, rows: int) -> CellState:
        """The same from nothing: all zeros, in the dtype and on the device of `like`."""
        return self.begin(tuple(like.new_zeros(rows, self.hidden) for _ in self.given_names))

    def step(self, x: Float[Tensor, "batch input"], state: CellState) -> CellState:
        return self.settled(state, self.advance(self.project(x), state), None)

    def sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        recurrent: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """All steps of every row; row b ends after `lengths[b]` ≥ 1 of them (None: all are full).

        Outputs past a row's end are zero, and its final state is that of its last real step. `recurrent` stands in
        for `recurrent_weight`; `noise` is the layer's, in training.
        """
        return self._loop(x, lengths, state, self.loop_product(recurrent), noise)

    def encode(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
        """What an encoder takes of `sequence`, from the start: outputs, and each row's last."""
        outputs, state = self.sequence(x, lengths, noise=noise)
        return outputs, state[0]

    def plain_sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """`sequence` as a loop of `advance`: the definition."""
        return self._loop(x, lengths, state, None, noise)

    def _loop(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None,
        state: CellState | None,
        product: Any,
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        state = self.start(x, x.shape[0]) if state is None else state
        gates, outputs = self.project(x), []
        all_run = x.shape[1] if lengths is None else int(lengths.min())
        for t in range(x.shape[1]):
            now = None if noise is None else noise.under(f"step.{t}")
            after = self.settled(state, self.advance(gates[:, t], state, product), now)
            if lengths is None or t < all_run:
                state = after
                outputs.append(state[0])
            else:
                running = (lengths > t).to(x.device)
                state = tuple(_where(running, new, old) for new, old in zip(after, state, strict=True))
                outputs.append(torch.where(running[:, None], state[0], 0.0))
        return torch.stack(outputs, 1), state


class OfCells(Config):
    """Settings of a part with layers of one `cell`, of size `hidden`."""

    @model_validator(mode="after")
    def _cell_has_this_size(self) -> "OfCells":
        part: Any = self
        if conflict := part.cell.conflict(part.hidden):
            raise ValueError(conflict)
        return self


def up_to_ends(
    outputs: Float[Tensor, "batch steps hidden"], lengths: Int[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
    """Outputs with zeros past each row's end, and each row's last."""
    lengths = lengths.to(outputs.device)
    past = torch.arange(outputs.shape[1], device=outputs.device) >= lengths[:, None]
    last = outputs.take_along_dim((lengths - 1)[:, None, None], 1)[:, 0]
    return outputs.masked_fill(past[..., None], 0.0), last


def of_similar_length(lengths: Int[Tensor, "batch"]) -> list[Int[Tensor, "rows"]]:
    """Rows in groups, the longest first: once a group has `LEAST_ROWS`, it ends before a row of less than
    `LEAST_FILLED` of its first one's steps."""
    order = lengths.argsort(descending=True, stable=True)
    begins = [0]
    ranked = lengths[order].tolist()
    for row, length in enumerate(ranked):
        if row - begins[-1] >= LEAST_ROWS and length < LEAST_FILLED * ranked[begins[-1]]:
            begins.append(row)
    return [order[begin:end] for begin, end in pairwise([*begins, len(order)])]


def _where(running: Bool[Tensor, "batch"], new: Tensor, old: Tensor) -> Tensor:
    """`new` in rows that are running; in the others `old`, a tape filled up in front."""
    if grown := (new.shape[1] - old.shape[1]):
        old = torch.cat([old.new_zeros(len(old), grown, *old.shape[2:]), old], 1)
    return torch.where(running.view(-1, *[1] * (new.ndim - 1)), new, old)


class TorchCell(Cell):
    """A cell that torch has a kernel for: the parameters are those of a one-layer `nn.RNNBase`."""

    rnn: nn.RNNBase

    @property
    def input_weight(self) -> Float[Tensor, "gates input"]:
        return self.rnn.get_parameter("weight_ih_l0")

    @property
    def input_bias(self) -> Float[Tensor, "gates"]:
        return self.rnn.get_parameter("bias_ih_l0")

    @property
    def recurrent_weight(self) -> Float[Tensor, "gates hidden"]:
        return self.rnn.get_parameter("weight_hh_l0")

    @property
    def recurrent_bias(self) -> Float[Tensor, "gates"]:
        return self.rnn.get_parameter("bias_hh_l0")

    def sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        recurrent: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """`plain_sequence` by torch's kernel, packed where lengths differ."""
        stacked = None if state is None else tuple(part[None].contiguous() for part in state)
        start = stacked[0] if stacked is not None and len(stacked) == 1 else stacked
        if lengths is None or bool((lengths == x.shape[1]).all()):
            outputs, final = self._kernel(x, start, recurrent)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            packed, final = self._kernel(packed, start, recurrent)
            outputs, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        final = final if isinstance(final, tuple) else (final,)
        return outputs, tuple(part[0] for part in final)

    def encode(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "batch steps hidden"], Float[Tensor, "batch hidden"]]:
        """By the kernel for rows of one length, with filled-up rows: on a CPU the gradient of each step of the packed
        one has all steps' size, so that its time grows with the square of the length. A few rows, `LEAST_ROWS`, are
        one group however their lengths differ."""
        if x.device.type != "cpu" or bool((lengths == x.shape[1]).all()):
            return super().encode(x, lengths)
        groups = of_similar_length(lengths)
        if len(groups) == 1:
            return up_to_ends(self._kernel(x, None, None)[0], lengths)
        found = [self._kernel(x[rows, : int(lengths[rows[0]])], None, None)[0] for rows in groups]
        wide = [nn.functional.pad(part, (0, 0, 0, x.shape[1] - part.shape[1])) for part in found]
        return up_to_ends(torch.cat(wide)[torch.cat(groups).argsort()], lengths)

    def _kernel(self, x: Any, start: Any, recurrent: Tensor | None) -> Any:
        if recurrent is None:
            return self.rnn(x, start)
        return torch.func.functional_call(self.rnn, {"weight_hh_l0": recurrent}, (x, start))
