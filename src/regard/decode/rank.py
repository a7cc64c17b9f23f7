"""The third role of search: what an output is worth, so that those of one sentence can be compared.

    score(y) = log p(y | x) / |y|^α + β · Σ_i log min(Σ_j w_ij, 1)

Wu et al. 2016 (arXiv:1609.08144), eq. 14, with |y|^α in place of its ((5 + |y|) / 6)^α, so that α = 1 is the
mean log-probability per token. |y| counts the end of sentence. As there, only whole outputs are compared by
score; within a step all have one length, and log-probability alone decides.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.decode.config import SearchConfig

LEAST_COVERAGE = 1e-4
"""A source step that attention never saw (exactly zero, with sparse or windowed attention) counts as this much,
so that one such step lowers the score by 9.2 β and not without bound."""


class Rank:
    """Scores outputs of up to `longest` tokens, the end included. Scores and log-probabilities are float64."""

    def __init__(self, config: SearchConfig, longest: int, device: torch.device) -> None:
        self.beta = config.coverage_penalty
        powers = [max(length, 1) ** config.length_penalty for length in range(longest + 1)]
        self.powers = torch.tensor(powers, dtype=torch.float64, device=device)

    def score(
        self,
        log_prob: Float[Tensor, "rows outputs"],
        length: int | Int[Tensor, "rows outputs"],
        coverage: Float[Tensor, "rows outputs src_len"] | None = None,
        src_valid: Bool[Tensor, "rows src_len"] | None = None,
    ) -> Float[Tensor, "rows outputs"]:
        """`coverage`: the attention that each source step got, summed over the output's tokens."""
        scores = log_prob / self.powers[length]
        if self.beta == 0:
            return scores
        assert coverage is not None and src_valid is not None, "the coverage penalty needs attention weights"
        missing = coverage.double().clamp(LEAST_COVERAGE, 1.0).log().masked_fill(~src_valid.unsqueeze(1), 0.0)
        # A running sum adds in order, so that padding at the end changes no bit; sum() may pair terms up.
        return scores + self.beta * missing.cumsum(-1)[..., -1]

    def bound(self, log_prob: Float[Tensor, "lanes"], limit: Int[Tensor, "lanes"]) -> Float[Tensor, "lanes"]:
        """The best score that can still grow out of a beginning: nothing more lost, the longest length, all
        covered. Exact, in floating point too, as each further token adds log p ≤ 0."""
        return log_prob / self.powers[limit + 1]
