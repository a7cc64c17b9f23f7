"""What a query may look at, before anything is scored."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config

AttentionState = dict[str, Tensor]
"""What attention carries from step to step, by name; first dimension: hypotheses."""


@dataclass(frozen=True)
class Candidates:
    """The steps in scope, for every query of every sentence.

    With `positions` None they are the whole source, shared by all queries of a sentence. Otherwise each query has
    its own few, and keys, values and valid carry a query dimension: (batch, queries, candidates, …).
    """

    keys: Float[Tensor, "batch *queries candidates attn"]
    values: Float[Tensor, "batch *queries candidates dim"]
    valid: Bool[Tensor, "batch *queries candidates"] | None
    """True = may be attended to; None: all may"""
    positions: Int[Tensor, "batch queries candidates"] | None = None
    """source step of each candidate"""


class WholeSource(nn.Module):
    """Every step of the source, for every query."""

    class Config(config.Config):
        """All source steps."""

        type: Literal["whole"] = "whole"

    stateless = True
    """no state: the queries of a whole sentence can be answered at once"""

    def __init__(self, config: Config) -> None:
        super().__init__()

    def start(self, rows: int, device: torch.device) -> AttentionState:
        return {}

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        queries: int,
        state: AttentionState,
    ) -> tuple[Candidates, AttentionState]:
        return Candidates(keys, values, valid), state


class FixedWindow(nn.Module):
    """A window of 2 · width + 1 source steps that moves on by `rate` steps with every output token.

    Step t looks at round(t · rate) − width … round(t · rate) + width; past the source's end it stays at the end.
    This is local-m attention (Luong, Pham & Manning 2015, section 3.2, p_t = t) when rate = 1. Nothing outside
    is read or scored, so a step costs the same however long the source is.
    """

    class Config(config.Config):
        """A window that moves at a fixed rate."""

        type: Literal["window"] = "window"
        width: int = Field(10, ge=0)
        """Steps on each side of the centre; Luong et al. 2015, section 4, use D = 10."""
        rate: float = Field(1.0, gt=0)
        """Source steps the centre moves on by an output token; 1 = the monotonic alignment of local-m."""

    stateless = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.width, self.rate = config.width, config.rate

    def start(self, rows: int, device: torch.device) -> AttentionState:
        return {"step": torch.zeros(rows, dtype=torch.long, device=device)}

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        queries: int,
        state: AttentionState,
    ) -> tuple[Candidates, AttentionState]:
        batch, src_len = keys.shape[:2]
        last = valid.sum(1)[:, None] - 1 if valid is not None else src_len - 1
        step = state["step"].view(batch, queries)
        centre = (step * self.rate).round().long().clamp(max=last)
        offsets = torch.arange(-self.width, self.width + 1, device=keys.device)
        positions = centre[..., None] + offsets  # (batch, queries, candidates)
        last = last[..., None] if isinstance(last, Tensor) else last
        inside = (positions >= 0) & (positions <= last)
        positions = positions.clamp(0, src_len - 1)
        candidates = Candidates(_take(keys, positions), _take(values, positions), inside, positions)
        return candidates, {"step": state["step"] + 1}


def _take(
    x: Float[Tensor, "batch src_len dim"], positions: Int[Tensor, "batch queries candidates"]
) -> Float[Tensor, "batch queries candidates dim"]:
    rows = torch.arange(x.shape[0], device=x.device)[:, None, None]
    return x[rows, positions]
