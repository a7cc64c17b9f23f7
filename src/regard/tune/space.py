"""What a search may change: keys of a recipe, and the values each may take."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from regard.errors import RegardError

DECADE = 10.0
"""From this ratio of its ends on, a range of positive numbers is searched by its logarithm."""
_WHOLE = r"[+-]?\d+"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})")


@dataclass(frozen=True)
class Choice:
    """One of several values, each as a recipe would have it on the command line."""

    values: tuple[str, ...]

    def suggest(self, trial: Any, key: str) -> str:
        return str(trial.suggest_categorical(key, list(self.values)))

    def ends(self) -> tuple[str, ...]:
        return self.values


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both ends are."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        return self.low > 0 and self.high / self.low >= DECADE

    def suggest(self, trial: Any, key: str) -> str:
        if self.whole:
            return str(trial.suggest_int(key, int(self.low), int(self.high), log=self.log))
        return repr(trial.suggest_float(key, self.low, self.high, log=self.log))

    def ends(self) -> tuple[str, ...]:
        kind = int if self.whole else float
        return str(kind(self.low)), str(kind(self.high))


Values: TypeAlias = Choice | Range
Space: TypeAlias = Mapping[str, Values]


def parse_space(given: Sequence[str]) -> tuple[dict[str, Values], list[str]]:
    """`KEY=LOW..HIGH` and `KEY=VALUE,VALUE,…` are what is searched; other `KEY=VALUE` are fixed.

    Commas inside brackets, braces and quotes part nothing.
    """
    space: dict[str, Values] = {}
    fixed: list[str] = []
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise RegardError(f"{text!r}: expected KEY=VALUE, KEY=LOW..HIGH or KEY=VALUE,VALUE.")
        several = _parted(value)
        if found := _RANGE.fullmatch(value.strip()):
            values: Values = _range(key, *found.groups())
        elif len(several) > 1:
            if not all(several):
                raise RegardError(f"{text}: there is nothing between two commas.")
            values = Choice(tuple(dict.fromkeys(several)))
        else:
            fixed.append(text)
            continue
        if key in space:
            raise RegardError(f"{key} is given twice: name all its values at once.")
        space[key] = values
    return space, fixed


def _range(key: str, low: str, high: str) -> Range:
    found = Range(float(low), float(high), whole=all(re.fullmatch(_WHOLE, end) for end in (low, high)))
    if not found.low < found.high:
        raise RegardError(f"{key}={low}..{high}: the first must be the smaller one.")
    return found


def _parted(text: str) -> list[str]:
    """At commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def shown(changes: Sequence[str]) -> str:
    """Changes for people: numbers with four digits."""

    def short(change: str) -> str:
        key, _, value = change.partition("=")
        return (
            f"{key}={float(value):.4g}" if re.fullmatch(_NUMBER, value) and not re.fullmatch(_WHOLE, value) else change
        )

    return " ".join(map(short, changes))
