"""Maximum likelihood."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from regard import config
from regard.objectives.objective import Objective
from regard.ops.noise import Noise

if TYPE_CHECKING:
    from regard.data.batches import Batch
    from regard.model import LossSums, Seq2Seq
    from regard.objectives.judge import Judge


class Likelihood(Objective):
    """The likelihood of references, each token told those before it: cross-entropy."""

    class Config(config.Config):
        """The likelihood of references."""

        type: Literal["likelihood"] = "likelihood"

    judges = False

    def __call__(
        self,
        model: "Seq2Seq",
        batch: "Batch",
        noise: Noise,
        likelihood: "Callable[[], LossSums]",
        judge: "Judge | None",
    ) -> "LossSums":
        """The cross-entropy."""
        return likelihood()
