"""Token embeddings."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.data.tokenizer import UNK
from regard.ops.noise import Noise


class Embedding(nn.Module):
    """A table of vectors, kept at length about one and read out √dim times longer.

    Vaswani et al. 2017, section 3.4: so that one table serves as input, with features of size one, and as output
    layer, with logits no larger than the features it is multiplied with.
    """

    def __init__(self, size: int, dim: int, *, open_ended: bool = False, drop: float = 0.0) -> None:
        """open_ended   ids of `size` or more are read as unknown (`data.source.unknown: hash`)
        drop         of words: one that is dropped is zero wherever the batch has it (Gal & Ghahramani 2016, 4.2)"""
        super().__init__()
        self.open_ended, self.drop = open_ended, drop
        self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        self.scale = dim**0.5

    @property
    def dim(self) -> int:
        return self.weight.shape[1]

    def forward(
        self, ids: Int[Tensor, "*shape"], noise: Noise | None = None, name: str = "words"
    ) -> Float[Tensor, "*shape dim"]:
        if self.open_ended:
            ids = ids.masked_fill(ids >= len(self.weight), UNK)
        vectors = nn.functional.embedding(ids, self.weight) * self.scale
        if noise is None or self.drop == 0.0:
            return vectors
        return vectors * noise.keep_mask(name, (len(self.weight), 1), self.drop, like=vectors)[ids]
