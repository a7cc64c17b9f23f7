"""The score that is linear in state, in memory, and in their product."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard import config
from regard.attend.scores import dot


class TrilinearScore(nn.Module):
    """One linear map over state, memory and their product, element by element.

        score(q, m) = w · [q; m; q ∘ m]

    Seo et al. 2017, "Bidirectional attention flow for machine comprehension" (arXiv:1611.01603), section 2, equation 1,
    where q is a word of the passage and m one of the question. Computed as (w₃ ∘ q) · m + w₂ · m + w₁ · q, so that
    nothing of size queries × steps × features comes up; w₂ · m is one feature more of the keys.

        score = TrilinearScore(TrilinearScore.Config(), query_dim=64, memory_dim=64, dim=64)
        scores = score(query, score.keys(values))        # (batch, queries, src_len)
    """

    class Config(config.Config):
        """A linear map over state, memory and their product."""

        type: Literal["trilinear"] = "trilinear"

    fast = False
    same_size = True

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        assert query_dim == memory_dim, f"a product of {query_dim} and {memory_dim} features; the recipe is checked"
        self.key_dim = memory_dim + 1
        self.weight = nn.Linear(3 * memory_dim, 1, bias=False)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """w of the query, of the memory and of their product."""
        of_query, of_memory, of_product = self.weight.weight[0].chunk(3)
        return of_query, of_memory, of_product

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return torch.cat([values, (values @ self.parts[1])[..., None]], -1)

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "batch queries src_len"]:
        of_query, _, of_product = self.parts
        asked = torch.cat([query * of_product, torch.ones_like(query[..., :1])], -1)
        return dot(asked, keys) + (query @ of_query)[..., None]
