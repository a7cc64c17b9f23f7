"""Exact hard attention: each output token is written from one source step, and which one is summed out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend import SCORES, Attention
from regard.attend.memory import Memory
from regard.cells import CELLS
from regard.cells.cell import Cell, OfCells
from regard.config import choice
from regard.data.config import BYTES, SPECIALS
from regard.data.tokenizer import UNK
from regard.decode.bridge import Bridge, begin
from regard.decode.embedding import Embedding
from regard.decode.protocol import StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.source import Counted
from regard.decode.state import State
from regard.errors import RegardError
from regard.ops.dropout import sequence_dropout, sequence_mask
from regard.ops.loss import NllSums
from regard.ops.mixture import StepMixtures
from regard.ops.noise import Noise

MOST_PIECES = 1000
"""A token costs source × vocabulary scores, so this is for letters and sounds, not for words."""
NEVER = -1e9
"""The log of a probability of zero: finite, so that sums over impossible steps have gradients."""


@dataclass(frozen=True)
class MarginalSource(Counted):
    """A batch of sentences as the decoder reads them; see `regard.decode.protocol.Source`."""

    keys: Float[Tensor, "batch src_len attn"]
    shown: Float[Tensor, "batch src_len hidden"]
    """the memory's share of the features"""
    summary: Float[Tensor, "batch summary"]
    valid: Bool[Tensor, "batch src_len"]

    def select(self, rows: Int[Tensor, "rows"]) -> "MarginalSource":
        parts = (self.keys, self.shown, self.summary, self.valid)
        return MarginalSource(*(part.index_select(0, rows) for part in parts))


