"""A decision: one label, or a set of them, from everything that was read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from regard import config
from regard.attend import Attention
from regard.attend.memory import Memory
from regard.attend.pooling import POOLINGS, WEIGHTED, Pooled
from regard.config import choice
from regard.data.config import BYTES, SPECIALS
from regard.data.tokenizer import BOS, EOS, UNK
from regard.decode.embedding import Embedding
from regard.decode.protocol import StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.source import Counted
from regard.decode.state import State
from regard.ops.agreement import disagreement
from regard.ops.dropout import dropout
from regard.ops.loss import NllSums
from regard.ops.noise import Noise

IMPOSSIBLE = -100.0
"""log p of what no output can be, such as two labels where there is one, or an end before its beginning."""


@dataclass(frozen=True)
class LabelSource(Counted):
    """A batch of sequences as the head sees them; see `regard.decode.protocol.Source`."""

    vector: Float[Tensor, "batch pooled"]
    weights: Float[Tensor, "batch src_len"] | None
    """of each token of the source, in sum one; None for a pooling that has none"""
    penalty: Float[Tensor, "batch"] | None
    valid: Bool[Tensor, "batch src_len"]

    def select(self, rows: Int[Tensor, "rows"]) -> "LabelSource":
        parts = (self.vector, self.weights, self.penalty, self.valid)
        return LabelSource(*(None if part is None else part.index_select(0, rows) for part in parts))  # type: ignore[arg-type]


def label_source(memory: Memory, pooled: Pooled) -> LabelSource:
    """What was pooled, with the weights of the tokens: of a memory of sentences, each word's share in its own."""
    weights, valid = None if pooled.weights is None else pooled.weights.mean(1), memory.src_valid
    if memory.owner is not None:  # steps are sentences, and what is shown are words
        valid = memory.owner >= 0
        known = weights is not None and memory.share is not None
        weights = (
            cast(Tensor, weights).gather(1, memory.owner.clamp(min=0)) * cast(Tensor, memory.share) if known else None
        )
    return LabelSource(pooled.vector, weights, pooled.penalty, valid)


