"""A window whose centre is predicted from the query."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.question import AttentionState, Question
from regard.attend.scope import Candidates, last_step, pick
from regard.ops.squash import sigmoid


class LocalP(nn.Module):
    """A window around a predicted centre, whose weights fall off as a Gaussian.

        p = S · σ(v · tanh(W q)),  weights = softmax(score) · exp(−(s − p)² / 2σ²),  σ = D / 2

    over the source steps s, counted from 1, with p − D ≤ s ≤ p + D; S is the sentence's length. Luong, Pham & Manning
    2015, section 3.2, "local-p", equations 9 and 10. The factor comes after the softmax, so weights sum to less than
    one, and through it alone the centre is learned.
    """

    class Config(config.Config):
        """A window around a predicted centre."""

        type: Literal["local_p"] = "local_p"
        width: int = Field(10, ge=1)
        """D, steps on each side of the centre; Luong et al. 2015, section 4, use 10."""

    stateless = True
    sums_to_one = False

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__()
        self.width = config.width
        self.query = nn.Linear(query_dim, dim, bias=False)
        self.weight = nn.Linear(dim, 1, bias=False)

    def start(self, places: Int[Tensor, "rows"]) -> AttentionState:
        return {}

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        question: Question,
    ) -> tuple[Candidates, AttentionState]:
        last = last_step(keys, valid)
        share = sigmoid(self.weight(torch.tanh(self.query(question.query)))[..., 0])
        centre = (last + 1) * share - 1.0  # (batch, queries), counted from 0
        first = (centre - self.width).ceil().long()
        positions = first[..., None] + torch.arange(2 * self.width + 1, device=keys.device)
        inside = (positions >= 0) & (positions <= last[..., None]) & (positions <= centre[..., None] + self.width)
        factor = torch.exp(-((positions - centre[..., None]) ** 2) * (2.0 / self.width**2))  # 2σ² = D² / 2
        return pick(keys, values, positions, inside, factor), {}
