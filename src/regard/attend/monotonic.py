"""Attention that only moves forward: each output token looks where the last one did, or further on."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.normalizers import Normalizer, only_valid
from regard.attend.question import Answer, AttentionState, Question


class Monotonic(Normalizer):
    """Stop at each source step with probability σ(score), starting where the last token stopped.

        p_ij = σ(g e_ij + r),  α_ij = p_ij Σ_{k ≤ j} α_{i−1,k} Π_{k ≤ l < j} (1 − p_il)

    Raffel et al. 2017, "Online and linear-time attention by enforcing monotonic alignments", equations 8 to 11 and, for
    the scale g and the offset r, 16; α_0 is the first step. In training p gets noise before the sigmoid (section 2.4),
    so that it learns to be near 0 or 1. What ran past the end has weight nowhere, then and for all later tokens.

    mode: expected   the weights above
    mode: hard       p_ij > 1/2 stops: one step, or none (algorithm 1, with the likelier of stopping and going on)

    Unlike the paper the energy's vector is not normalized, and g starts at 1.
    """

    class Config(config.Config):
        """Stops at one step after the other, never going back."""

        type: Literal["monotonic"] = "monotonic"
        mode: Literal["expected", "hard"] = "expected"
        """Outside training; in training always expected. Expected is what training optimises; hard needs no source step
        past the one that it stops at, and is as good where the noise has made p sharp."""
        noise: float = Field(1.0, ge=0)
        """Standard deviation of the noise in training; Raffel et al. 2017, section 2.4, use 1."""
        offset: float = -1.0
        """What r starts at; below 0, so that attention does not stop at once (Raffel et al. 2017, section 2.4)."""

    sums_to_one = False
    stateless = False
    whole_source = True

    def __init__(self, config: Config, *, query_dim: int) -> None:
        super().__init__()
        self.mode, self.noise = config.mode, config.noise
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(config.offset))

    def start(self, like: Float[Tensor, "rows src_len"]) -> AttentionState:
        first = torch.zeros_like(like)
        first[:, 0] = 1.0
        return {"stopped": first}

    def stops(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Float[Tensor, "batch queries steps"]:
        """α, where attention stops."""
        energy = self.scale * scores + self.offset
        if question.noise is not None and self.noise > 0:
            energy = energy + self.noise * question.noise.normal("energy", like=energy)
        if question.noise is None and self.mode == "hard":
            stop = (energy > 0).to(energy)
            log_on = torch.where(energy > 0, float("-inf"), 0.0).to(energy)
        else:
            stop, log_on = torch.sigmoid(energy), F.logsigmoid(-energy)
        if valid is not None:
            stop, log_on = stop.masked_fill(~valid, 0.0), log_on.masked_fill(~valid, 0.0)
        before = question.state["stopped"].view_as(scores)
        return stop * (going_on(log_on) @ before[..., None])[..., 0]

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        stopped = self.stops(scores, valid, question)
        return Answer(stopped, {"stopped": stopped.flatten(0, 1)})


class Mocha(Monotonic):
    """Soft attention over a chunk that ends where monotonic attention stops.

        β_ij = Σ_{k=j}^{j+w−1} α_ik exp(u_ij) / Σ_{l=k−w+1}^{k} exp(u_il)

    Chiu & Raffel 2018, "Monotonic chunkwise attention", equations 20 to 23: α as in `monotonic`, u a second score with
    weights of its own, w the chunk's size.
    """

    class Config(config.Config):
        """Soft attention over a chunk before the step that monotonic attention stops at."""

        type: Literal["mocha"] = "mocha"
        chunk: int = Field(4, ge=1)
        """w, source steps; Chiu & Raffel 2018, section 4, find small ones, 2 to 8, enough."""
        mode: Literal["expected", "hard"] = "expected"
        """As in `monotonic`."""
        noise: float = Field(1.0, ge=0)
        """As in `monotonic`."""
        offset: float = -1.0
        """As in `monotonic`."""

    scores = 2

    def __init__(self, config: Config, *, query_dim: int) -> None:
        stops = Monotonic.Config(mode=config.mode, noise=config.noise, offset=config.offset)
        super().__init__(stops, query_dim=query_dim)
        self.chunk = config.chunk

    def forward(
        self,
        scores: Float[Tensor, "kinds batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        stopped = self.stops(scores[0], valid, question)
        u, steps = only_valid(scores[1], valid), scores.shape[-1]
        # Chunk k as a row of steps: only what is in it has a weight, and each row is a softmax of its own.
        ends = torch.arange(steps, device=u.device)[:, None]
        inside = (ends - self.chunk < ends.T) & (ends >= ends.T)  # (ends, steps)
        chunks = u[..., None, :].masked_fill(~inside, float("-inf"))
        # A chunk that ends in padding may have no real step: nothing stops there, so its weights do not matter.
        chunks = torch.where((chunks == float("-inf")).all(-1, keepdim=True), 0.0, chunks).softmax(-1)
        return Answer((stopped[..., None, :] @ chunks)[..., 0, :], {"stopped": stopped.flatten(0, 1)})


def going_on(log_on: Float[Tensor, "*rows steps"]) -> Float[Tensor, "*rows steps steps"]:
    """Element (j, k) = Π_{k ≤ l < j} exp(log_on_l) for k ≤ j, else 0: the chance to come from k to j.

    Sums from each k on rather than differences of one running sum: they stay exact where a factor is nearly 0, and
    have gradients there.
    """
    steps = torch.arange(log_on.shape[-1], device=log_on.device)
    earlier = steps[:, None] >= steps[None, :]  # row ≥ column
    from_k = torch.where(earlier, log_on[..., :, None], 0.0).cumsum(-2)  # row j: Σ_{k ≤ l ≤ j}
    summed = F.pad(from_k[..., :-1, :], (0, 0, 1, 0))  # row j: Σ_{k ≤ l < j}
    return summed.exp().masked_fill(~earlier, 0.0)
