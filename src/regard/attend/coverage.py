"""What has been attended to so far, told to the score, and the loss for attending to it again."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.question import AttentionState


class Coverage(nn.Module):
    """The sum of all weights so far, as a part of the keys.

        c_t = Σ_{t' < t} α_t',  score(q, m, j) = v · tanh(W q + U m + w c_tj + b),  penalty = λ Σ_j min(α_tj, c_tj)

    See, Liu & Manning 2017, equations 10 to 12; the linguistic coverage of Tu et al. 2016 (section 3.1.1, equation 5)
    with fertility 1. For scores without a hidden layer w c is added to the keys as well: q · (m + w c).
    """

    class Config(config.Config):
        """The sum of all weights so far."""

        type: Literal["sum"] = "sum"
        loss: float = Field(0.0, ge=0)
        """λ, of the penalty in the loss. 0: the vector alone, as in Tu et al. 2016. See et al. 2017, section 5, add it
        with 1 to a trained model: from the beginning, attention flees what it has seen before it can look."""

    fast = False
    remembers = ("total",)

    def __init__(self, config: Config, *, key_dim: int) -> None:
        super().__init__()
        self.loss = config.loss
        self.vector = nn.Linear(1, key_dim, bias=False)

    def recall(self, state: AttentionState) -> Float[Tensor, "rows src_len attn"]:
        """w c, which is added to the keys."""
        return self.vector(state["total"][..., None])

    def penalty(self, weights: Float[Tensor, "rows src_len"], state: AttentionState) -> Float[Tensor, "rows"]:
        """What attending there again costs, in nats."""
        return self.loss * torch.minimum(weights, state["total"]).sum(-1)
