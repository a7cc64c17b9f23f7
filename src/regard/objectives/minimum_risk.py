"""Minimum risk training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from regard import config
from regard.data.tokenizer import PAD
from regard.objectives.judge import log_likelihoods
from regard.objectives.objective import Objective
from regard.ops.noise import Noise

if TYPE_CHECKING:
    from regard.data.batches import Batch
    from regard.model import LossSums, Seq2Seq
    from regard.objectives.judge import Judge


class MinimumRisk(Objective):
    """What outputs are expected to cost by a metric, over some that are drawn from the model.

        risk = Σ_y Q(y) Δ(y),  Q(y) = p(y)^α / Σ_y′ p(y′)^α

    Shen et al. 2016, "Minimum risk training for neural machine translation" (arXiv:1512.02433), section 3; y goes
    over the different ones of `samples` outputs, Δ is `Judge.costs`. A sentence's risk counts as often as its target
    has tokens, as its cross-entropy does, which has a share in the loss (Edunov et al. 2018, "Classical structured
    prediction losses for sequence to sequence learning").
    """

    class Config(config.Config):
        """What outputs are expected to cost."""

        type: Literal["minimum_risk"] = "minimum_risk"
        metric: str | None = None
        """A metric of texts, of single sentences; null: the task's own."""
        samples: int = Field(8, ge=2, le=1000)
        """Outputs drawn of each source; time and memory grow with them. 100 in the paper, 16 in Edunov et al."""
        sharpness: float = Field(1.0, gt=0)
        """α: 1 weighs outputs as the model does; 0.005 in the paper, where Q is nearly flat."""
        likelihood: float = Field(0.3, ge=0, lt=1)
        """Share of the likelihood in the loss, which keeps outputs fluent."""

    def __call__(
        self,
        model: "Seq2Seq",
        batch: "Batch",
        noise: Noise,
        likelihood: "Callable[[], LossSums]",
        judge: "Judge | None",
    ) -> "LossSums":
        """The risk of each sentence times its target's tokens, and the cross-entropy, by their shares."""
        assert judge is not None
        drawn = judge.sampled(model, batch, self.config.samples, noise)
        outputs = [[*dict.fromkeys(several)] for several in drawn]
        costs, lengths = judge.costs(outputs, batch), (batch.target_out != PAD).sum(1)

        def risk() -> Tensor:
            found = log_likelihoods(model, batch, outputs)
            lost = [log_p.new_tensor(each) for log_p, each in zip(found, costs, strict=True)]
            risks = [expected_cost(*each, self.config.sharpness) for each in zip(found, lost, strict=True)]
            return torch.stack(risks) @ lengths.to(risks[0])

        return self.shared(likelihood, risk, costs)


def expected_cost(
    log_p: Float[Tensor, "outputs"], costs: Float[Tensor, "outputs"], sharpness: float
) -> Float[Tensor, ""]:
    """Σ_y Q(y) Δ(y) of one source's outputs."""
    return (sharpness * log_p).softmax(0) @ costs
