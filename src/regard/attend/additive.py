"""The additive scores: a one-hidden-layer perceptron over query and key."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from regard import config
from regard.ops.squash import tanh_sum


class AdditiveScore(nn.Module):
    """A one-hidden-layer perceptron over state and memory.

        score(q, m) = v · tanh(W q + U m + b)

    Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A.1.2. Unlike the paper there is a bias; U m + b is
    computed once per sentence, by `keys`.

    query    (batch, queries, query)
    keys     (batch, src_len, attn)     from `keys(values)`
    returns  scores (batch, queries, src_len), any real number; masking is the normalizer's
    """

    class Config(config.Config):
        """A perceptron over state and memory."""

        type: Literal["additive"] = "additive"

    fast = True
    same_size = False

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        self.key_dim = dim
        self.query = nn.Linear(query_dim, dim, bias=False)
        self.key = nn.Linear(memory_dim, dim)
        self.weight = nn.Linear(dim, 1, bias=False)

    @property
    def vector(self) -> Float[Tensor, "attn"]:
        """v, what each unit of the hidden layer counts."""
        return self.weight.weight[0]

    @property
    def query_weight(self) -> Float[Tensor, "attn query"]:
        """W, the query's map to the hidden layer."""
        return self.query.weight

    @property
    def key_weight(self) -> Float[Tensor, "attn memory"]:
        """U, the memory's."""
        return self.key.weight

    @property
    def key_bias(self) -> Float[Tensor, "attn"] | None:
        """b, of the hidden layer."""
        return self.key.bias

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return self.key(values)

    def project(self, query: Float[Tensor, "batch queries query"]) -> Float[Tensor, "batch queries attn"]:
        """W q"""
        return self.query(query)

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "batch queries src_len"]:
        keys = keys[:, None] if keys.ndim == 3 else keys  # (batch, 1 or queries, src_len, attn)
        return self.weight(tanh_sum(self.project(query)[:, :, None], keys))[..., 0]


class ConcatScore(nn.Module):
    """The same perceptron with state and memory side by side, under one matrix.

        score(q, m) = v · tanh(W [q; m])

    Luong, Pham & Manning 2015, section 3.1, "concat". One matrix over both, so its columns start out alike;
    otherwise AdditiveScore without a bias. The memory's columns of W are applied once per sentence, by `keys`.
    """

    class Config(config.Config):
        """A perceptron over state and memory, set side by side."""

        type: Literal["concat"] = "concat"

    fast = True
    same_size = False

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        self.query_dim, self.key_dim = query_dim, dim
        self.both = nn.Linear(query_dim + memory_dim, dim, bias=False)
        self.weight = nn.Linear(dim, 1, bias=False)

    @property
    def vector(self) -> Float[Tensor, "attn"]:
        """v, what each unit of the hidden layer counts."""
        return self.weight.weight[0]

    key_bias = None

    @property
    def query_weight(self) -> Float[Tensor, "attn query"]:
        """The query's columns of W."""
        return self.both.weight[:, : self.query_dim]

    @property
    def key_weight(self) -> Float[Tensor, "attn memory"]:
        """The memory's columns of W."""
        return self.both.weight[:, self.query_dim :]

    def keys(self, values: Float[Tensor, "*batch src_len memory"]) -> Float[Tensor, "*batch src_len attn"]:
        return F.linear(values, self.key_weight)

    def project(self, query: Float[Tensor, "batch queries query"]) -> Float[Tensor, "batch queries attn"]:
        return F.linear(query, self.query_weight)

    def forward(
        self, query: Float[Tensor, "batch queries query"], keys: Float[Tensor, "batch *queries src_len attn"]
    ) -> Float[Tensor, "batch queries src_len"]:
        keys = keys[:, None] if keys.ndim == 3 else keys  # (batch, 1 or queries, src_len, attn)
        return self.weight(tanh_sum(self.project(query)[:, :, None], keys))[..., 0]
