"""The encoder of a question and a passage, which read each other."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attend.memory import Memory, valid_steps
from regard.data.tokenizer import TURN_END
from regard.encode.birnn import BiRNN
from regard.encode.encoder import Encoder
from regard.encode.flow import Flow
from regard.ops.noise import Noise

QUESTION, PASSAGE, END = range(3)
"""`Memory.levels` of a question with a passage: the tab, which stands for "no answer", is the passage's first step."""


class QuestionFlow(Encoder):
    """Reads a question and a passage, with a tab between, which attend to each other.

        h = birnn(passage), u = birnn(question), the same for both
        G, M = flow(h, u),   memory: [G; M] at the passage's steps, from the tab on; zero at the question's

    Seo et al. 2017, "Bidirectional attention flow for machine comprehension" (arXiv:1611.01603), section 2, layers 3 to
    5; words and their characters (layers 1 and 2) are embedded before. With `matches` each step is told besides whether
    its piece stands in the other text too: Chen et al. 2017, "Reading Wikipedia to answer open-domain questions",
    section 3.2, "exact match".

        encoder = QuestionFlow(QuestionFlow.Config(hidden=64), input_size=128)
        memory = encoder(x, lengths, ids=ids)            # values (batch, src_len, encoder.dim)
    """

    class Config(Flow.Config, BiRNN.Config):
        """A question and a passage that read each other; the recurrence's settings are those of the first reading."""

        type: Literal["flow"] = "flow"  # type: ignore[assignment]
        matches: bool = True
        """Tell each word whether the other text has it: small data does not teach words to know each other."""

        @property
        def memory_dim(self) -> int:
            """Features of each step of the memory."""
            return 4 * super().memory_dim + (0 if self.modelling is None else self.modelling.memory_dim)

    by_ids = True

    @staticmethod
    def conflict(config: Any, attended: bool) -> str | None:
        """What is attended to is decided here."""
        return "encoder flow attends by itself: set model.attention to none" if attended else None

    def __init__(self, config: Config, *, input_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.recurrence = BiRNN(config, input_size=input_size + config.matches, dropout=dropout)
        sizes = {"dim": self.recurrence.dim, "summary_size": self.recurrence.summary_size}
        self.flow = Flow(config, **sizes, dropout=dropout)
        self.dim, self.summary_size = config.memory_dim, self.flow.summary_size

    def forward(
        self,
        x: Float[Tensor, "batch steps input"],
        lengths: Int[Tensor, "batch"],
        noise: Noise | None = None,
        ids: Int[Tensor, "batch steps"] | None = None,
    ) -> Memory:
        """`lengths` on the CPU, each at least 1; `ids` say where the tab is, and what stands on both sides of it."""
        assert ids is not None, "an encoder of questions has to see the tab"
        parts = Parts.of(ids, lengths)
        if self.config.matches:
            x = torch.cat([x, matches(ids, parts)[..., None].to(x)], -1)
        under = [None if noise is None else noise.under(name) for name in ("question", "passage")]
        question = self.recurrence(x[:, : int(parts.asked.max())], parts.asked, under[0])
        passage = self.recurrence(parts.passage(x), parts.read, under[1])
        flowed = self.flow(passage, question, noise)
        return parts.memory(flowed.memory, flowed.merged, flowed.to_question)


@dataclass(frozen=True)
class Parts:
    """Where in each source the question ends and the passage begins. All on the CPU, as lengths are."""

    lengths: Int[Tensor, "batch"]
    tab: Int[Tensor, "batch"]
    """the last step of a question; where there is no tab, the source's last step"""
    steps: int

    @classmethod
    def of(cls, ids: Int[Tensor, "batch steps"], lengths: Int[Tensor, "batch"]) -> "Parts":
        here = ids.cpu() == TURN_END
        return cls(lengths, torch.where(here.any(1), here.int().argmax(1), lengths - 1), ids.shape[1])

    @property
    def asked(self) -> Int[Tensor, "batch"]:
        """Steps of each question, the tab counted."""
        return self.tab + 1

    @property
    def read(self) -> Int[Tensor, "batch"]:
        """Steps of each passage, the tab and the end mark counted."""
        return self.lengths - self.tab

    def passage(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch read dim"]:
        """Each passage as a row; past its end, anything."""
        at = self.tab[:, None] + torch.arange(int(self.read.max()))
        return _take(x, at.clamp(max=self.steps - 1))

    def back(self, x: Float[Tensor, "batch read *rest"]) -> Float[Tensor, "batch steps *rest"]:
        """The inverse; zero where there is no passage."""
        at = torch.arange(self.steps) - self.tab[:, None]
        outside = (at < 0) | (at >= self.read[:, None])
        found = _take(x, at.clamp(0, x.shape[1] - 1))
        return found.masked_fill(outside.to(x.device)[..., None], 0.0)

    def memory(
        self,
        modelled: Memory,
        merged: Float[Tensor, "batch read merged"],
        to_question: Float[Tensor, "batch read asked"],
    ) -> Memory:
        """What a head for spans reads."""
        plain = merged is modelled.values  # without modelling layers
        values = merged if plain else torch.cat([merged, modelled.values], -1)
        valid, at = valid_steps(self.lengths, self.steps), torch.arange(self.steps)
        levels = torch.where(at < self.tab[:, None], QUESTION, PASSAGE)
        ends = (at >= self.lengths[:, None] - 1) & (at != self.tab[:, None])
        levels = levels.masked_fill(ends, END)
        device = merged.device
        return Memory(
            values=self.back(values),
            src_valid=valid.to(device),
            lengths=self.lengths,
            summary=modelled.summary,
            levels=levels[:, None].to(device),
            asked=self.back(to_question),
        )


def matches(ids: Int[Tensor, "batch steps"], parts: Parts) -> Bool[Tensor, "batch steps"]:
    """Whether a step's piece stands on the other side of the tab too; not of the tab and of what is behind the end."""
    at = torch.arange(ids.shape[1])
    asking = (at < parts.tab[:, None]).to(ids.device)
    reading = ((at > parts.tab[:, None]) & (at < parts.lengths[:, None] - 1)).to(ids.device)
    most = int(parts.asked.max())
    same = (ids[:, :, None] == ids[:, None, :most]) & asking[:, None, :most] & reading[:, :, None]
    found = same.any(2)
    found[:, :most] |= same.any(1)
    return found


def _take(x: Float[Tensor, "batch steps dim"], at: Int[Tensor, "batch wanted"]) -> Float[Tensor, "batch wanted dim"]:
    """Of each row these steps."""
    return x.gather(1, at.to(x.device)[..., None].expand(-1, -1, x.shape[2]))
