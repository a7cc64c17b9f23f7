"""Two sequences that read each other: a passage, and a question about it."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.memory import Memory
from regard.attend.normalizers import only_valid
from regard.attend.parts import SCORES, STATELESS
from regard.attend.question import Question
from regard.config import choice, optional
from regard.encode.birnn import BiRNN
from regard.ops.noise import Noise

SIMILARITIES = {name: part for name, part in SCORES.items() if not getattr(part, "remembers", ())}
"""Scores for two sequences at once: those that do not look at earlier weights."""


@dataclass(frozen=True)
class Flowed:
    """A passage that has read a question."""

    memory: Memory
    """over the passage: values M, the modelling layers' outputs, or G where there are none"""
    merged: Float[Tensor, "batch passage merged"]
    """G, of four times the features of a passage step; zero on padding. A head for spans reads [G; M]."""
    to_question: Float[Tensor, "batch passage question"]
    """a_t, the weight of each word of the question for each of the passage; zero on padding of both"""
    to_passage: Float[Tensor, "batch passage"]
    """b, the weight of each word of the passage for the question"""


class Flow(nn.Module):
    """Attention in both directions between a passage h and a question u, then recurrence over what came of it.

        S_tj = score(h_t, u_j)
        a_t = normalize_j(S_t),           ũ_t = Σ_j a_tj u_j        passage to question
        b = normalize_t(max_j S_tj),      h̃ = Σ_t b_t h_t          question to passage
        G_t = [h_t; ũ_t; h_t ∘ ũ_t; h_t ∘ h̃],  M = birnn(G)

    Seo et al. 2017, "Bidirectional attention flow for machine comprehension" (arXiv:1611.01603), section 2, "attention
    flow layer" (equations 1 and 2) and "modeling layer". Theirs are score `trilinear` and softmax; here any score that
    does not remember, and any normalizer that answers at once.

        flow = Flow(Flow.Config(), dim=encoder.dim, summary_size=encoder.summary_size)
        flowed = flow(encoder(x, lengths), encoder(asked, asked_lengths))
        flowed.memory                                    # values (batch, passage, flow.dim)
    """

    class Config(config.Config):
        """A passage and a question that attend to each other."""

        type: Literal["flow"] = "flow"
        score: choice(SIMILARITIES) = "trilinear"  # type: ignore[valid-type]
        """Trilinear, as Seo et al."""
        normalizer: choice(STATELESS) = "softmax"  # type: ignore[valid-type]
        """In both directions; softmax, the convention."""
        dim: int = Field(256, ge=1)
        """Size of the hidden layer of additive and concat scores, and of scaled_dot's projections."""
        modelling: optional(BiRNN.Config) = BiRNN.Config(layers=2)  # type: ignore[valid-type]
        """Two layers of LSTM, as Seo et al.; `none`: the memory is G."""

    def __init__(self, config: Config, *, dim: int, summary_size: int, dropout: float = 0.0) -> None:
        """`dim` and `summary_size` of the passage's memory; the question's has the same `dim`."""
        super().__init__()
        self.score = SIMILARITIES[config.score.type](config.score, query_dim=dim, memory_dim=dim, dim=config.dim)
        self.normalizer = STATELESS[config.normalizer.type](config.normalizer, query_dim=dim)
        self.modelling: BiRNN | None = None
        self.dim, self.summary_size = 4 * dim, summary_size
        if config.modelling is not None:
            self.modelling = BiRNN(config.modelling, input_size=4 * dim, dropout=dropout)
            self.dim, self.summary_size = self.modelling.dim, self.modelling.summary_size

    def forward(self, passage: Memory, question: Memory, noise: Noise | None = None) -> Flowed:
        merged, to_question, to_passage = self.attend(passage, question)
        memory = replace(passage, values=merged)
        if self.modelling is not None:
            modelled = self.modelling(merged, passage.lengths, None if noise is None else noise.under("flow"))
            memory = replace(memory, values=modelled.values, summary=modelled.summary)
        return Flowed(memory, merged, to_question, to_passage)

    def attend(
        self, passage: Memory, question: Memory
    ) -> tuple[
        Float[Tensor, "batch passage merged"], Float[Tensor, "batch passage question"], Float[Tensor, "batch passage"]
    ]:
        """G, a and b."""
        h, u = passage.values, question.values
        sides = Question(h, {})
        valid, asked = passage.src_valid, question.src_valid[:, None]
        scores = self.score(h, self.score.keys(u))  # (batch, passage, question)
        to_question = self.normalizer(scores, asked, sides).weights.masked_fill(~valid[..., None], 0.0)
        best = only_valid(scores, asked).amax(-1)[:, None]  # (batch, 1, passage)
        to_passage = self.normalizer(best, valid[:, None], sides).weights
        u_attended, h_attended = to_question @ u, to_passage @ h
        merged = torch.cat([h, u_attended, h * u_attended, h * h_attended], -1)
        return merged.masked_fill(~valid[..., None], 0.0), to_question, to_passage[:, 0]
