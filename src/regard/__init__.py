"""Regard: attentive recurrent sequence models.

What users may rely on, loaded when first used, so that `import regard` costs milliseconds:

    import regard
    run = regard.train("demo-cmudict")            # a recipe's name, a path to YAML, or a Recipe
    predictor = regard.load(run.path)
    predictor(["attention"])
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_HOMES = {
    "RegardError": "regard.errors",
    "Recipe": "regard.recipe",
    "load_recipe": "regard.recipe",
    "Run": "regard.train.runfolder",
    "load": "regard.predict",
    "Predictor": "regard.predict",
    "search": "regard.decode.search",
    "SearchConfig": "regard.decode.config",
    "Hypothesis": "regard.decode.outputs",
    "METRICS": "regard.score",
    "from_hub": "regard.export",
    **dict.fromkeys(("Translator", "Summarizer", "Transducer", "Classifier", "Reader", "Writer"), "regard.front"),
}

__all__ = [
    "METRICS",
    "Classifier",
    "Hypothesis",
    "Predictor",
    "Reader",
    "Recipe",
    "RegardError",
    "Run",
    "SearchConfig",
    "Summarizer",
    "Transducer",
    "Translator",
    "Writer",
    "__version__",
    "from_hub",
    "load",
    "load_recipe",
    "search",
    "train",
]

if TYPE_CHECKING:
    from regard.decode.config import SearchConfig
    from regard.decode.outputs import Hypothesis
    from regard.decode.search import search
    from regard.errors import RegardError
    from regard.export import from_hub
    from regard.front import Classifier, Reader, Summarizer, Transducer, Translator, Writer
    from regard.predict import Predictor, load
    from regard.recipe import Recipe, load_recipe
    from regard.score import METRICS
    from regard.train.run import train
    from regard.train.runfolder import Run


class _TrainFolder(ModuleType):
    """`regard.train` is a folder of the package, and what users call: regard.train(recipe)."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from regard.train.run import train

        return train(*args, **options)


importlib.import_module("regard.train").__class__ = _TrainFolder


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
