"""Token embeddings."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Embedding(nn.Module):
    """A table of vectors, kept at length about one and read out √dim times longer.

    Vaswani et al. 2017, section 3.4: so that one table serves as input, with features of size one, and as output
    layer, with logits no larger than the features it is multiplied with.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        self.scale = dim**0.5

    @property
    def dim(self) -> int:
        return self.weight.shape[1]

    def forward(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape dim"]:
        return nn.functional.embedding(ids, self.weight) * self.scale
