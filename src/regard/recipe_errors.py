"""Say what is wrong with a recipe: where, what was expected, what was found; one sentence a mistake.

pydantic reports mistakes as paths and codes; here they become sentences with the file's line and column, and an
unknown key names the nearest valid ones.
"""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from regard.yaml_text import Path, YamlText


@dataclass
class Places:
    """Where each key and value of a recipe was written: a line of the file, or an override."""

    name: str
    keys: dict[Path, str] = field(default_factory=dict)
    values: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, document: YamlText) -> Places:
        def at(places: dict[Path, tuple[int, int]]) -> dict[Path, str]:
            return {path: f"{name} line {line}, column {column}" for path, (line, column) in places.items() if path}

        return cls(name, at(document.keys), at(document.values))

    def override(self, path: Path, text: str) -> None:
        """From now on `path` and all below it come from the override `text`."""
        for places in (self.keys, self.values):
            for old in [old for old in places if old[: len(path)] == path]:
                del places[old]
            places[path] = text

    def find(self, path: Path, *, key: bool) -> str:
        """The place of a path, or of the nearest thing around it."""
        exact = self.keys if key else self.values
        if path in exact:
            return exact[path]
        inside = (place for other, place in self.keys.items() if path and other[: len(path)] == path)
        outside = (self.keys[other] for other in _around(path) if other in self.keys)
        return next(inside, None) or next(outside, self.name)


def explain(error: ValidationError, model: type[BaseModel], values: Any, places: Places) -> list[str]:
    """One sentence for each mistake, in the order of the file, overrides last."""
    sentences: dict[Path, str] = {}
    for item in error.errors(include_url=False):
        path = _path(item, model, values)
        sentences.setdefault(path, _sentence(item, path, model, values, places))
    inner = {path[:end] for path in sentences for end in range(1, len(path))}  # a wrong item says more than its list
    written = {path: index for index, path in enumerate(places.keys)}
    shown = [path for path in sentences if path not in inner or _models(_annotation(path, model))]
    shown.sort(key=lambda path: next((written[p] for p in _around(path) if p in written), -1))
    return [sentences[path] for path in shown]


def _sentence(item: Any, path: Path, model: type[BaseModel], values: Any, places: Places) -> str:
    kind, dotted, annotation = item["type"], ".".join(map(str, path)), _annotation(path, model)
    if kind == "extra_forbidden":
        return f"{places.find(path, key=True)}: {_unknown(path, model, values)}"
    if kind == "missing" and path == item["loc"]:
        return f"{places.find(path, key=True)}: {dotted} is missing; it must be {describe(annotation)}."
    if kind in ("value_error", "assertion_error"):  # raised by a part's own validator, in its own words
        message = str(item["ctx"]["error"])
        opening = "" if not path or message.startswith(dotted) else f"{dotted}: "
        ending = "" if message.endswith((".", "?")) else "."
        return f"{places.find(path, key=bool(_models(annotation)))}: {opening}{message}{ending}"
    found = _value(path, values)
    if kind == "union_tag_invalid":  # a part chosen by name
        tag, names = str(item["ctx"]["tag"]), [describe(part) for part in _models(annotation)]
        return f"{places.find(path, key=False)}: {dotted}: there is no {tag!r}{nearest(tag, names)}"
    limit = item["msg"].removeprefix("Input should be ")
    expected = describe(annotation) if annotation is not None else limit
    if not kind.endswith(("_type", "_parsing", "_error", "_from_float", "missing", "_number", "_not_found")):
        expected = f"{expected}, {limit}"  # such as: greater than 0
    quote = " (put it in quotes)" if "text" in expected and isinstance(found, bool | int | float) else ""
    return f"{places.find(path, key=False)}: {dotted} must be {expected}, found {_short(found)}{quote}."


