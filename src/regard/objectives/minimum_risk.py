"""Minimum risk training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from regard import config
from regard.data.batches import Batch
from regard.model import LossSums, Seq2Seq
from regard.objectives.judge import Judge, Objective, log_likelihoods
from regard.ops.noise import Noise


class MinimumRisk(Objective):
    """What outputs are expected to cost by a metric, over some that are drawn from the model.

        risk = Σ_y Q(y) Δ(y),  Q(y) = p(y)^α / Σ_y′ p(y′)^α,  Δ(y) = 1 − metric / 100

    Shen et al. 2016, "Minimum risk training for neural machine translation" (arXiv:1512.02433), section 3; y goes
    over the different ones of `samples` outputs and, with `reference`, the target. The likelihood has its share
    (Edunov et al. 2018, "Classical structured prediction losses for sequence to sequence learning", combined losses). A
    sentence's risk counts as much as a token's cross-entropy does on average.
    """

    class Config(config.Config):
        """What outputs are expected to cost."""

        type: Literal["minimum_risk"] = "minimum_risk"
        metric: str | None = None
        """A metric of texts, of single sentences; null: the task's own."""
        samples: int = Field(8, ge=2)
        """Outputs drawn of each source; time and memory grow with them. 100 in the paper, 16 in Edunov et al."""
        sharpness: float = Field(0.005, gt=0)
        """α: 0.005 in the paper, where Q is nearly flat; 1 weighs outputs as the model does."""
        reference: bool = False
        """Whether the target is among them; Edunov et al. find that it does harm."""
        likelihood: float = Field(0.3, ge=0, lt=1)
        """Share of the likelihood in the loss, which keeps outputs fluent."""

    def __call__(
        self, model: Seq2Seq, batch: Batch, noise: Noise, likelihood: Callable[[], LossSums], judge: Judge | None
    ) -> LossSums:
        """The batch's cross-entropy and this, by their shares; what is reported besides is the former's."""
        assert judge is not None
        share = self.config.likelihood
        with torch.set_grad_enabled(share > 0):
            told = likelihood()
        outputs = [[*dict.fromkeys(several)] for several in judge.sampled(model, batch, self.config.samples, noise)]
        if self.config.reference:
            right = judge.references(batch)
            outputs = [[*dict.fromkeys([*several, own])] for several, own in zip(outputs, right, strict=True)]
        costs = [told.loss.new_tensor(each) for each in judge.costs(outputs, batch)]
        found = log_likelihoods(model, batch, outputs)
        risks = [expected_cost(*each, self.config.sharpness) for each in zip(found, costs, strict=True)]
        mean = torch.stack(risks).mean()
        return replace(told, loss=share * told.loss + (1.0 - share) * batch.tokens * mean)


def expected_cost(
    log_p: Float[Tensor, "outputs"], costs: Float[Tensor, "outputs"], sharpness: float
) -> Float[Tensor, ""]:
    """Σ_y Q(y) Δ(y) of one source's outputs."""
    return (sharpness * log_p).softmax(0) @ costs
