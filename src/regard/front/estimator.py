"""The one estimator: data to a recipe, a recipe to a run, a run to answers, in scikit-learn's terms."""

from __future__ import annotations

import inspect
import io
import json
import shutil
import tarfile
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from regard.errors import RegardError
from regard.front.answers import Answers
from regard.front.columns import same_length, texts_of
from regard.predict import Predictor, load
from regard.recipe import Recipe, load_recipe
from regard.score.metric import Metric
from regard.train.run import train
from regard.train.runfolder import Run

LEAST = 10
"""With fewer rows than this the training rows are the validation rows too."""
KEPT = ("checkpoint", "lock")
"""What of a run's folder `save` leaves out: what only training needs."""


CAREFULLY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""No path outside the folder, no odd files; before Python 3.11.4 there is no such choice."""


class Estimator:
    """A model that learns from rows and answers rows; a subclass says for which task.

        model = regard.Translator(settings={"train.epochs": 5}).fit(german, english)
        model.predict(["ein Hund läuft ."])
        model.set_params(model__encoder__hidden=128)      # any key of the recipe, __ for the dot

    recipe       whose settings are taken: the name of one that Regard ships, a path, or a Recipe; None: the class's own
                 `defaults`. Its data files are not read.
    settings     changes of the recipe: {"train.epochs": 5, "model.encoder": {"hidden": 128}}
    run          folder of the run, kept; None: a temporary one, which goes with the estimator
    validation   share of the rows that chooses the best weights, drawn by `seed`; `fit` may be given others
    seed         of weights, batches, dropout, and what is held out
    verbose      show training as the command line does

    It has scikit-learn's contract (`get_params`, `set_params`, `clone`, `Pipeline`, `cross_val_score`,
    `GridSearchCV`) and does not need scikit-learn.
    """

    task: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    """A recipe's values, but for the data's place"""

    def __init__(
        self,
        recipe: str | Path | Recipe | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        run: str | Path | None = None,
        validation: float = 0.1,
        seed: int = 1,
        verbose: bool = False,
    ) -> None:
        self.recipe, self.settings, self.run = recipe, settings, run
        self.validation, self.seed, self.verbose = validation, seed, verbose

    # What scikit-learn asks

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; `deep`, each setting besides, with __ for the dot."""
        found = {name: getattr(self, name) for name in _arguments(type(self))}
        nested = {key.replace(".", "__"): value for key, value in (self.settings or {}).items()}
        return {**found, **nested} if deep else found

    def set_params(self, **changes: Any) -> Self:
        """Change arguments, or with __ in their names any key of the recipe: `train__epochs=5`."""
        names, settings = _arguments(type(self)), dict(self.settings or {})
        for key, value in changes.items():
            if key in names:
                setattr(self, key, value)
                settings = dict(self.settings or {}) if key == "settings" else settings
            elif "__" in key:
                settings[key.replace("__", ".")] = value
            else:
                raise RegardError(
                    f"{type(self).__name__} has no parameter {key!r}; it has {', '.join(names)}, and keys of the "
                    "recipe with __ for the dot, such as train__epochs."
                )
        if settings != dict(self.settings or {}):
            self.settings = settings
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=self._supervised),
            input_tags=InputTags(two_d_array=False, string=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "predictor_", None) is not None

    def __repr__(self) -> str:
        given = inspect.signature(type(self)).parameters
        parts = [f"{name}={value!r}" for name, value in self.get_params(False).items() if value != given[name].default]
        return f"{type(self).__name__}({', '.join(parts)})"

    _estimator_type: ClassVar[str | None] = None
    _supervised: ClassVar[bool] = True

    # Learning

    def fit(self, X: Any, y: Any = None, *, X_valid: Any = None, y_valid: Any = None) -> Self:
        """Train on rows: lists, NumPy arrays, pandas columns or frames, `datasets` columns or sets.

        X_valid, y_valid   rows that choose the best weights; default: a share of X and y
        """
        if not 0.0 < self.validation < 1.0:
            raise RegardError(f"validation is {self.validation}, expected a share between 0 and 1.")
        if self.run is not None and Run(self.run).has_begun:
            raise RegardError(
                f"run: {self.run} holds a run, which another fit would not change: choose another folder, or None."
            )
        rows, held_out = self._split(*self._read(X, y), X_valid, y_valid)
        self._close()
        place = self._new_folder()
        self._write(place, {"train": rows, "valid": held_out})
        recipe = self._recipe(place)
        found = train(recipe, self.run or place / "run", console=self._console())
        self._open(found.path)
        return self

    def _read(self, X: Any, y: Any) -> tuple[list[str], Sequence[Any]]:
        """Sources and targets; a target is a text, or several that are right."""
        if y is None:
            raise RegardError(f"{type(self).__name__}.fit needs y: what is right for each row of X.")
        return self._sources(X), texts_of(y, "y")

    def _sources(self, X: Any) -> list[str]:
        return texts_of(X, "X")

    def _split(self, X: list[str], y: Sequence[Any], X_valid: Any, y_valid: Any) -> tuple[list[Any], list[Any]]:
        same_length(X, y)
        rows = list(zip(X, y, strict=True))
        if X_valid is not None:
            others = self._read(X_valid, y_valid)
            same_length(*others)
            return rows, list(zip(*others, strict=True))
        if len(rows) < LEAST:
            return rows, rows
        order = np.random.default_rng(self.seed).permutation(len(rows))
        held_out = set(order[: max(1, round(self.validation * len(rows)))].tolist())
        return [row for i, row in enumerate(rows) if i not in held_out], [rows[i] for i in sorted(held_out)]

    def _recipe(self, place: Path) -> Recipe:
        """The recipe with the data where it was put."""
        if self.recipe is None:
            values = {"task": self.task, **json.loads(json.dumps(self.defaults))}
        else:
            base = self.recipe if isinstance(self.recipe, Recipe) else load_recipe(self.recipe)
            values = base.to_dict()
        if values["task"] != self.task:
            raise RegardError(f"recipe is for task {values['task']}, and {type(self).__name__} does {self.task}.")
        values = self._recipe_values(values)
        values = {**values, "about": {}, "seed": self.seed, "data": self._data(dict(values.get("data", {})), place)}
        changes = [f"{key}={json.dumps(value)}" for key, value in (self.settings or {}).items()]
        for change in changes:
            if change.startswith(("data.train", "data.valid", "data.test", "data.root", "seed", "task")):
                raise RegardError(f"settings: {change.partition('=')[0]} is what fit is given; leave it out.")
        return Recipe.from_dict(values, changes)

    def _recipe_values(self, values: dict[str, Any]) -> dict[str, Any]:
        """What else the data settles."""
        return values

    def _data(self, data: dict[str, Any], place: Path) -> dict[str, Any]:
        """The data section of a recipe, with these files in the place of its own."""
        kept = {"source", "target", "shared_vocabulary", "max_length"}
        return {
            **{key: value for key, value in data.items() if key in kept},
            **{"root": str(place), "cache": str(place / "cache"), "max_bad_fraction": 1.0},
            **{"source_column": "source", "target_column": "target"},
            **{split: {"table": f"{split}.jsonl"} for split in ("train", "valid")},
        }

    def _console(self) -> Any:
        from rich.console import Console

        return Console(quiet=not self.verbose)

    @staticmethod
    def _write(place: Path, splits: Mapping[str, Sequence[tuple[str, Any]]]) -> None:
        """The rows as files of the recipe."""
        for name, rows in splits.items():
            with (place / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                for source, target in rows:
                    file.write(json.dumps({"source": source, "target": target}) + "\n")

    # Answering

    @property
    def run_(self) -> Run:
        """The run that was trained: its scores, recipe, log."""
        return self._fitted().members[0].run

    def predict(self, X: Any, **options: Any) -> Any:
        """The best output of each row; options as in `Predictor.predict` (beam=, n_best is 1)."""
        sources = self._sources(X)
        return Answers(self._fitted()(sources, **options), sources)

    def explain(self, X: Any, **options: Any) -> Answers:
        """`predict`, with scores and attention in `details`; a notebook shows them."""
        sources = self._sources(X)
        found = [best for best, *_ in self._fitted().predict(sources, attention=True, **options)]
        return Answers([one.text for one in found], sources, found)

    def score(self, X: Any, y: Any) -> float:
        """The task's metric of the outputs, such that more is better: an error rate is negative."""
        sources, targets = self._read(X, y)
        same_length(sources, targets)
        metric = self._metric()
        target = self._fitted().tokenizers["target"]
        references = [[right] if isinstance(right, str) else right for right in targets]
        cleaned = [[target.normalize(text) for text in several] for several in references]
        value = metric.corpus(list(self._fitted()(sources)), cleaned)
        return value if metric.higher_is_better else -value

    def _metric(self) -> Metric:
        return next(one for one in self._fitted().task.scorers() if one.name == self._fitted().task.default_metric)

    def _fitted(self) -> Predictor:
        predictor: Predictor | None = getattr(self, "predictor_", None)
        if predictor is None:
            raise RegardError(f"this {type(self).__name__} has learned nothing yet: call fit first.")
        return predictor

    # Keeping

    def save(self, path: str | Path) -> Path:
        """Write the run's folder, which `regard.load(path)`, `load` of this class and the command line read."""
        source, path = self.run_.path, Path(path)
        if path.exists():
            raise RegardError(f"{path} is there already: choose another folder.")
        shutil.copytree(source, path, ignore=shutil.ignore_patterns(*KEPT))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator of a run's folder, ready to predict."""
        model = cls()
        model._open(Path(path))
        task = model.run_.recipe.task
        if task != cls.task:
            raise RegardError(f"{path} is a run of task {task}, and {cls.__name__} does {cls.task}.")
        return model

    def _open(self, path: Path) -> None:
        self.predictor_ = load(path)

    def _new_folder(self) -> Path:
        """A temporary one, which goes when the estimator does, or has another."""
        place = Path(tempfile.mkdtemp(prefix="regard-"))
        self._folder = weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        return place

    def _close(self) -> None:
        folder = self.__dict__.pop("_folder", None)
        if folder is not None:
            folder()

    def __getstate__(self) -> dict[str, Any]:
        """With the files of its run, so that a pickled pipeline is whole."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("predictor_", "_folder")}
        if self.__sklearn_is_fitted__():
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                for path in sorted(self.run_.path.iterdir()):
                    if path.name not in KEPT:
                        archive.add(path, path.name)
            state["_packed"] = packed.getvalue()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed = state.pop("_packed", None)
        self.__dict__.update(state)
        if packed is not None:
            place = self._new_folder() / "run"
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(place, **CAREFULLY)
            self._open(place)


def _arguments(of: type) -> list[str]:
    return [name for name in inspect.signature(of).parameters if name != "self"]
