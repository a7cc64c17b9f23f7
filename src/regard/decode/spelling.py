"""Words that are known by how they are spelled, too."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.decode.embedding import Embedding
from regard.ops.noise import Noise

NONE = 0
"""The character that stands where a spelling has ended."""


class Spelling(config.Config):
    """A vector of each piece's characters beside its own."""

    dim: int = Field(16, ge=1)
    """Size of a character's vector; small, as there are few of them."""
    filters: int = Field(64, ge=1)
    """Features of a spelling; Seo et al. 2017 have 100."""
    width: int = Field(5, ge=1)
    """Characters that a feature sees at once; 5, as Seo et al."""


class SpelledEmbedding(Embedding):
    """Each piece's own vector and one of its characters, mixed by two highway layers.

        c = max over places of relu(convolution of the characters' vectors)
        y = highway(highway([w; c])),   highway(x) = g ∘ relu(U x) + (1 − g) ∘ x,  g = σ(V x)

    Kim 2014 for the convolution, Srivastava et al. 2015 for the layers; put together as in Seo et al. 2017,
    "Bidirectional attention flow", section 2, "character embedding layer" and "word embedding layer". A piece is the
    same wherever it stands, so that in training each is computed once a batch, and for search all are, once.

        table = SpelledEmbedding(Spelling(), spellings, dim=64)        # spellings (vocab, longest), 0 past an end
        table(ids)                                                     # (*ids.shape, table.dim)
    """

    def __init__(
        self, config: Spelling, spellings: Int[Tensor, "vocab longest"], dim: int, *, drop: float = 0.0
    ) -> None:
        super().__init__(len(spellings), dim, drop=drop)
        self.spellings: Tensor
        self.register_buffer("spellings", spellings, persistent=False)
        self.characters = nn.Embedding(int(spellings.max()) + 1, config.dim, padding_idx=NONE)
        self.filters = nn.Linear(config.width * config.dim, config.filters)
        self.width = config.width
        self.gates = nn.ModuleList(nn.Linear(self.dim, self.dim) for _ in range(2))
        self.changes = nn.ModuleList(nn.Linear(self.dim, self.dim) for _ in range(2))
        for gate in self.gates:
            nn.init.constant_(cast(nn.Linear, gate).bias, -1.0)  # at first things pass, as Srivastava et al. advise

    @property
    def dim(self) -> int:
        return self.weight.shape[1] + self.filters.out_features

    def forward(
        self, ids: Int[Tensor, "*shape"], noise: Noise | None = None, name: str = "words"
    ) -> Float[Tensor, "*shape dim"]:
        if not torch.is_grad_enabled():  # all at once, so that no text's numbers depend on the others'
            return F.embedding(ids, self.table())
        unlike, place = ids.unique(return_inverse=True)
        vectors = self._vectors(unlike, F.embedding(unlike, self.weight) * self.scale)
        if noise is not None and self.drop > 0.0:
            vectors = vectors * noise.keep_mask(name, (len(self.weight), 1), self.drop, like=vectors)[unlike]
        return F.embedding(place, vectors)

    def table(self) -> Float[Tensor, "vocab dim"]:
        """The vector of every piece."""
        return self._vectors(torch.arange(len(self.weight), device=self.weight.device), self.weight * self.scale)

    def fixed(self) -> "Fixed":
        """For search, whose weights do not change."""
        return Fixed(self.table().detach())

    def _vectors(self, ids: Int[Tensor, "pieces"], own: Float[Tensor, "pieces embed"]) -> Float[Tensor, "pieces dim"]:
        spelled = self.spellings[ids]
        spelled = spelled[:, : max(1, int((spelled != NONE).sum(1).max()))]
        padded = F.pad(self.characters(spelled), (0, 0, self.width // 2, (self.width - 1) // 2))
        windows = padded.unfold(1, self.width, 1).flatten(2)  # (pieces, places, dim · width)
        seen = torch.relu(self.filters(windows)).masked_fill((spelled == NONE)[..., None], 0.0)
        x = torch.cat([own, seen.amax(1)], -1)
        for gate, change in zip(self.gates, self.changes, strict=True):
            open_ = torch.sigmoid(gate(x))
            x = open_ * torch.relu(change(x)) + (1.0 - open_) * x
        return x


class Fixed(nn.Module):
    """A table that is only looked up."""

    def __init__(self, table: Float[Tensor, "vocab dim"]) -> None:
        super().__init__()
        self.rows = table

    def forward(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape dim"]:
        return F.embedding(ids, self.rows)