def describe(annotation: Any) -> str:
    """A type in words: `a whole number or null`, `one of char, word, bpe`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(args[0])
    if origin is Literal:
        return "one of " + ", ".join(str(arg) for arg in args) if len(args) > 1 else str(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(arg) for arg in args))
    if origin in (list, Sequence) or annotation is list:
        inner = describe(args[0]) if args else ""
        return f"a list of ({inner})" if " or " in inner else f"a list of {inner}" if inner else "a list"
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return describe(list[args[0]])  # type: ignore[valid-type]
        return f"a list of {len(args)} ({', '.join(describe(arg) for arg in args)})"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if "type" in annotation.model_fields:  # one of several parts, chosen by name
            return str(annotation.model_fields["type"].default)
        return f"a mapping (keys: {', '.join(annotation.model_fields)})"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return words.get(annotation, "a mapping" if origin is dict or annotation is dict else str(annotation))


def nearest(word: str, choices: Sequence[str], *, prefix: str = "") -> str:
    """`; did you mean a or b?`, or all the choices when none is near."""
    return did_you_mean(word, choices, prefix=prefix) or ("; there are " + ", ".join(choices) + "." if choices else ".")


def did_you_mean(word: str, choices: Sequence[str], *, prefix: str = "") -> str:
    """`; did you mean a or b?`, or nothing when none is near."""
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    return "; did you mean " + " or ".join(prefix + choice for choice in near) + "?" if near else ""


def _unknown(path: Path, model: type[BaseModel], values: Any) -> str:
    parent, word = path[:-1], str(path[-1])
    dotted, prefix = ".".join(map(str, path)), "".join(f"{part}." for part in parent)
    parts, around = _models(_annotation(parent, model)), _value(parent, values)
    chosen = around.get("type") if isinstance(around, dict) else None  # one of several parts, by its name
    if owners := [describe(part) for part in parts if word in part.model_fields]:
        place, belongs = ".".join(map(str, parent)), f"{dotted} is a key of {' or '.join(owners)}"
        if chosen is None:
            return f"{belongs}: choose one by {place}.type={owners[0]}, or leave {word} out."
        return f"{belongs}, and {place} is {chosen}: leave it out, as the override {place}={chosen} does."
    parts = [part for part in parts if describe(part) == chosen] or parts
    siblings = list(dict.fromkeys(name for part in parts for name in part.model_fields))
    if not difflib.get_close_matches(word, siblings, n=1, cutoff=0.6):
        last: dict[str, list[str]] = {}  # the same word may be right in another place
        for key in dict.fromkeys(all_keys(model)):
            last.setdefault(key.rpartition(".")[2], []).append(key)
        near = difflib.get_close_matches(word, last, n=1, cutoff=0.8)
        elsewhere = last[near[0]] if near else []
        if elsewhere:
            return f"{dotted} is not a key; did you mean {' or '.join(elsewhere[:3])}?"
    return f"{dotted} is not a key{nearest(word, siblings, prefix=prefix)}"


def all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a configuration, those of its parts included."""
    for name, info in model.model_fields.items():
        yield prefix + name
        for part in _models(info.annotation):
            yield from all_keys(part, f"{prefix}{name}.")


def part_names(path: Path, model: type[BaseModel]) -> list[str]:
    """What may be chosen by name at a path; nothing where there is no such choice."""
    return [describe(part) for part in _models(_annotation(path, model)) if "type" in part.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The configuration classes that an annotation admits."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [model for arg in get_args(annotation) for model in _models(arg)]
    return []


def _annotation(path: Path, model: type[BaseModel]) -> Any:
    """The type at a path; None where there is no such key."""
    annotation: Any = model
    for part in path:
        if isinstance(part, int):
            inside = [arg for arg in _flat(annotation) if get_origin(arg) in (list, tuple)]
            args = get_args(inside[0]) if inside else ()
            annotation = args[min(part, len(args) - 1)] if args else None
            continue
        fields = [model.model_fields[part] for model in _models(annotation) if part in model.model_fields]
        annotation = fields[0].annotation if fields else None
    return annotation


def _flat(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [part for arg in get_args(annotation) for part in _flat(arg)]
    return [annotation]


def _around(path: Path) -> Iterator[Path]:
    """The path itself, then its parent, and so on up."""
    return (path[:end] for end in range(len(path), 0, -1))


def _path(item: Any, model: type[BaseModel], values: Any) -> Path:
    """pydantic's location without the names of union members that it puts in between."""
    path: Path = ()
    location = item["loc"]
    for index, part in enumerate(location):
        written = isinstance(values, dict) and part in values
        listed = isinstance(values, list) and isinstance(part, int) and part < len(values)
        named = isinstance(part, str) and any(part in m.model_fields for m in _models(_annotation(path, model)))
        absent = index == len(location) - 1 and isinstance(part, str) and item["type"] == "missing"
        if written or listed or named or absent:
            path = (*path, part)
            values = _value((part,), values) if written or listed else None
    return path


def _value(path: Path, values: Any) -> Any:
    for part in path:
        if isinstance(values, list) and isinstance(part, int):
            values = values[part]
        elif isinstance(values, dict):
            values = values.get(part)
    return values


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