class LabelDecoder(nn.Module):
    """A memory is pooled to a vector, and a perceptron scores the labels.

        s = pool(memory),  logits = readout(tanh(W s))
        p(label) = softmax(logits)                    one of them
        p(label is there) = σ(logit)                  several: each by itself

    With `attention` and an encoder `hierarchical` this is Yang et al. 2016, "Hierarchical attention networks for
    document classification"; with `structured`, Lin et al. 2017. Unlike Yang et al. there is a hidden layer, as in
    Lin et al.

    To search and scoring it is a decoder like any other. One label is an output of one token, after which it ends. A
    set of labels is an output of several, in the order of the vocabulary: with c_j = Σ_{k<j} log(1 − p_k)

        log p(next is j | last was i) = c_j − c_{i+1} + log p_j,   log p(end | last was i) = c_∞ − c_{i+1}

    so that an output's log-probability is that of the set; the likeliest ones are found without a search (`sets.py`).
    A label that training data does not have is spelled in bytes: its score is UNK's, and in a set it is passed over.
    """

    class Config(config.Config):
        """Labels, by what the memory is pooled to."""

        type: Literal["labels"] = "labels"
        pooling: choice(POOLINGS) = "attention"  # type: ignore[valid-type]
        """What becomes one vector; attention, which shows what a decision rests on (Yang et al. 2016)."""
        hidden: int = Field(256, ge=1)
        """Size of the layer between the vector and the labels."""
        several: bool = False
        """Whether an example may have several labels, or none: each is then decided by itself."""

    estimates = False
    """`train.sampled_softmax` has nothing to save here"""
    copies = False
    """no readout that copies"""
    agrees = True
    """whether `train.r_drop` is for it"""
    drops_output = True
    """whether `model.output_dropout` is for it"""
    free_running = False
    """whether `train.scheduled_sampling` and objectives of whole outputs are for it"""

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
        assert attention is None and len(memory_dims) == 1, "the recipe is checked for it"
        self.config, self.dropout, self.readout = config, dropout, readout
        pooling = POOLINGS[config.pooling.type]
        self.pooling = pooling(config.pooling, memory_dim=memory_dims[0], summary_size=summary_size)
        self.hidden = nn.Linear(self.pooling.dim, config.hidden)
        self.vocab, self.temperature = len(readout.bias), 1.0
        labels = torch.arange(SPECIALS + BYTES, self.vocab)
        first = torch.tensor([] if config.several else [UNK], dtype=torch.int64)
        self.labels: Tensor
        self.register_buffer("labels", torch.cat([first, labels]), persistent=False)

    @staticmethod
    def conflict(config: Any, attention: Attention.Config | None) -> str | None:
        """Why it cannot work with an attention, if it cannot."""
        if attention is not None:
            return "decoder labels looks once, as its pooling says: set model.attention to none"
        return None

    @property
    def attends(self) -> bool:
        """Whether it can say what it looked at."""
        return self.config.pooling.type in WEIGHTED

    def prepare(self, memories: Sequence[Memory]) -> LabelSource:
        (memory,) = memories
        return label_source(memory, cast(Pooled, self.pooling(memory)))

    def start(self, source: LabelSource, beam: int = 1) -> State:
        """`last`: the column after that of the last label."""
        return {"last": source.valid.new_zeros(source.rows * beam, dtype=torch.int64)}

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: LabelSource) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        return self.step_from(self.logits(source), tokens, state, source)

    def step_from(
        self, logits: Float[Tensor, "batch labels"], tokens: Int[Tensor, "rows"], state: State, source: LabelSource
    ) -> tuple[StepOutput, State]:
        """The same from the source's logits, whatever computed them."""
        beam = len(tokens) // source.rows
        scores = logits.repeat_interleave(beam, 0)
        known = self._columns(tokens)
        last = torch.where(tokens >= SPECIALS + BYTES, known + 1, state["last"])
        after = self._after(scores, last) if self.config.several else self._once(scores, tokens != BOS)
        weights = None if source.weights is None else source.weights.repeat_interleave(beam, 0)
        return StepOutput(after, normalized=True, weights=weights), {"last": last}

    def loss(
        self,
        source: LabelSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        valid: Bool[Tensor, "batch tgt_len"],
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
        agreement: float = 0.0,
        importance: Float[Tensor, "vocab"] | None = None,
    ) -> NllSums:
        """Sums over examples; ends, which are certain, count as right. The recipe refuses `sampled`.

        agreement    of batches whose second half is the first again: see `Seq2Seq.loss`
        importance   of each label in the loss, 1 where there is nothing to say
        """
        scores = self.logits(source, noise)
        nll = self.nll_of(scores.detach(), targets)
        if self.config.several:
            each, right = self._of_sets(scores, targets, smoothing, importance)
        else:
            wanted = self._columns(targets[:, 0])
            log_probs, rows = scores.log_softmax(-1), torch.arange(len(scores), device=scores.device)
            found = log_probs[rows, wanted]
            each = -(1.0 - smoothing) * found - smoothing * log_probs[:, 1:].mean(-1)
            each = each if importance is None else each * importance.index_select(0, targets[:, 0])
            right = log_probs.argmax(-1) == wanted
        if source.penalty is not None:
            each = each + source.penalty
        loss, ends = each.sum(), (valid.sum(1) - 1).clamp(min=1)
        if agreement:
            halves = (scores if self.config.several else scores.log_softmax(-1)).chunk(2)
            loss = loss + agreement * disagreement(*halves, each=self.config.several).sum()
        return NllSums(loss, nll, (right * ends).sum() + len(scores))

    def forced(
        self,
        source: LabelSource,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        keep_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch tgt_len"], Float[Tensor, "batch tgt_len src_len"] | None]:
        """log p of each token, the end's too, and what was looked at, which is the same for all."""
        logits, state, found = self.logits(source), self.start(source), []
        for t, (told, right) in enumerate(zip(inputs.unbind(1), targets.unbind(1), strict=True)):
            output, state = self.step_from(logits, told, state, source)
            spelled = (right >= SPECIALS) & (right < SPECIALS + BYTES)
            here = output.scores.gather(1, right.masked_fill(spelled, UNK)[:, None])[:, 0].clamp(min=IMPOSSIBLE)
            found.append(here.masked_fill(spelled, 0.0) if t or self.config.several else here)
        weights = source.weights
        shown = None if weights is None or not keep_weights else weights[:, None].expand(-1, targets.shape[1], -1)
        return torch.stack(found, 1), shown

    def logits(self, source: LabelSource, noise: Noise | None = None) -> Float[Tensor, "batch labels"]:
        """Of the labels, UNK's before them where an example has one of them; divided by the temperature."""
        features = torch.tanh(self.hidden(dropout(source.vector, self.dropout, noise, "decoder.in")))
        found = self.readout.logits(features, ids=self.labels, noise=noise)
        return found if self.temperature == 1.0 else found / self.temperature

    def log_odds(self, source: LabelSource) -> Float[Tensor, "batch labels"] | None:
        """Of each label, where an output is a set of them."""
        return self.logits(source) if self.config.several else None

    def probabilities(self, logits: Float[Tensor, "batch labels"]) -> Float[Tensor, "batch labels"]:
        """Of each label that training data has."""
        return logits.sigmoid() if self.config.several else logits.softmax(-1)[:, 1:]

    def nll_of(self, logits: Float[Tensor, "batch labels"], targets: Int[Tensor, "batch tgt_len"]) -> Float[Tensor, ""]:
        """−log p of the targets, in nats, summed."""
        if self.config.several:
            return self._of_sets(logits, targets, 0.0, None)[0].sum()
        return -logits.log_softmax(-1).gather(1, self._columns(targets[:, :1])).sum()

    def decided(
        self, logits: Float[Tensor, "batch labels"], targets: Int[Tensor, "batch tgt_len"]
    ) -> tuple[Float[Tensor, "decisions"], Bool[Tensor, "decisions"]]:
        """The probability of each decision, and whether it is right: one an example, or, of sets, one a label."""
        if self.config.several:
            there = logits > 0
            return logits.abs().sigmoid().flatten(), (there == (self._there(targets, logits) > 0)).flatten()
        best, label = logits.log_softmax(-1).max(-1)
        return best.exp(), label == self._columns(targets[:, 0])

    def _columns(self, tokens: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The place of each label among the scores; without several, of what is none, UNK's."""
        first = SPECIALS + BYTES - (0 if self.config.several else 1)
        return (tokens - first).clamp(min=0)

    def _once(self, scores: Float[Tensor, "rows labels"], done: Bool[Tensor, "rows"]) -> Float[Tensor, "rows vocab"]:
        every = scores.new_full((len(scores), self.vocab), float("-inf"))
        every = every.index_copy_(1, self.labels, scores.log_softmax(-1)).masked_fill_(done[:, None], float("-inf"))
        every[:, EOS] = torch.where(done, 0.0, float("-inf")).to(every)
        return every

    def _after(self, scores: Float[Tensor, "rows labels"], last: Int[Tensor, "rows"]) -> Float[Tensor, "rows vocab"]:
        """log p of what comes after the first `last` columns have been decided."""
        count = scores.shape[1]
        out = torch.cat([scores.new_zeros(len(scores), 1), logsigmoid(-scores).cumsum(1)], 1)  # c_j
        so_far = out.gather(1, last[:, None])
        following = out[:, :count] - so_far + logsigmoid(scores)
        gone = torch.arange(count, device=last.device) < last[:, None]
        every = scores.new_full((len(scores), self.vocab), float("-inf"))
        every = every.index_copy_(1, self.labels, following.masked_fill(gone, float("-inf")))
        every[:, EOS] = (out[:, count:] - so_far)[:, 0]
        return every

    def _there(
        self, targets: Int[Tensor, "batch tgt_len"], like: Float[Tensor, "batch labels"]
    ) -> Float[Tensor, "batch labels"]:
        """1 for each label of each set, else 0."""
        known = (targets >= SPECIALS + BYTES).to(like)
        return torch.zeros_like(like).scatter_add_(1, self._columns(targets), known)

    def _of_sets(
        self,
        scores: Float[Tensor, "batch labels"],
        targets: Int[Tensor, "batch tgt_len"],
        smoothing: float,
        importance: Float[Tensor, "vocab"] | None,
    ) -> tuple[Float[Tensor, "batch"], Bool[Tensor, "batch"]]:
        """−log p of each set, and whether it is the likeliest."""
        there = self._there(targets, scores)
        soft = there * (1.0 - smoothing) + 0.5 * smoothing
        each = -(soft * logsigmoid(scores) + (1.0 - soft) * logsigmoid(-scores))
        if importance is not None:
            each = each * torch.where(there > 0, importance.index_select(0, self.labels), 1.0)
        return each.sum(1), ((scores > 0) == (there > 0)).all(1)
