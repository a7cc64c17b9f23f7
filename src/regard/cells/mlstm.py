"""The mLSTM of xLSTM: a matrix of what was read under which key, and no product with the last output."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard.cells.cell import Cell, CellState, up_to_ends
from regard.cells.slstm import FORGET, of_heads
from regard.ops.noise import Noise
from regard.ops.squash import log_sigmoid, sigmoid

CHUNK = 64
"""Steps that are computed at once: their weights are steps × steps, and the state goes on from chunk to chunk."""

LARGEST = 80.0
"""Of the exponent in a divisor, whatever its sign: exp(80) and exp(−80) are numbers in float32 too."""


class MLSTM(Cell):
    """Matrix long short-term memory of xLSTM: values are written under keys, and asked for by queries.

        q = W_q x + b_q,   k = (W_k x + b_k) / √d,   v = W_v x + b_v,   o = σ(W_o x + b_o)
        ĩ = w_i x + b_i,   f̃ = w_f x + b_f                                a number for each head
        m' = max(log σ(f̃) + m, ĩ),   i = exp(ĩ − m'),   f = exp(log σ(f̃) + m − m')
        C' = f C + i k vᵀ,   n' = f n + i k,   h' = o ⊙ C'ᵀ q / max(|n'ᵀ q|, exp(−m'))

    Beck et al. 2024, "xLSTM: extended long short-term memory" (arXiv:2405.04517), equations 19 to 27, stabilised as in
    their appendix A.2, with the sigmoid as the forget gate's function; `sequence` is their parallel form (A.3), in
    chunks. The key's bias is divided by √d, too. The cell alone, without the normalization, convolution and wider
    layers of the paper's blocks. The first state a decoder is given is a value, written under the key (1, …, 1) / √d
    with weight 1.
    """

    class Config(Cell.Config):
        """A matrix for a memory, written and read by attention's keys and queries (xLSTM); sequences in parallel."""

        type: Literal["mlstm"] = "mlstm"
        heads: int = Field(4, ge=1)
        """Matrices; each has (units / heads)² numbers. The cell's size is a multiple of them."""

        def conflict(self, hidden: int) -> str | None:
            return of_heads(self.type, self.heads, hidden)

    state_names = ("h", "matrix", "n", "m")
    given_names = ("h",)
    multiplies_state = False

    def __init__(self, config: Config, input_size: int, hidden: int) -> None:
        super().__init__(config, input_size, hidden)
        self.heads = config.heads
        self.input = nn.Linear(input_size, 4 * hidden + 2 * config.heads)
        with torch.no_grad():
            self.input.bias[-config.heads :] = torch.linspace(*FORGET, config.heads)

    def begin(self, given: CellState) -> CellState:
        (h,) = given
        value = self._split(h)
        key = torch.full_like(value, value.shape[-1] ** -0.5)
        return h, key[..., None] * value[..., None, :], key, h.new_zeros(len(h), self.heads)

    def start(self, like: Tensor, rows: int) -> CellState:
        h, matrix, n, m = self.begin((like.new_zeros(rows, self.hidden),))
        return h, matrix, torch.zeros_like(n), torch.full_like(m, -torch.inf)

    def advance(self, gates: Float[Tensor, "batch gates"], state: CellState, product: None = None) -> CellState:
        q, k, v, o, i, f = self._parts(gates)
        _, matrix, n, m = state
        open_ = log_sigmoid(f) + m
        m = torch.maximum(open_, i)
        f, i = (open_ - m).exp()[..., None], (i - m).exp()[..., None]
        matrix = f[..., None] * matrix + (i * k)[..., None] * v[..., None, :]
        n = f * n + i * k
        found, weight = (matrix * q[..., None]).sum(-2), (n * q).sum(-1)
        h = found / _at_least(weight.abs(), m)[..., None]
        return o * h.flatten(-2), matrix, n, m

    def sequence(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"] | None = None,
        state: CellState | None = None,
        recurrent: Tensor | None = None,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        """`plain_sequence`, all steps of a chunk at once. Past a row's end nothing is written and nothing forgotten."""
        gates, outputs = self.project(x), []
        valid = None if lengths is None else (torch.arange(x.shape[1]) < lengths.cpu()[:, None]).to(x.device)
        state = self.start(x, len(x)) if state is None else state
        for first in range(0, x.shape[1], CHUNK):
            steps = slice(first, first + CHUNK)
            found, state = self._chunk(gates[:, steps], None if valid is None else valid[:, steps], state)
            outputs.append(found)
        together = torch.cat(outputs, 1)
        if lengths is None:
            return together, state
        together, last = up_to_ends(together, lengths)
        return together, (last, *state[1:])

    def _chunk(
        self, gates: Float[Tensor, "batch steps gates"], valid: Tensor | None, state: CellState
    ) -> tuple[Float[Tensor, "batch steps hidden"], CellState]:
        q, k, v, o, i, f = self._parts(gates)  # (batch, steps, heads, ·)
        _, matrix, n, m = state
        log_f = log_sigmoid(f)
        if valid is not None:
            i, log_f = i.masked_fill(~valid[..., None], -torch.inf), log_f.masked_fill(~valid[..., None], 0.0)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (batch, heads, steps, d)
        i, forgotten = i.mT, log_f.mT.cumsum(-1)  # (batch, heads, steps)
        before = torch.ones(i.shape[-1], i.shape[-1], dtype=torch.bool, device=i.device).tril()
        log_d = (forgotten[..., None] - forgotten[..., None, :] + i[..., None, :]).masked_fill(~before, -torch.inf)
        log_g = forgotten + m[..., None]
        top = torch.maximum(log_d.amax(-1), log_g)
        weights = q @ k.mT * (log_d - top[..., None]).exp()
        given = q * (log_g - top).exp()[..., None]
        found = weights @ v + given @ matrix
        weight = weights.sum(-1) + (given * n[..., None, :]).sum(-1)
        h = found / _at_least(weight.abs(), top)[..., None]
        outputs = o * h.transpose(1, 2).flatten(2)
        m, kept = top[..., -1], (log_g[..., -1] - top[..., -1]).exp()[..., None]
        written = k * (log_d[..., -1, :] - m[..., None]).exp()[..., None]
        matrix = kept[..., None] * matrix + written.mT @ v
        return outputs, (outputs[:, -1], matrix, kept * n + written.sum(-2), m)

    def _parts(self, gates: Float[Tensor, "*rows gates"]) -> tuple[Tensor, ...]:
        """q, k, v (*rows, heads, d), o (*rows, hidden), ĩ, f̃ (*rows, heads)."""
        q, k, v, o, i, f = gates.split([*[self.hidden] * 4, self.heads, self.heads], -1)
        q, k, v = map(self._split, (q, k, v))
        return q, k * k.shape[-1] ** -0.5, v, sigmoid(o), i, f

    def _split(self, x: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows heads size"]:
        return x.unflatten(-1, (self.heads, -1))


def _at_least(weight: Float[Tensor, "*shape"], m: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """max(weight, exp(−m)), and a number where that overflows or vanishes."""
    return torch.maximum(weight, (-m).clamp(-LARGEST, LARGEST).exp())
