"""Self-critical sequence training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from regard import config
from regard.objectives.judge import log_likelihoods
from regard.objectives.objective import Objective
from regard.ops.noise import Noise

if TYPE_CHECKING:
    from regard.data.batches import Batch
    from regard.model import LossSums, Seq2Seq
    from regard.objectives.judge import Judge


class SelfCritical(Objective):
    """Outputs drawn from the model become likelier as far as they are better than what it would have said.

        loss = −1/k Σ_y (r(y) − b) log p(y),  r = 1 − cost,  b = r(greedy output), or the mean of the other k − 1

    Rennie et al. 2017, "Self-critical sequence training for image captioning" (arXiv:1612.00563), section 3;
    `others` is Luo 2020, "A better variant of self-critical sequence training" (arXiv:2003.09971). The likelihood has
    its share; costs are `Judge.costs`.
    """

    class Config(config.Config):
        """Better outputs than those of greedy search become likelier."""

        type: Literal["self_critical"] = "self_critical"
        metric: str | None = None
        """A metric of texts, of single sentences; null: the task's own."""
        samples: int = Field(5, ge=1, le=1000)
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
        self,
        model: "Seq2Seq",
        batch: "Batch",
        noise: Noise,
        likelihood: "Callable[[], LossSums]",
        judge: "Judge | None",
    ) -> "LossSums":
        """The criticism of every sentence, and the cross-entropy, by their shares."""
        assert judge is not None
        count = self.config.samples
        outputs = judge.sampled(model, batch, count, noise)
        costs = judge.costs(outputs, batch)
        if self.config.baseline == "greedy":
            against = judge.costs([[one] for one in judge.greedy(model, batch)], batch)
        else:
            against = [[(sum(each) - cost) / (count - 1) for cost in each] for each in costs]

        def criticism() -> Tensor:
            log_p = torch.stack(log_likelihoods(model, batch, outputs))  # (sentences, samples)
            return ((log_p.new_tensor(costs) - log_p.new_tensor(against)) * log_p).sum() / count

        return self.shared(likelihood, criticism, costs)
