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
from regard.data.bpe_dropout import can_be_cut_anew
from regard.data.config import DataConfig
from regard.decode import DECODERS, READOUTS, SpanDecoder
from regard.decode.config import SearchConfig
from regard.encode import OPTIONAL_ENCODERS
from regard.errors import RegardError
from regard.model_config import ModelConfig
from regard.recipe_errors import Places, did_you_mean, explain, nearest, part_names
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
        if self.model.tie == "all" and not self.data.shared_vocabulary:
            raise ValueError("model.tie=all shares one embedding table, so it needs data.shared_vocabulary=true")
        if self.train.hallucinated and not self.data.shared_vocabulary:
            raise ValueError(
                "train.hallucinated looks for what source and target have in common, so it needs "
                "data.shared_vocabulary=true"
            )
        if self.train.hallucinated and self.data.source.known_forms:
            raise ValueError(
                "train.hallucinated invents stems, of which no form is known: set data.source.known_forms to 0"
            )
        if self.train.sampled_softmax and not getattr(DECODERS[self.model.decoder.type], "estimates", True):
            raise ValueError(
                f"train.sampled_softmax {self.train.sampled_softmax:,} saves nothing with model.decoder "
                f"{self.model.decoder.type}, whose vocabulary is small: set it to 0"
            )
        readout: Any = READOUTS[self.model.readout.type]
        if self.train.sampled_softmax and not readout.estimates:
            raise ValueError(
                f"train.sampled_softmax {self.train.sampled_softmax:,} is not for model.readout "
                f"{self.model.readout.type}: set it to 0"
            )
        if self.train.r_drop:
            self._two_readings()
        if readout.copies and not self.data.shared_vocabulary:
            raise ValueError(
                f"model.readout {self.model.readout.type} writes what it reads, so it needs data.shared_vocabulary=true"
            )
        if self.data.source.unknown == "hash" and not readout.copies:
            raise ValueError(
                "data.source.unknown hash leaves words that only model.readout copy can write: choose it, or spell"
            )
        if self.model.attention is None and self.search.coverage_penalty:
            raise ValueError(
                f"search.coverage_penalty {self.search.coverage_penalty:g} is about attention, and model.attention is "
                "none: set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _pieces_anew(self) -> Recipe:
        from regard.tasks import TASKS

        if not self.train.bpe_dropout:
            return self
        task, data = TASKS[self.task], self.data
        if task.continues or task.points:
            raise ValueError(f"train.bpe_dropout is for pairs of texts, and task {self.task} has none: set it to 0")
        sides = {"source": data.source, "target": data.target}
        by_bpe = {name: side for name, side in sides.items() if side.tokenizer == "bpe"}
        if not by_bpe:
            raise ValueError(
                f"train.bpe_dropout is for tokenizer bpe, found {data.source.tokenizer} and {data.target.tokenizer}: "
                "set it to 0"
            )
        for name, side in by_bpe.items():
            if not can_be_cut_anew(side):
                raise ValueError(
                    f"train.bpe_dropout is for whole texts: leave out turns, sentences, question and truncate of "
                    f"data.{name}, and set its unknown to spell; or set train.bpe_dropout to 0"
                )
        if self.train.joined or self.train.hallucinated:
            raise ValueError("train.bpe_dropout goes with neither train.joined nor hallucinated: set it or both to 0")
        return self

    def _two_readings(self) -> None:
        model = self.model
        kinds: dict[str, Any] = {"decoder": DECODERS[model.decoder.type], "readout": READOUTS[model.readout.type]}
        for key, kind in kinds.items():
            if not kind.agrees:
                raise ValueError(f"train.r_drop is not for model.{key} {getattr(model, key).type}: set it to 0")
        if not (model.dropout or (model.output_dropout and kinds["decoder"] is not SpanDecoder)):
            raise ValueError(
                "train.r_drop compares two readings that differ by dropout, and there is none of their own (dropped "
                "words and weights are the batch's): set model.dropout, or train.r_drop to 0"
            )
        if model.attention is not None and model.attention.normalizer.type == "hard":
            raise ValueError("train.r_drop has no gradient for where attention of normalizer hard looks: set it to 0")

    @model_validator(mode="after")
    def _labels(self) -> Recipe:
        from regard.tasks import TASKS

        decides, decoder, kind = TASKS[self.task].decides, self.model.decoder, self.data.target.tokenizer
        if not decides:
            if decoder.type == "labels" or self.data.target.labelled:
                raise ValueError(f"model.decoder labels and data.target.tokenizer {kind} are for task classify")
            if self.train.class_weights != "none":
                raise ValueError("train.class_weights are for task classify: set it to none")
            return self
        if decoder.type != "labels" or not self.data.target.labelled:
            raise ValueError(
                f"task {self.task} decides on labels: set model.decoder to labels (found {decoder.type}) and "
                f"data.target.tokenizer to label, or labels where there may be several (found {kind})"
            )
        if decoder.several != (kind == "labels"):
            raise ValueError(
                f"model.decoder.several is {str(decoder.several).lower()} and data.target.tokenizer {kind}: label goes "
                "with false, one for each text, and labels with true, any number"
            )
        if self.train.joined or self.train.hallucinated:
            raise ValueError("train.joined and hallucinated put outputs together, and labels are none: set both to 0")
        return self

    @model_validator(mode="after")
    def _spans(self) -> Recipe:
        from regard.tasks import TASKS

        points, decoder, spans = TASKS[self.task].points, self.model.decoder.type, self.data.target.pointing
        if not points:
            if decoder == "span" or spans:
                raise ValueError("model.decoder span and data.target.tokenizer span are for task answer")
            return self
        if decoder != "span" or not spans:
            raise ValueError(
                f"task {self.task} points into a passage: set model.encoder to flow, model.attention to none, "
                f"model.decoder to span (found {decoder}), data.source.question to true and data.target.tokenizer to "
                f"span (found {self.data.target.tokenizer})"
            )
        if self.train.joined or self.train.hallucinated:
            raise ValueError("train.joined and hallucinated put outputs together, and spans are none: set both to 0")
        if self.train.pretrained.target:
            raise ValueError("train.pretrained.target: spans have no vectors; set it to null")
        return self

    @model_validator(mode="after")
    def _series(self) -> Recipe:
        if not self.data.source.numeric:
            return self
        if self.model.spelling or self.train.pretrained.source or self.model.word_dropout:
            raise ValueError(
                "data.source.tokenizer series: numbers have no words; leave out model.spelling, model.word_dropout and "
                "train.pretrained.source"
            )
        if self.train.joined or self.train.hallucinated:
            raise ValueError("train.joined and hallucinated put texts together, and series are none: set both to 0")
        return self

    @model_validator(mode="after")
    def _turns(self) -> Recipe:
        from regard.tasks import TASKS

        if self.data.source.turns is None:
            if TASKS[self.task].converses:
                raise ValueError(
                    f"task {self.task} reads turns: set data.source.turns, how many before a reply, such as 4"
                )
            if OPTIONAL_ENCODERS[self.model.encoder.type].by_turns and self.data.source.sentences is None:
                raise ValueError(
                    f"model.encoder {self.model.encoder.type} reads part by part: set data.source.sentences to the "
                    "language of documents; or data.source.turns, how many of a conversation's, and separate them "
                    "with tabs (or name data.dialogue)"
                )
        return self

    @model_validator(mode="after")
    def _source_or_none(self) -> Recipe:
        from regard.tasks import TASKS

        splits = [split for split in (self.data.train, self.data.valid, self.data.test) if split is not None]
        plain, task = [split.text is not None for split in splits], self.task
        if not TASKS[task].continues:
            if any(plain):
                raise ValueError(f"data: text is for task write; task {task} needs sources and targets")
            if self.model.encoder.type == "none":
                raise ValueError("model.encoder none reads nothing: it is for task write")
            return self
        if not all(plain):
            raise ValueError(f"task {task} learns from plain text: name it as text in data.train, valid and test")
        if self.model.encoder.type != "none" or getattr(self.model.decoder, "input_feeding", False):
            raise ValueError(
                f"task {task} has no source: set model.encoder and model.attention to none, and "
                "model.decoder.input_feeding to false"
            )
        if self.train.joined or self.train.hallucinated:
            raise ValueError(
                f"train.joined and hallucinated make pairs, and task {task} learns from none: set both to 0"
            )
        return self

    @model_validator(mode="after")
    def _metric_exists(self) -> Recipe:
        from regard.tasks import TASKS

        metric = self.train.metric
        if metric is not None and metric not in (known := TASKS[self.task](self).metrics):
            raise ValueError(f"train.metric: task {self.task} does not report {metric!r}{nearest(metric, list(known))}")
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
