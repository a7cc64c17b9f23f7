"""How well a query and a key match: the multiplicative scores."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from regard import config


class DotScore(nn.Module):
    """Dot product of the decoder's state and the memory; no parameters.

        score(q, m) = q · m

    Luong, Pham & Manning 2015, section 3.1, "dot". Without parameters, the two must have one size.
    """

    class Config(config.Config):
        """Dot product of state and memory."""

        type: Literal["dot"] = "dot"

    fast = True
    same_size = True
    """query and memory must have the same number of features"""
    vector = query_weight = key_weight = key_bias = None
    """the linear maps of query and memory, and what a perceptron's hidden layer is weighed with: there are none"""

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        self.key_dim = memory_dim

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return values

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "batch queries src_len"]:
        return dot(query, keys)


class GeneralScore(nn.Module):
    """Dot product with a learned matrix between.

        score(q, m) = q · W m

    Luong, Pham & Manning 2015, section 3.1, "general". W m is computed once per sentence, by `keys`.
    """

    class Config(config.Config):
        """Dot product with a learned matrix between."""

        type: Literal["general"] = "general"

    fast = True
    same_size = False
    vector = query_weight = key_bias = None

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        self.key_dim = query_dim
        self.project = nn.Linear(memory_dim, query_dim, bias=False)

    @property
    def key_weight(self) -> Float[Tensor, "query memory"]:
        """W, the memory's map to the query's size."""
        return self.project.weight

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return self.project(values)

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "batch queries src_len"]:
        return dot(query, keys)


class ScaledDotScore(nn.Module):
    """Dot product of two projections, divided by the root of their size.

        score(q, m) = (W q) · (U m) / √dim

    Vaswani et al. 2017, equation 1, with the projections of section 3.2.2.
    """

    class Config(config.Config):
        """Dot product of two projections, divided by the root of their size."""

        type: Literal["scaled_dot"] = "scaled_dot"

    fast = True
    same_size = False
    vector = None

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        self.key_dim = dim
        self.query = nn.Linear(query_dim, dim, bias=False)
        self.key = nn.Linear(memory_dim, dim, bias=False)
        self.scale = dim**-0.5

    @property
    def query_weight(self) -> Float[Tensor, "attn query"]:
        """W, the query's map."""
        return self.query.weight

    @property
    def key_weight(self) -> Float[Tensor, "attn memory"]:
        """U / √dim, the memory's map."""
        return self.key.weight * self.scale

    @property
    def key_bias(self) -> Float[Tensor, "attn"] | None:
        """Of the keys, divided as they are."""
        return None if self.key.bias is None else self.key.bias * self.scale

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return self.key(values) * self.scale  # once per sentence instead of once per score

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "batch queries src_len"]:
        return dot(self.query(query), keys)


def dot(
    query: Float[Tensor, "batch queries attn"], keys: Float[Tensor, "batch *queries src_len attn"]
) -> Float[Tensor, "batch queries src_len"]:
    """Every query with every key of its sentence, or with its own candidates' keys."""
    if keys.ndim == 3:
        return query @ keys.transpose(1, 2)
    return (query[:, :, None] @ keys.transpose(2, 3))[:, :, 0]  # (batch, queries, candidates)
