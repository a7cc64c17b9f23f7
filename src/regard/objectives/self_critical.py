"""Self-critical sequence training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from regard import config
from regard.data.batches import Batch
from regard.model import LossSums, Seq2Seq
from regard.objectives.judge import Judge, Objective, log_likelihoods
from regard.ops.noise import Noise


class SelfCritical(Objective):
    """Outputs drawn from the model become likelier as far as they are better than what it would have said.

        loss = −1/k Σ_y (r(y) − b) log p(y),  r = metric / 100,  b = r(greedy output), or the mean of the other k − 1

    Rennie et al. 2017, "Self-critical sequence training for image captioning" (arXiv:1612.00563), section 3;
    `others` is Luo 2020, "A better variant of self-critical sequence training" (arXiv:2003.09971). The likelihood has
    its share.
    """

    class Config(config.Config):
        """Better outputs than those of greedy search become likelier."""

        type: Literal["self_critical"] = "self_critical"
        metric: str | None = None
        """A metric of texts, of single sentences; null: the task's own."""
        samples: int = Field(5, ge=1)
        """k, outputs drawn of each source; 1 in Rennie et al., 5 in Luo."""
        baseline: Literal["greedy", "others"] = "others"
        """What an output is compared with: the greedy one, or the other samples, which costs no search of its own."""
        likelihood: float = Field(0.3, ge=0, lt=1)
        """Share of the likelihood in the loss; 0 in both papers."""

        @model_validator(mode="after")
        def _several(self) -> Self:
            if self.baseline == "others" and self.samples < 2:
                raise ValueError("baseline others compares samples, and there is one: set samples to 2 or more")
            return self

    def __call__(
        self, model: Seq2Seq, batch: Batch, noise: Noise, likelihood: Callable[[], LossSums], judge: Judge | None
    ) -> LossSums:
        """The batch's cross-entropy and this, by their shares; what is reported besides is the former's."""
        assert judge is not None
        share, count = self.config.likelihood, self.config.samples
        with torch.set_grad_enabled(share > 0):
            told = likelihood()
        outputs = judge.sampled(model, batch, count, noise)
        costs = told.loss.new_tensor(judge.costs(outputs, batch))  # (sentences, samples)
        if self.config.baseline == "greedy":
            against = told.loss.new_tensor(judge.costs([[one] for one in judge.greedy(model, batch)], batch))
        else:
            against = (costs.sum(1, keepdim=True) - costs) / (count - 1)
        log_p = torch.stack(log_likelihoods(model, batch, outputs))
        criticism = -((against - costs) * log_p).sum() / count
        return replace(told, loss=share * told.loss + (1.0 - share) * criticism)
