"""Read YAML 1.2 as plain values that remember where they were written.

`no` is a string, `3e-3` a number, `1:30` and `2021-01-01` strings. Refused: duplicate keys, anchors and aliases,
tags, keys that are not strings, text longer than 256 KiB. Nothing that is read can execute code: the text becomes
ruamel.yaml's tree of nodes, and only the seven kinds of value below are made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from regard.errors import RegardError

MAX_BYTES = 256 * 1024  # a recipe as resolved takes 5 kB; stop words and the like may be listed in it
_TAG = "tag:yaml.org,2002:"

Path = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, both from 1


@dataclass
class YamlText:
    """`value`, and for each path in it the place of its key (list items: of the item) and of its value."""

    value: Any
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)


def read_yaml(text: str, name: str) -> YamlText:
    """Parse one document; `name` (a file's path, or what the text is) opens every message.

    >>> read_yaml("language: no", "a note").value
    {'language': 'no'}
    """
    if len(text.encode()) > MAX_BYTES:
        raise RegardError(f"{name}: more than {MAX_BYTES // 1024} KiB of YAML; is this the right file?")
    try:
        root = YAML(typ="safe", pure=True).compose(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name} line {mark.line + 1}, column {mark.column + 1}" if mark else name
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise RegardError(f"{where}: not valid YAML, {what}.") from None
    except YAMLError as error:
        raise RegardError(f"{name}: not valid YAML, {str(error).splitlines()[0]}.") from None
    except RecursionError:
        raise RegardError(f"{name}: values are nested hundreds deep; is this the right file?") from None
    result = YamlText(None)
    if root is not None:
        result.value = _Reader(name, result).read(root, ())
    return result


def write_yaml(value: Any) -> str:
    """The text of plain values, one key a line, in the order given; `read_yaml` gives the same values back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Writer
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    out = StringIO()
    yaml.dump(value, out)
    return out.getvalue()


class _Writer(SafeRepresenter):
    """ruamel.yaml's, but equal values are written out twice, and characters that YAML may fold are escaped."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> Node:
        folded = any(character in data for character in "\x85\u2028\u2029")
        return self.represent_scalar(_TAG + "str", data, style='"' if folded else None)


_Writer.add_representer(str, _Writer.text)


class _Reader:
    """Turns nodes into values and notes their places."""

    def __init__(self, name: str, result: YamlText) -> None:
        self.name, self.result = name, result
        self.seen: set[int] = set()

    def read(self, node: Node, path: Path) -> Any:
        place = _place(node)
        self.result.values[path] = place
        self.result.keys.setdefault(path, place)
        if id(node) in self.seen or node.anchor:
            raise self.error(node, "anchors and aliases (& and *) are not read; write the value out")
        self.seen.add(id(node))
        if isinstance(node, MappingNode):
            return self.mapping(node.value, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, pairs: Iterable[tuple[Node, Node]], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in pairs:
            if not isinstance(key_node, ScalarNode) or key_node.anchor:
                raise self.error(key_node, "a key must be one word")
            key = str(key_node.value)  # as written: `no:` and `1:` are keys like any other
            if key in found:
                first = self.result.keys[(*path, key)]
                raise self.error(key_node, f"{key} was already given on line {first[0]}; keep one of the two")
            self.result.keys[(*path, key)] = _place(key_node)
            found[key] = self.read(value_node, (*path, key))
        return found

    def scalar(self, node: Node) -> Any:
        tag, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if tag == "null":
            return None
        if tag == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if tag == "int":
            return self.integer(node, text.replace("_", ""))
        if tag == "float":
            return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        if tag in ("str", "bool", "timestamp", "merge", "value"):  # the last four: words of YAML 1.1
            return text
        raise self.error(node, f"the tag {node.tag} is not read; write the value alone")

    def integer(self, node: Node, text: str) -> int:
        try:
            digits = text.lstrip("+-").lower()
            return int(text, 0) if digits[:2] in ("0x", "0o", "0b") else int(text)
        except ValueError:  # more digits than Python converts
            raise self.error(node, "not a whole number") from None

    def error(self, node: Node, message: str) -> RegardError:
        line, column = _place(node)
        return RegardError(f"{self.name} line {line}, column {column}: {message}.")


def _place(node: Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1
