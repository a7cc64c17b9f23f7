"""Scopes that move over the source at a fixed rate, whatever the query."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.question import AttentionState, Question
from regard.attend.scope import Candidates, last_step, pick


class _Moving(nn.Module):
    """Step t stands at source step round(t · rate), past the source's end at the end; `causal`: and sees none after."""

    stateless = False
    sums_to_one = True

    def __init__(self, rate: float, causal: bool) -> None:
        super().__init__()
        self.rate, self.causal = rate, causal

    def start(self, places: Int[Tensor, "rows"]) -> AttentionState:
        return {"step": places}

    def around(self, centre: Int[Tensor, "batch queries"]) -> Int[Tensor, "batch queries candidates"]:
        """The steps that are seen from `centre`."""
        raise NotImplementedError

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        question: Question,
    ) -> tuple[Candidates, AttentionState]:
        last, step = last_step(keys, valid), question.state["step"]
        centre = (step.view(keys.shape[0], -1) * self.rate).round().long().minimum(last)
        positions = self.around(centre)  # (batch, queries, candidates)
        inside = (positions >= 0) & (positions <= (centre if self.causal else last)[..., None])
        return pick(keys, values, positions, inside), {"step": step + 1}


class FixedWindow(_Moving):
    """A window of 2 · width + 1 source steps that moves on by `rate` steps with every output token.

    Step t looks at round(t · rate) − width … round(t · rate) + width; past the source's end it stays at the end.
    Nothing outside is read or scored, so a step costs the same however long the source is.
    """

    class Config(config.Config):
        """A window that moves at a fixed rate."""

        type: Literal["window"] = "window"
        width: int = Field(10, ge=0)
        """Steps on each side of the centre; Luong et al. 2015, section 4, use D = 10."""
        rate: float = Field(1.0, gt=0)
        """Source steps the centre moves on by an output token; 1 = the monotonic alignment of local_m."""
        causal: bool = False
        """See no step after the centre: for attending to oneself."""

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__(config.rate, config.causal)
        self.width = config.width

    def around(self, centre: Int[Tensor, "batch queries"]) -> Int[Tensor, "batch queries candidates"]:
        return centre[..., None] + torch.arange(-self.width, self.width + 1, device=centre.device)


class LocalM(FixedWindow):
    """A window that moves on by one source step with every output token.

        p_t = t, weights = softmax over p_t − D … p_t + D

    Luong, Pham & Manning 2015, section 3.2, "local-m". Steps are counted from 0. Past the source's end the window
    stays there; the paper's would be empty.
    """

    class Config(config.Config):
        """A window that moves by one step a token."""

        type: Literal["local_m"] = "local_m"
        width: int = Field(10, ge=0)
        """Steps on each side of the centre; Luong et al. 2015, section 4, use D = 10."""

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__(FixedWindow.Config(width=config.width), query_dim=query_dim, dim=dim)


class Blocks(_Moving):
    """The source in blocks of equal size: the block one stands in, and some before and after it.

    The pattern of blockwise local attention (Luong et al.'s windows without overlap; Liu et al. 2018, arXiv:1801.10198,
    section 4.2.4, for self-attention): step t stands in block round(t · rate) // size.
    """

    class Config(config.Config):
        """Blocks of equal size, the one that a step stands in and its neighbours."""

        type: Literal["blocks"] = "blocks"
        size: int = Field(16, ge=1)
        """Steps of a block; 16, more than half of most sentences."""
        before: int = Field(1, ge=0)
        """Blocks before that are seen too; one, so that a block's first step looks back."""
        after: int = Field(0, ge=0)
        """Blocks after; none, the causal pattern, when attending to oneself."""
        rate: float = Field(1.0, gt=0)
        """Source steps that an output token moves on by; one, as `window`."""
        causal: bool = False
        """See no step after one's own: for attending to oneself."""

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__(config.rate, config.causal)
        self.size, self.before, self.after = config.size, config.before, config.after

    def around(self, centre: Int[Tensor, "batch queries"]) -> Int[Tensor, "batch queries candidates"]:
        first = (torch.div(centre, self.size, rounding_mode="floor") - self.before) * self.size
        return first[..., None] + torch.arange((self.before + 1 + self.after) * self.size, device=centre.device)


class Past(_Moving):
    """Everything up to where one stands: the causal mask of self-attention.

    Vaswani et al. 2017, section 3.2.3. As the scope of a decoder's attention, step t sees source steps 0 … t.
    """

    class Config(config.Config):
        """All steps up to one's own."""

        type: Literal["past"] = "past"

    def __init__(self, config: Config, *, query_dim: int, dim: int) -> None:
        super().__init__(1.0, True)

    def forward(
        self,
        keys: Float[Tensor, "batch src_len attn"],
        values: Float[Tensor, "batch src_len dim"],
        valid: Bool[Tensor, "batch src_len"] | None,
        question: Question,
    ) -> tuple[Candidates, AttentionState]:
        step = question.state["step"]
        centre = step.view(keys.shape[0], -1).minimum(last_step(keys, valid))  # (batch, queries)
        seen = torch.arange(keys.shape[1], device=keys.device) <= centre[..., None]
        return Candidates(keys, values, seen), {"step": step + 1}
