"""What an objective is."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from regard.ops.noise import Noise

if TYPE_CHECKING:  # a recipe is read without them
    from regard.data.batches import Batch
    from regard.model import LossSums, Seq2Seq
    from regard.objectives.judge import Judge


class Objective:
    """What training minimises; a subclass says how, its docstring by which equation."""

    judges: ClassVar[bool] = True
    """whether it finds outputs and scores them"""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __call__(
        self,
        model: "Seq2Seq",
        batch: "Batch",
        noise: Noise,
        likelihood: "Callable[[], LossSums]",
        judge: "Judge | None",
    ) -> "LossSums":
        """What a batch gives.

        likelihood   computes its cross-entropy, with whatever the recipe adds to that
        judge        finds and scores outputs; there is one where `judges`
        """
        raise NotImplementedError

    def shared(
        self, likelihood: "Callable[[], LossSums]", own: Callable[[], Tensor], costs: list[list[float]]
    ) -> "LossSums":
        """The cross-entropy and a loss of one's own by their shares, with what outputs cost, for the report."""
        share = self.config.likelihood
        with torch.set_grad_enabled(share > 0):
            told = likelihood()
        loss = (1.0 - share) * own()
        if share:
            loss = loss + share * told.loss
        return replace(told, loss=loss, cost=sum(sum(each) / len(each) for each in costs), judged=len(costs))