class MarginalDecoder(nn.Module):
    """Each token is written from one source step a, and the probability of a token is the sum over all of them.

        p(y_t | y_<t, x) = Σ_j p(a_t = j | y_<t, x) p(y_t | a_t = j, y_<t, x)
        p(y | a = j)     = softmax(readout(tanh(W [h_t; m_j; e_t])))

    order: 0   p(a_t = j) = softmax(score(h_t, m_j)): Wu, Shapiro & Cotterell 2018, "Hard non-monotonic attention for
               character-level transduction", the exact marginal of section 3
    order: 1   p(a_t = j | a_{t−1} = i) = softmax_j(score(h_t, m_j) + u_{j−i}): a hidden Markov model, summed by the
               forward algorithm (Wu & Cotterell 2019, "Exact hard monotonic attention for character-level
               transduction", first-order attention)
    monotonic  p(a_t = j | a_{t−1} = i) = 0 where j < i, and the rest renormalized (Wu & Cotterell 2019)

    The first token's predecessor is the first source step. h_t is the cell's output after reading y_{t−1}, without
    input feeding: the sum is exact because nothing of where attention went comes back. Unlike the papers the output
    layer sees the last token, e_t, and u depends on the distance alone, of `jumps` at most.
    """

    class Config(OfCells):
        """Exact hard attention: which source step a token was written from is summed out."""

        type: Literal["marginal"] = "marginal"
        cell: choice(CELLS) = "lstm"  # type: ignore[valid-type]
        """LSTM, as in Wu et al. 2018."""
        hidden: int = Field(256, ge=1)
        """Size of the state; the encoder's size is the convention."""
        layers: int = Field(1, ge=1)
        """One, as in the encoder."""
        order: Literal[0, 1] = 0
        """0: where a token looks does not depend on where the last one did."""
        monotonic: bool = False
        """Never back; right for most of pronunciation, transliteration and inflection (Wu & Cotterell 2019)."""
        jumps: int = Field(5, ge=1)
        """Order 1: the largest distance with a weight of its own; 5, as letters seldom go further at once."""
        bytes: bool = True
        """Whether a character that the vocabulary lacks can be written, in bytes, as every decoder can. `false` has 256
        scores less to compute for each token and source step, most of them where there are a hundred letters; such a
        character then counts as unknown."""

    def __init__(
        self,
        config: Config,
        *,
        embedding: Embedding,
        readout: SoftmaxReadout,
        attention: Attention.Config | None,
        memory_dims: Sequence[int],
        summary_size: int,
        combine: config.Config | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        pieces = len(readout.bias)
        if pieces > MOST_PIECES:
            raise RegardError(
                f"model.decoder marginal computes source × vocabulary scores for each token, and there are {pieces:,} "
                f"pieces: set data.target.tokenizer to char, or a vocabulary of at most {MOST_PIECES:,}."
            )
        assert attention is not None and len(memory_dims) == 1, "the recipe is checked for it"  # nothing to combine
        self.config, self.dropout = config, dropout
        self.embedding, self.readout = embedding, readout
        hidden, (memory,), build = config.hidden, memory_dims, CELLS[config.cell.type]
        self.attention = Attention(attention, query_dim=hidden, memory_dim=memory)
        sizes = [embedding.dim] + [hidden] * (config.layers - 1)
        self.cells = nn.ModuleList(build(config.cell, size, hidden) for size in sizes)
        self.bridge = Bridge(summary_size, hidden=hidden, names=[cell.given_names for cell in self._cells()])
        self.told = nn.Linear(hidden + embedding.dim, hidden)
        self.memory = nn.Linear(memory, hidden, bias=False)
        self.writable: Tensor | None
        self.register_buffer("writable", None if config.bytes else _without_bytes(pieces), persistent=False)
        if config.order:
            self.jump = nn.Parameter(torch.zeros(2 * config.jumps + 1))

    estimates = False
    """`train.sampled_softmax` has nothing to save here"""
    copies = False
    """no readout that copies"""
    agrees = False
    """no `train.r_drop`: its sum over source steps is a loss of its own"""
    drops_output = True
    """whether `model.output_dropout` is for it"""
    free_running = False
    """whether `train.scheduled_sampling` and objectives of whole outputs are for it"""

    @staticmethod
    def conflict(config: Any, attention: Attention.Config | None) -> str | None:
        """Why it cannot work with an attention, if it cannot."""
        if attention is None:
            return "decoder marginal sums over where attention may be, and attention is none: choose a score"
        plain = Attention.Config(score=attention.score, dim=attention.dim)
        if attention != plain or hasattr(SCORES[attention.score.type], "remembers"):
            return (
                "decoder marginal takes a score from attention and no more: leave scope, normalizer, coverage and "
                "heads as they are, and choose a score that does not remember earlier weights"
            )
        return None

    def _cells(self) -> list[Cell]:
        return cast("list[Cell]", list(self.cells))

    def prepare(self, memories: Sequence[Memory]) -> MarginalSource:
        (memory,) = memories
        keys = self.attention.score.keys(memory.values)
        return MarginalSource(keys, self.memory(memory.values), memory.summary.flatten(1), memory.src_valid)

    def start(self, source: MarginalSource, beam: int = 1) -> State:
        """`reached`: log p(a_{t−1} | y_<t−1), the first step before the first token; `written`: log p of every token
        from every step, when the last one was chosen."""
        state = begin(self._cells(), self.bridge(source.summary))
        reached = self._first(source)
        columns = len(self.readout.bias if self.writable is None else self.writable)
        state |= {"reached": reached, "written": reached.new_zeros(*reached.shape, columns)}
        return {name: tensor.repeat_interleave(beam, 0) for name, tensor in state.items()} if beam > 1 else state

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: MarginalSource) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        embedded, after = self.embedding(tokens), State()
        output = embedded
        for depth, cell in enumerate(self._cells()):
            parts = cell.step(output, tuple(state[f"{name}.{depth}"] for name in cell.state_names))
            after.update({f"{name}.{depth}": part for name, part in zip(cell.state_names, parts, strict=True)})
            output = parts[0]
        told = state["written"].take_along_dim(self._columns(tokens)[:, None, None], 2)[..., 0]
        before = (state["reached"] + told).log_softmax(-1)  # now that the token is known
        shape = (source.rows, -1)
        prior = self._move(before.unflatten(0, shape), self._transitions(output.unflatten(0, shape), source))
        written = self._write(output.unflatten(0, shape), embedded.unflatten(0, shape), source).log_softmax(-1)
        after["reached"], after["written"] = prior.flatten(0, 1), written.flatten(0, 1)
        scores = (prior[..., None] + written).logsumexp(-2).flatten(0, 1)
        if self.writable is not None:
            every = scores.new_full((len(scores), len(self.readout.bias)), float("-inf"))
            scores = every.index_copy_(1, self.writable, scores)
        return StepOutput(scores, normalized=True, weights=prior.flatten(0, 1).exp()), after

    def loss(
        self,
        source: MarginalSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        valid: Bool[Tensor, "batch tgt_len"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
    ) -> NllSums:
        """Sums over `valid` tokens; smoothing is of the mixture. The recipe refuses `sampled`."""
        columns = self._columns(targets)
        mixed, _ = self._mixtures(source, inputs, columns, noise)
        found, right = mixed[valid], columns[valid]
        nll = -found.gather(1, right[:, None]).sum()
        loss = (1.0 - smoothing) * nll - smoothing * found.mean(-1).sum()
        return NllSums(loss, nll.detach(), (found.argmax(-1) == right).sum())

    def forced(
        self,
        source: MarginalSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        keep_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch tgt_len"], Float[Tensor, "batch tgt_len src_len"]]:
        """log p of each target, and where attention was, which is known in any case."""
        columns = self._columns(targets)
        mixed, weights = self._mixtures(source, inputs, columns, None)
        return mixed.gather(2, columns[..., None])[..., 0].clamp(max=0.0), weights

    def _columns(self, tokens: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Where each token's score is among those that are computed; of a byte that cannot be written, UNK's."""
        if self.writable is None:
            return tokens
        return torch.where(tokens < SPECIALS, tokens, (tokens - BYTES).where(tokens >= SPECIALS + BYTES, UNK))

    def _mixtures(
        self,
        source: MarginalSource,
        inputs: Int[Tensor, "batch tgt_len"],
        columns: Int[Tensor, "batch tgt_len"],
        noise: Noise | None,
    ) -> tuple[Float[Tensor, "batch tgt_len vocab"], Float[Tensor, "batch tgt_len src_len"]]:
        """log p of every token at every step, given the targets before it, and p(a_t | y_<t); `columns` of targets."""
        embedded = sequence_dropout(self.embedding(inputs, noise, "target.words"), self.dropout, noise, "decoder.in")
        start, output = begin(self._cells(), self.bridge(source.summary)), embedded
        for depth, cell in enumerate(self._cells()):
            if depth:
                output = sequence_dropout(output, self.dropout, noise, f"decoder.{depth}")
            state = tuple(start[f"{name}.{depth}"] for name in cell.state_names)
            output, _ = cell.sequence(output, None, state, noise=noise and noise.under(f"decoder.{depth}"))
        moves = self._transitions(output, source)
        written = StepMixtures(self._write(output, embedded, source, noise), columns)
        if moves.shape[2] == 1:  # order 0: no step depends on the one before
            priors = moves[:, :, 0]
        else:
            at, found = self._first(source), []
            for t in range(inputs.shape[1]):
                found.append(self._move(at[:, None], moves[:, t : t + 1])[:, 0])
                at = (found[-1] + written.told[:, t]).log_softmax(-1)
            priors = torch.stack(found, 1)
        return written.mix(priors), priors.exp()

    def _first(self, source: MarginalSource) -> Float[Tensor, "batch src_len"]:
        """Before the first token: at the first step."""
        reached = source.keys.new_full(source.valid.shape, NEVER)
        reached[:, 0] = 0.0
        return reached

    def _transitions(
        self, output: Float[Tensor, "batch queries hidden"], source: MarginalSource
    ) -> Float[Tensor, "batch queries from src_len"]:
        """log p(a_t = j | a_{t−1} = i) in row i, column j; one row for all where it does not depend on i."""
        scores = self.attention.score(output, source.keys)[:, :, None]
        valid, steps = source.valid[:, None, None], torch.arange(source.src_len, device=output.device)
        if self.config.order:
            distance = (steps - steps[:, None]).clamp(-self.config.jumps, self.config.jumps)
            scores = scores + self.jump[distance + self.config.jumps]
        if self.config.monotonic:  # from padding, where nothing comes from, to anywhere: a row of NEVER has no softmax
            valid = valid & ((steps >= steps[:, None]) | ~source.valid[:, None, :, None])
        return scores.masked_fill(~valid, NEVER).log_softmax(-1)

    @staticmethod
    def _move(
        at: Float[Tensor, "batch queries src_len"], moves: Float[Tensor, "batch queries from src_len"]
    ) -> Float[Tensor, "batch queries src_len"]:
        """log p(a_t): one step of the forward algorithm."""
        return moves[:, :, 0] if moves.shape[2] == 1 else (at[..., None] + moves).logsumexp(2)

    def _write(
        self,
        output: Float[Tensor, "batch queries hidden"],
        embedded: Float[Tensor, "batch queries embed"],
        source: MarginalSource,
        noise: Noise | None = None,
    ) -> Float[Tensor, "batch queries src_len vocab"]:
        """Scores of every token from every source step."""
        told = self.told(torch.cat([output, embedded], -1))
        features = torch.tanh(told[:, :, None] + source.shown[:, None])
        mask = sequence_mask(output, self.config.hidden, self.dropout, noise, "decoder.features")
        features = features if mask is None else features * mask[:, None, None]
        return self.readout.logits(features, ids=self.writable, noise=noise)


def _without_bytes(pieces: int) -> Int[Tensor, "writable"]:
    """The ids of special tokens and of what the vocabulary has learned."""
    return torch.tensor([*range(min(pieces, SPECIALS)), *range(SPECIALS + BYTES, pieces)])
