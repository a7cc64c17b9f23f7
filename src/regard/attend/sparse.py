"""Normalizers that leave steps out altogether."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from regard import config
from regard.attend.normalizers import Normalizer, only_valid
from regard.attend.question import Answer, Question
from regard.ops.sparse import entmax15, sparsemax


class Sparsemax(Normalizer):
    """The scores' projection onto the simplex; a few steps have all the weight.

        weights = argmin ‖w − score‖², w ≥ 0, Σ w = 1

    Martins & Astudillo 2016, equation 2.
    """

    class Config(config.Config):
        """Zero where scores are far below the best."""

        type: Literal["sparsemax"] = "sparsemax"

    def __init__(self, config: Config, *, query_dim: int) -> None:
        super().__init__()

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        return Answer(sparsemax(only_valid(scores, valid)))


class Entmax15(Normalizer):
    """1.5-entmax: zero far below the best, smooth near it.

        weights = argmax w · score + H₁.₅(w), w ≥ 0, Σ w = 1

    Peters, Niculae & Martins 2019, equation 10 (α = 1.5), the Tsallis entropy of their equation 9.
    """

    class Config(config.Config):
        """Halfway between softmax and sparsemax."""

        type: Literal["entmax15"] = "entmax15"

    def __init__(self, config: Config, *, query_dim: int) -> None:
        super().__init__()

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        return Answer(entmax15(only_valid(scores, valid)))
