"""A layer in which each step of a sequence attends to the others."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from regard import config
from regard.attend.attention import Attention
from regard.attend.memory import Memory
from regard.attend.parts import NORMALIZERS, SCOPES
from regard.attend.question import Question
from regard.attend.scope import spread
from regard.config import choice
from regard.ops.dropout import sequence_dropout
from regard.ops.noise import Noise


class SelfAttention(nn.Module):
    """x ↦ x + attend(norm(x)): a residual layer whose queries are the steps themselves.

        weights = normalize((Q n_i) · (K n_j) / √d),  x_i + W Σ_j weights_ij V n_j,  n = layer norm(x)

    Vaswani et al. 2017, equation 1 and sections 3.2.2 and 3.2.3, for each of several heads of size d, over any scope.
    Scopes that move (window, blocks, past) stand at each step's own place. With scope `lsh` there is one projection for
    query and key, and keys are of length one (Kitaev, Kaiser & Levskaya 2020, section 2, "shared-QK"). W begins as
    zero, so that a new layer changes nothing until it has learned to (as a residual branch's last layer in Goyal et al.
    2017, section 5.1).

        layer = SelfAttention(SelfAttention.Config(scope="past"), size=512)
        memory, weights = layer(memory)                     # weights (batch, heads, steps, steps)
        memory, _ = layer(memory, keep_weights=False)       # nothing of steps × steps, unless the scope is all steps
    """

    class Config(config.Config):
        """Scope, normalizer and heads of a layer of self-attention."""

        scope: choice(SCOPES) = "whole"  # type: ignore[valid-type]
        """All steps; `past` where a step must not see what follows it."""
        normalizer: choice(NORMALIZERS) = "softmax"  # type: ignore[valid-type]
        """Softmax: the convention."""
        heads: int = Field(1, ge=1)
        """One, as in Merity 2019: recurrence has done much of the work."""
        dim: int = Field(256, ge=1)
        """Size of all heads' projections together."""

        @model_validator(mode="after")
        def _parts_agree(self) -> Any:
            if self.dim % self.heads:
                raise ValueError(
                    f"dim {self.dim} cannot be split over {self.heads} heads: choose a multiple of the number of heads"
                )
            if not getattr(NORMALIZERS[self.normalizer.type], "stateless", True):
                raise ValueError(
                    f"normalizer {self.normalizer.type} goes from one query to the next, and in self-attention all "
                    "ask at once: choose softmax, sparsemax or entmax15"
                )
            return self

    def __init__(self, config: Config, *, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout, head = config.heads, dropout, config.dim // config.heads
        self.scale = head**-0.5
        self.norm = nn.LayerNorm(size)
        self.query = nn.Linear(size, config.dim, bias=False)
        self.shared = bool(getattr(SCOPES[config.scope.type], "itself", False))
        self.key = None if self.shared else nn.Linear(size, config.dim, bias=False)
        self.value = nn.Linear(size, config.dim, bias=False)
        self.merge = nn.Linear(config.dim, size, bias=False)
        nn.init.zeros_(self.merge.weight)
        parts = {"score": "dot", "scope": config.scope, "normalizer": config.normalizer, "dim": head}
        self.attention = Attention(Attention.Config.model_validate(parts), query_dim=head, memory_dim=head)

    def forward(
        self, memory: Memory, noise: Noise | None = None, keep_weights: bool = True
    ) -> tuple[Memory, Float[Tensor, "batch heads s s"] | None]:
        """The memory with new values, and each head's weights, if they are to be kept."""
        x, steps = memory.values, memory.values.shape[1]
        normed = self.norm(x)
        query = self._fold(self.query(normed))
        keys = F.normalize(query, dim=-1) if self.key is None else self._fold(self.key(normed))
        values, valid = self._fold(self.value(normed)), memory.src_valid.repeat_interleave(self.heads, 0)
        places = torch.arange(steps, device=x.device).repeat(len(query))  # everyone at their own
        question = Question(query * self.scale, self.attention.scope.start(places))
        seen = valid if memory.ragged else None
        context, weights, candidates, _, _ = self.attention.look(question, keys, values, seen)
        kept = spread(weights, candidates, steps).unflatten(0, (-1, self.heads)) if keep_weights else None
        context = context.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)  # heads side by side
        added = sequence_dropout(self.merge(context), self.dropout, noise, "attended")
        after = torch.where(memory.src_valid[..., None], x + added, x)  # padding stays as it was
        return replace(memory, values=after), kept

    def _fold(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "rows steps size"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).flatten(0, 1)  # heads join the batch
