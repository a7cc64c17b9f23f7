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
from regard.ops.squash import sigmoid


class Monotonic(Normalizer):
    """Stop at each source step with probability σ(score), starting where the last token stopped.

        p_ij = σ(g e_ij + r),  α_ij = p_ij Σ_{k ≤ j} α_{i−1,k} Π_{k ≤ l < j} (1 − p_il)

    Raffel et al. 2017, "Online and linear-time attention by enforcing monotonic alignments", equations 9 to 14 and, for
    the scale g and the offset r, section 2.4; α_0 is the first step. In training p gets noise before the sigmoid
    (section 2.5), so that it learns to be near 0 or 1. What ran past the end has weight nowhere, then and for all later
    tokens.

    mode: expected   the weights above
    mode: hard       p_ij > 1/2 stops: one step, or none (algorithm 1, with the likelier of stopping and going on)

    Unlike the paper the energy's vector is not normalized, and g starts at 1. The expected mode computes the sum above
    for all j at once, which holds steps × steps numbers for each token; the hard mode takes one pass over the source.
    """

    class Config(config.Config):
        """Stops at one step after the other, never going back."""

        type: Literal["monotonic"] = "monotonic"
        mode: Literal["expected", "hard"] = "expected"
        """Outside training; in training always expected. Expected is what training optimises; hard needs no source step
        past the one that it stops at, and is as good where the noise has made p sharp."""
        noise: float = Field(1.0, ge=0)
        """Standard deviation of the noise in training; Raffel et al. 2017, section 2.5, use 1."""
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
        before = question.state["stopped"].view_as(scores)
        energy = self.scale * scores + self.offset
        if question.noise is None and self.mode == "hard":
            stop = (energy > 0) & (before.cumsum(-1) > 0)  # from the last stop on
            if valid is not None:
                stop &= valid
            return (stop & (stop.cumsum(-1) == 1)).to(scores)  # the first of them
        if question.noise is not None and self.noise > 0:
            energy = energy + self.noise * question.noise.normal("energy", like=energy)
        stop_prob, log_on = sigmoid(energy), F.logsigmoid(-energy)
        if valid is not None:
            stop_prob, log_on = stop_prob.masked_fill(~valid, 0.0), log_on.masked_fill(~valid, 0.0)
        return stop_prob * (going_on(log_on) @ before[..., None])[..., 0]

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
        ends = F.pad(u, (self.chunk - 1, 0), value=float("-inf")).unfold(-1, self.chunk, 1)  # row k: the chunk before k
        # A chunk of padding alone has no softmax: nothing stops there, so that its weights do not matter.
        ends = torch.where((ends == float("-inf")).all(-1, keepdim=True), 0.0, ends).softmax(-1)
        shares = stopped[..., None] * ends
        weights = shares.new_zeros(*u.shape[:-1], steps + self.chunk - 1)
        for place in range(self.chunk):
            weights = weights + F.pad(shares[..., place], (place, self.chunk - 1 - place))
        return Answer(weights[..., self.chunk - 1 :], {"stopped": stopped.flatten(0, 1)})


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
