"""Self-attention among steps that are alike, found by hashing: its cost grows with n log n instead of n²."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.question import AttentionState, Question
from regard.attend.scope import Candidates, pick


class Hashed(nn.Module):
    """Steps whose keys fall into the same bucket, in any of several rounds of hashing.

        h(x) = argmax([x R; −x R]),  scope of step i = {j : h(key_j) = h(key_i)}

    Kitaev, Kaiser & Levskaya 2020, "Reformer", section 2: R is a random matrix for each round. Steps are sorted by
    bucket and place, cut into chunks, and see their own chunk and the one before it, as far as these are of their
    bucket, so that a large bucket costs no more than a small one (their figure 2). A step found in several rounds
    counts once, which is what their correction by the number of rounds comes to (appendix A). It sees itself only where
    it sees nothing else, since it would always be most like itself.

    For self-attention alone: query and key are one projection, `self_attention` sees to that. R is drawn from a fixed
    seed when the model is built and saved with it.
    """

    class Config(config.Config):
        """Steps with like keys, by locality-sensitive hashing."""

        type: Literal["lsh"] = "lsh"
        buckets: int = Field(16, ge=2, multiple_of=2)
        """How many; for n steps n / chunk is about right (Kitaev et al. 2020, section 2, m = 2 n / buckets)."""
        rounds: int = Field(4, ge=1)
        """Of hashing; 4 come near to full attention, 8 nearer (Kitaev et al. 2020, figure 4)."""
        chunk: int = Field(32, ge=1)
        """Steps of a chunk; each sees up to 2 · rounds · chunk others."""
        causal: bool = False
        """See no step after one's own."""

    stateless = True
    sums_to_one = True
    itself = True
    """queries are the keys: no scope for a decoder that attends to its source"""

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__()
        self.rounds, self.chunk, self.causal = config.rounds, config.chunk, config.causal
        draw = torch.Generator().manual_seed(query_dim)
        rotations = torch.randn(config.rounds, query_dim, config.buckets // 2, generator=draw)
        self.register_buffer("rotations", rotations)

    def start(self, places: Int[Tensor, "rows"]) -> AttentionState:
        return {}

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        question: Question,
    ) -> tuple[Candidates, AttentionState]:
        batch, steps = keys.shape[:2]
        assert question.query.shape[1] == steps, "every step asks, and none besides"
        buckets = self._buckets(question.query, valid)  # (batch, rounds, steps)
        found = torch.cat([self._round(part) for part in buckets.unbind(1)], 2)  # (batch, steps, candidates), −1: none
        order = found.sort(2).values
        own = torch.arange(steps, device=keys.device).expand(batch, steps)[..., None]
        seen = (order >= 0) & (order != own)
        seen[:, :, 1:] &= order[:, :, 1:] != order[:, :, :-1]  # found in several rounds: once
        if self.causal:
            seen &= order <= own
        if valid is not None:  # padding sees the first step, as it must see one, and is seen by nothing
            seen, own = seen & valid[..., None], own * valid[..., None]
        alone = ~seen.any(2, keepdim=True)
        return pick(keys, values, torch.cat([order, own], 2), torch.cat([seen, alone], 2)), {}

    def _buckets(
        self, query: Float[Tensor, "batch steps query"], valid: Bool[Tensor, "batch steps"] | None
    ) -> Int[Tensor, "batch rounds steps"]:
        """The bucket of each step; padding has one of its own, the last."""
        rotations = self.get_buffer("rotations").to(query)
        turned = torch.einsum("bsq,rqh->brsh", query.detach(), rotations)
        buckets = torch.cat([turned, -turned], -1).argmax(-1)
        return buckets if valid is None else buckets.masked_fill(~valid[:, None], 2 * rotations.shape[-1])

    def _round(self, buckets: Int[Tensor, "batch steps"]) -> Int[Tensor, "batch steps candidates"]:
        """For each step those of its bucket in its own chunk and the one before; −1 elsewhere."""
        steps = buckets.shape[1]
        order = buckets.argsort(dim=1, stable=True)  # by bucket, then by place
        sorted_buckets = buckets.gather(1, order)
        filled = -steps % self.chunk
        places = nn.functional.pad(order, (self.chunk, filled), value=-1).unflatten(1, (-1, self.chunk))
        names = nn.functional.pad(sorted_buckets, (self.chunk, filled), value=-1).unflatten(1, (-1, self.chunk))
        near = torch.cat([places[:, :-1], places[:, 1:]], 2)  # (batch, chunks, 2 · chunk)
        near_names = torch.cat([names[:, :-1], names[:, 1:]], 2)
        same = near_names[:, :, None] == names[:, 1:, :, None]  # (batch, chunks, chunk, 2 · chunk)
        found = near[:, :, None].masked_fill(~same, -1).flatten(1, 2)[:, :steps]  # in sorted order
        return torch.empty_like(found).scatter_(1, order[..., None].expand_as(found), found)
