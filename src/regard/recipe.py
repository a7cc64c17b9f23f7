"""The recipe: one typed, frozen value that says everything about a training run.

A YAML file fills it in; whatever the file leaves out has a default with a reason beside it, in the part's own
configuration class. The whole recipe is checked before any work starts, and all its mistakes are told at once.

    recipe = load_recipe("demo-cmudict", ["train.epochs=5"])   # a recipe's name, or a path to YAML
    print(recipe.to_yaml())                                    # as resolved: every key written
    recipe.hash()                                              # names what determines the result
    difference(recipe, load_recipe("demo-cmudict"))            # ['train.epochs was 5, is 12']
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from regard.config import Config
from regard.data.config import DataConfig
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.model_config import ModelConfig
from regard.recipe_errors import Places, did_you_mean, explain, nearest, part_names
from regard.recipe_rules import check_rules
from regard.score.config import ScoreConfig
from regard.train.config import TrainConfig
from regard.yaml_text import MAX_BYTES, read_yaml, write_yaml

NOT_IN_RESULT = (
    "about",  # words for people
    "data.root",  # where files lie, not what they hold
    "data.cache",
    "train.minutes",  # a time limit stops a run and changes nothing before that
    "train.save_every",  # the record that is kept of a run
    "train.keep",
    "train.log_every",
)
"""Keys that may change between a run and its resumption: the weights do not depend on them."""


class AboutConfig(Config):
    """What people should know about a recipe; shown by `regard recipes` and by the error of a missing file."""

    title: str = ""
    """One line; empty: the file's name says enough."""
    source: str = ""
    """Where the data comes from, so that a reader can get it; empty: the reader's own files."""
    license: str = ""
    """The data's licence as its source states it; empty: the reader's own files."""
    note: str = ""
    """Anything else worth knowing, such as the protocol of the metric; empty: nothing."""


class Recipe(Config):
    """Everything that a training run is told."""

    task: str
    """What is learned: a key of `regard.tasks.TASKS`."""
    about: AboutConfig = AboutConfig()
    """Title, source and licence of the data, for people."""
    seed: int = Field(1, ge=0, lt=2**63)
    """Where all randomness starts; 1 by convention, and committed results use it."""
    data: DataConfig
    """Which examples, and how their text becomes numbers."""
    model: ModelConfig = ModelConfig()
    """Sizes and parts of the network."""
    train: TrainConfig = TrainConfig()
    """Optimisation, model selection, and the machine."""
    search: SearchConfig = SearchConfig()
    """How outputs are found, in the final evaluation and as the default of predictions."""
    score: ScoreConfig = ScoreConfig()
    """How outputs are compared with references."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
        """A recipe from plain values, checked like a file."""
        return _check(dict(values), Places("the recipe"), overrides)

    def to_dict(self) -> dict[str, Any]:
        """Plain values (as in JSON), every key written."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The recipe as resolved, every key written; loading it again gives an equal recipe."""
        return write_yaml(self.to_dict())

    def hash(self) -> str:
        """SHA-256 over what determines the result: all keys but NOT_IN_RESULT, as canonical JSON.

        Two machines agree on it; two versions of Regard need not, because a new key has a new default. So a run is
        resumed by `difference`, which reads both recipes with today's classes, and never by comparing hashes.
        """
        text = json.dumps(dict(_leaves(self)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @field_validator("task")
    @classmethod
    def _task_exists(cls, task: str) -> str:
        from regard.tasks import TASKS  # here, because tasks know the recipe

        if task not in TASKS:
            raise ValueError(f"there is no task {task!r}{nearest(task, list(TASKS))}")
        return task

    @model_validator(mode="after")
    def _parts_agree(self) -> Recipe:
        from regard.tasks import TASKS

        check_rules(self, TASKS[self.task])
        return self


def load_recipe(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file, or by name from those that Regard ships, and apply `key=value` overrides.

    >>> load_recipe("demo-cmudict", ["train.epochs=5", "data.root=null"]).train.epochs
    5
    """
    path = find_recipe(path_or_name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RegardError(f"{path}: larger than {MAX_BYTES // 1024} KiB; is this a recipe?")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RegardError(f"{path}: byte {error.start} is not UTF-8; save the recipe as UTF-8.") from None
    except OSError as error:
        raise RegardError(f"{path}: cannot be read ({error.strerror}).") from None
    document = read_yaml(text, str(path))
    if not isinstance(document.value, dict):
        raise RegardError(f"{path}: a recipe is keys and values, such as `task: translate`; found none.")
    return _check(document.value, Places.of(str(path), document), overrides)


def find_recipe(path_or_name: str | Path) -> Path:
    """The file of a recipe: an existing path, or the name of one that Regard ships."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    shipped = {recipe.stem: recipe for recipe in shipped_recipes()}
    name = path.name.removesuffix(".yaml").removesuffix(".yml")
    if path.parent == Path(".") and name in shipped:
        return shipped[name]
    if path.is_dir():
        raise RegardError(f"{path}: a folder, expected a recipe (a YAML file, or a name: see `regard recipes`).")
    if path.suffix in (".yaml", ".yml") or path.parent != Path("."):
        raise RegardError(f"{path_or_name}: no such file; `regard recipes` lists what goes by its name alone.")
    hint = did_you_mean(name, list(shipped)) or "; `regard recipes` lists those that Regard ships."
    raise RegardError(f"{path_or_name}: no such recipe{hint}")


def shipped_recipes() -> list[Path]:
    """The recipes that come with Regard: inside the installed package, or beside src/ in a checkout."""
    here = Path(__file__).resolve().parent
    folder = here / "recipes"
    if not folder.is_dir():
        folder = here.parents[1] / "recipes"
    return sorted(folder.glob("*.yaml"))


def difference(before: Recipe, now: Recipe) -> list[str]:
    """What changed, among the keys that determine the result, in one phrase a key; empty when nothing did."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{key} was {_show(old.get(key))}, is {_show(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _leaves(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of all that determines the result."""

    def walk(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            dotted = prefix + key
            if dotted in NOT_IN_RESULT:
                continue
            if isinstance(value, dict) and value:
                yield from walk(value, dotted + ".")
            else:
                yield dotted, value

    return walk(recipe.to_dict(), "")


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _check(values: dict[str, Any], places: Places, overrides: Sequence[str]) -> Recipe:
    """Apply overrides and validate the whole; JSON's rules, so that "5" is no number and a list may fill a pair."""
    for override in overrides:
        values = _override(values, override, places)
    try:
        return Recipe.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise RegardError("\n".join(explain(error, Recipe, values, places))) from None
    except TypeError as error:  # from_dict was given something that no YAML can hold
        raise RegardError(f"{places.name}: only what YAML can say may be in a recipe: {error}.") from None


def _override(values: dict[str, Any], override: str, places: Places) -> dict[str, Any]:
    """A copy of `values` with one dotted key set from `key=value`; the value is YAML."""
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        raise RegardError(f"{override}: an override is key=value, such as train.epochs=5.")
    try:
        value = read_yaml(text, override).value
    except RegardError:
        raise RegardError(f"{override}: {text!r} is not one YAML value; put quotes around it.") from None
    places.override(keys, override)
    changed = dict(values)
    inner = changed
    for depth, key in enumerate(keys[:-1], start=1):
        below = inner.get(key)
        if below in part_names(keys[:depth], Recipe):  # a part by its name alone keeps it
            below = {"type": below}
        inner[key] = dict(below) if isinstance(below, dict) else {}
        inner = inner[key]
    inner[keys[-1]] = value
    return changed
