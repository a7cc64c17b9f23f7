"""What training, prediction and evaluation ask of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from torch import nn

from regard.data.batches import Batch, Examples
from regard.data.prepare import Pairs, Prepared
from regard.data.tokenizer import NOTHING, Tokenizer
from regard.decode.config import SearchConfig
from regard.model import LossSums
from regard.ops.noise import Noise
from regard.recipe import Recipe
from regard.score.metric import Metric


class Task(Protocol):
    """How a recipe's data is read, which parts are built, what is minimised, and what counts as good.

    A task owns no mathematics: parts and metrics are chosen here and written elsewhere.
    """

    summary: ClassVar[str]
    """one line for `regard list tasks`"""
    metrics: Mapping[str, bool]
    """what `validate` reports, and whether higher is better"""
    default_metric: str
    """what chooses the best model unless the recipe says otherwise"""

    def __init__(self, recipe: Recipe) -> None: ...

    def prepare(self, tokenizers: Mapping[str, Tokenizer] | None = None) -> Prepared:
        """Read and tokenise the training and validation data, with given tokenizers or new ones."""

    def build(self, tokenizers: Mapping[str, Tokenizer]) -> nn.Module:
        """The model, its first weights a function of the recipe's seed."""

    def training(self, prepared: Prepared, seed: int) -> Examples:
        """What is learned from: the training pairs, with what the recipe makes of them."""

    def loss(self, model: nn.Module, batch: Batch, noise: Noise | None, done: float = 1.0) -> LossSums:
        """Sums over the batch's target tokens. done   the share of training that lies behind"""

    def validate(self, model: nn.Module, prepared: Prepared, *, full: bool) -> dict[str, float]:
        """Metrics on the validation data; `full`: the recipe's own search on all of it."""

    def scorers(self) -> list[Metric]:
        """The metrics of texts, with the recipe's options."""

    def compared_by(self, search: SearchConfig) -> Metric | None:
        """The metric by which a search's outputs are compared with each other; an error where that makes no sense."""

    def examples(self, pairs: Pairs) -> tuple[list[str], list[list[str]]]:
        """Source texts, and for each the references that count as right."""

    def finish(
        self, tokens: Sequence[int], tokenizers: Mapping[str, Tokenizer], unnamed: Mapping[int, str] = NOTHING
    ) -> str:
        """The text of an output. unnamed   `Tokenizer.unnamed` of its source, for what was copied"""
