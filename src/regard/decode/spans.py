"""An answer that is a part of what was read: where it begins, then where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend import Attention
from regard.attend.memory import Memory
from regard.data.tokenizer import BOS, EOS
from regard.decode.embedding import Embedding
from regard.decode.labels import IMPOSSIBLE
from regard.decode.protocol import StepOutput
from regard.decode.source import Counted
from regard.decode.state import State
from regard.encode.question_flow import PASSAGE
from regard.ops.agreement import disagreement
from regard.ops.loss import NllSums
from regard.ops.noise import Noise


@dataclass(frozen=True)
class SpanSource(Counted):
    """A batch of passages as the head sees them; see `regard.decode.protocol.Source`."""

    valid: Bool[Tensor, "batch src_len"]
    inside: Bool[Tensor, "batch src_len"]
    """where an answer may begin and end: the passage, and the tab before it"""
    begins: Float[Tensor, "batch src_len"]
    """score of each step as the first"""
    ends: Float[Tensor, "batch src_len"]
    """score of each step as the last, whatever the first is"""
    queries: Float[Tensor, "batch src_len hidden"]
    keys: Float[Tensor, "batch src_len hidden"]
    asked: Float[Tensor, "batch src_len question"]
    """how much each step looked at each of the question"""

    @property
    def tab(self) -> Int[Tensor, "batch"]:
        """The step that stands for "no answer"."""
        return self.inside.int().argmax(1)

    def select(self, rows: Int[Tensor, "rows"]) -> "SpanSource":
        return SpanSource(**{name: part.index_select(0, rows) for name, part in vars(self).items()})


class SpanDecoder(nn.Module):
    """Two pointers into a passage, over the memory v of encoder flow.

        p(s)     = softmax_t(w₁ᵀ v_t)                                       over the passage and the tab
        p(e | s) = softmax_{t ≥ s}(w₂ᵀ v_t + (A v_s)ᵀ B v_t / √hidden)      the tab's alone, if s is the tab

    Seo et al. 2017, section 2, "output layer", with v = [G; M]. Theirs reads M once more with an LSTM for the end, and
    lets beginning and end not know of each other; here the end knows the beginning, as in the boundary model of Wang &
    Jiang 2017, "Machine comprehension using match-LSTM and answer pointer" (arXiv:1608.07905), section 2.2.3, and is
    never before it, so that p(s) p(e | s) is a distribution over spans. The tab stands for "no answer": Levy et al.
    2017, "Zero-shot relation extraction via reading comprehension", section 4, with a step of its own for the bias.

    To search it is a decoder like any other: an output is a pointer, another one, and the end. A pointer at step j is
    token `vocab` + j.
    """

    class Config(config.Config):
        """Where an answer begins and ends."""

        type: Literal["span"] = "span"
        hidden: int = Field(64, ge=1)
        """Size in which the end is compared with the beginning."""

    estimates = False
    """`train.sampled_softmax` has nothing to save here"""
    copies = False
    """no readout that copies"""
    agrees = True
    """whether `train.r_drop` is for it"""
    drops_output = False
    """whether `model.output_dropout` is for it"""
    free_running = False
    """whether `train.scheduled_sampling` and objectives of whole outputs are for it"""
    attends = True

    def __init__(
        self,
        config: Config,
        *,
        embedding: Embedding,
        readout: nn.Module,
        attention: Attention.Config | None,
        memory_dims: Sequence[int],
        summary_size: int,
        combine: config.Config | None = None,
        dropout: float = 0.0,
    ) -> None:
        """Nothing is written, so neither `embedding` nor `readout` is kept; `dropout` is of the encoder's layers."""
        super().__init__()
        assert attention is None and len(memory_dims) == 1, "the recipe is checked for it"
        self.config, self.vocab = config, len(embedding.weight)
        self.begins, self.ends = nn.Linear(memory_dims[0], 1), nn.Linear(memory_dims[0], 1)
        self.queries = nn.Linear(memory_dims[0], config.hidden)
        self.keys = nn.Linear(memory_dims[0], config.hidden, bias=False)

    @staticmethod
    def conflict(config: Any, attention: Attention.Config | None) -> str | None:
        """Why it cannot work with an attention, if it cannot."""
        if attention is not None:
            return "decoder span points into what encoder flow has read: set model.attention to none"
        return None

    def prepare(self, memories: Sequence[Memory]) -> SpanSource:
        (memory,) = memories
        assert memory.levels is not None and memory.asked is not None, "the memory of encoder flow"
        v, inside = memory.values, memory.levels[:, 0] == PASSAGE
        begins, ends = self.begins(v)[..., 0], self.ends(v)[..., 0]
        return SpanSource(memory.src_valid, inside, begins, ends, self.queries(v), self.keys(v), memory.asked)

    def start(self, source: SpanSource, beam: int = 1) -> State:
        """`first`: the step at which the answer begins, −1 before that is known."""
        return {"first": source.valid.new_full((source.rows * beam,), -1, dtype=torch.int64)}

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: SpanSource) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        here = torch.arange(source.rows, device=tokens.device).repeat_interleave(len(tokens) // source.rows)
        step = (tokens - self.vocab).clamp(0, source.src_len - 1)
        step = torch.where(source.inside[here, step], step, source.tab[here])  # of a hypothesis that is none
        before, known = tokens == BOS, state["first"] >= 0
        scores = source.ends.new_full((len(tokens), self.vocab + source.src_len), float("-inf"))
        looked = source.begins.new_zeros(len(tokens), source.src_len)
        if bool(before.any()):
            found = self._log_begins(source)[here[before]]
            scores[before, self.vocab :] = found
            looked[before] = found.exp()
        if bool((after := ~before & ~known).any()):
            found = self._log_ends(source, here[after], step[after])
            scores[after, self.vocab :] = found
            looked[after] = found.exp()
        if bool((done := ~before & known).any()):
            scores[done, EOS] = 0.0
            looked[done] = _asked(source, here[done], state["first"][done], step[done])
        first = torch.where(before | known, state["first"], step)
        return StepOutput(scores, normalized=True, weights=looked, vocab=self.vocab), {"first": first}

    def loss(
        self,
        source: SpanSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        valid: Bool[Tensor, "batch tgt_len"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
        agreement: float = 0.0,
    ) -> NllSums:
        """Sums over examples; ends of outputs, which are certain, count as right. The recipe refuses `sampled`.

        Smoothing is over the steps that are possible.

        agreement   of batches whose second half is the first again: see `Seq2Seq.loss`
        """
        first, last = self._steps(targets)
        rows = torch.arange(source.rows, device=targets.device)
        log_begins, log_ends = self._log_begins(source), self._log_ends(source, rows, first)
        nll = loss = right = torch.zeros((), dtype=log_begins.dtype, device=targets.device)
        for log_p, wanted in ((log_begins, first), (log_ends, last)):
            there = log_p > -torch.inf
            each = -log_p.gather(1, wanted[:, None])[:, 0].clamp(min=IMPOSSIBLE)
            even = -log_p.masked_fill(~there, 0.0).sum(1) / there.sum(1)
            nll = nll + each.sum()
            loss = loss + ((1.0 - smoothing) * each + smoothing * even).sum()
            right = right + (log_p.argmax(1) == wanted).sum()
            if agreement:
                loss = loss + agreement * disagreement(*log_p.chunk(2)).sum()
        return NllSums(loss, nll.detach(), right.long() + len(rows))

    def forced(
        self,
        source: SpanSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        keep_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch tgt_len"], Float[Tensor, "batch tgt_len src_len"] | None]:
        """log p of each token, the end's too, and what was looked at."""
        state, found = self.start(source), []
        looked: list[Tensor] = []
        for told, right in zip(inputs.unbind(1), targets.unbind(1), strict=True):
            output, state = self.step(told, state, source)
            found.append(output.scores.gather(1, right[:, None])[:, 0].clamp(min=IMPOSSIBLE))
            looked.append(cast(Tensor, output.weights))
        return torch.stack(found, 1), torch.stack(looked, 1) if keep_weights else None

    def _steps(self, targets: Int[Tensor, "batch tgt_len"]) -> tuple[Int[Tensor, "batch"], Int[Tensor, "batch"]]:
        """Where the answers begin and end."""
        pair = (targets[:, :2] - self.vocab).clamp(min=0)
        return pair[:, 0], pair[:, -1]

    def _log_begins(self, source: SpanSource) -> Float[Tensor, "batch src_len"]:
        return source.begins.masked_fill(~source.inside, -torch.inf).log_softmax(1)

    def _log_ends(
        self, source: SpanSource, rows: Int[Tensor, "rows"], first: Int[Tensor, "rows"]
    ) -> Float[Tensor, "rows src_len"]:
        """log p of each step as the last, after a first one, in these rows of the source."""
        queries = source.queries[rows, first]
        scores = source.ends[rows] + torch.einsum("rh,rsh->rs", queries, source.keys[rows]) * self.config.hidden**-0.5
        return scores.masked_fill(~_may_end(source, rows, first), -torch.inf).log_softmax(1)


def _may_end(source: SpanSource, rows: Int[Tensor, "rows"], first: Int[Tensor, "rows"]) -> Bool[Tensor, "rows src_len"]:
    """From the first on; where the first is the tab, there alone."""
    at = torch.arange(source.src_len, device=first.device)
    none = first == source.tab[rows]
    return torch.where(none[:, None], at == first[:, None], source.inside[rows] & (at >= first[:, None]))


def _asked(
    source: SpanSource, rows: Int[Tensor, "rows"], first: Int[Tensor, "rows"], last: Int[Tensor, "rows"]
) -> Float[Tensor, "rows src_len"]:
    """How much the answer's steps looked at each step of the question, on average."""
    at = torch.arange(source.src_len, device=first.device)
    within = ((at >= first[:, None]) & (at <= last[:, None])).to(source.asked)
    mean = torch.einsum("rs,rsq->rq", within / within.sum(1, keepdim=True), source.asked[rows])
    return torch.nn.functional.pad(mean, (0, source.src_len - mean.shape[1]))
