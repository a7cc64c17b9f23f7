"""Tags and placeholders: out of a text before it is answered, and into the answer where they belong.

    plain, marks = take("<b>Der Hund</b> grüßt {name}.")      # "Der Hund grüßt ."
    put("The dog greets.", marks, where)                      # "<b>The dog</b> greets {name}."

`where` says for each unit of the answer (a word, a punctuation mark) which unit of the plain text it came from, as
attention tells. Every mark is in the answer exactly once, pairs of tags are nested as they were, and a tag closes after
the last word that came from between the two. This is the alignment reinsertion of Müller 2017,
"Treatment of markup in statistical machine translation", whose alignments come from another model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import regex

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Characters of scripts that put no space between words."""
UNITS = regex.compile(rf"{UNSPACED}\p{{M}}*|(?:(?!{UNSPACED})[\p{{L}}\p{{M}}\p{{N}}_])+|[^\s\p{{L}}\p{{M}}\p{{N}}_]")
"""What marks stand between: words (of scripts without spaces, characters), and every punctuation mark by itself."""
TAG = r"</?[A-Za-z][^<>]*>|<!--.*?-->"
PLACEHOLDERS = (
    r"\$\{[^{}\s]+\}|\{\{[^{}]+\}\}|\{[^{}\s]*\}"  # ${name}, {{ name }}, {name}, {0}
    r"|%\([^()\s]+\)[a-z]|%(?:\d+\$)?@"  # %(name)s, %1$@
    r"|%(?:\d+\$)?[-+0#]*\d*(?:\.\d+)?(?:ll|[hlqzt])?[a-zA-Z](?!\w)"  # %d, %1$s, %.2f, %-10s
    r"|https?://[^\s<>\"]*[^\s<>\".,;:!?)\]]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # addresses
)
MARK = re.compile(f"(?P<tag>{TAG})|{PLACEHOLDERS}")
INLINE = re.compile(
    "a|abbr|b|bdi|bdo|big|bpt|bx|cite|code|del|dfn|em|ept|ex|font|g|i|ins|it|kbd|mark|mrk|ph|q|s|samp|small|span|strike|"
    "strong|sub|sup|tt|u|var|wbr|x"
)
"""Tags that may stand inside a word; others are between words, like placeholders."""
DEEPEST = 50
"""Pairs of tags in one another; a tag that opens deeper stands alone."""
_NAME = re.compile(r"</?\s*([A-Za-z][\w:-]*)")
_LETTER = regex.compile(rf"(?!{UNSPACED})[\p{{L}}\p{{M}}\p{{N}}_]")


@dataclass
class Mark:
    """One tag or placeholder, or a pair of tags with what stands between them."""

    text: str
    before: int
    """units of the plain text that stand before it"""
    beside: tuple[str, str] = ("", "")
    """the characters on its left and on its right; an end of the text is none"""
    closing: str = ""
    """of a pair: the tag that closes it"""
    end: int = 0
    """of a pair: units before that tag"""
    inside: list[Mark] = field(default_factory=list)


def take(text: str) -> tuple[str, list[Mark]]:
    """The text without its marks, and the marks, each pair with those in it.

    A tag that is never closed, or was never opened, stands alone.
    """
    plain, last, between = _Plain(), 0, False
    levels: list[list[Mark]] = [[]]
    opened: list[str] = []
    for match in MARK.finditer(text):
        start, end = match.span()
        plain.add(text[last:start], between)
        between, last = between and start == last, end
        mark = Mark(match[0], plain.units, (text[start - 1 : start] if start else "", text[end : end + 1]))
        tag = match["tag"] or ""
        name = found[1].lower() if (found := _NAME.match(tag)) else ""
        between = between or not INLINE.fullmatch(name)
        if tag.startswith("</") and name in opened:
            while opened.pop() != name:  # tags that are never closed
                alone = levels.pop()
                levels[-1] += alone
            inside = levels.pop()
            first = levels[-1][-1]
            first.closing, first.end, first.inside = mark.text, mark.before, inside
            continue
        levels[-1].append(mark)
        if name and not tag.startswith("</") and not tag.endswith("/>") and len(opened) < DEEPEST:
            opened.append(name)
            levels.append([])
    while len(levels) > 1:
        alone = levels.pop()
        levels[-1] += alone
    plain.add(text[last:], between)
    return "".join(plain.parts), levels[0]


class _Plain:
    """A text that grows at its end, and how many units it has."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._closed, self._tail = 0, ""  # units that cannot grow any more, and the text after them

    @property
    def units(self) -> int:
        return self._closed + len(UNITS.findall(self._tail))

    def add(self, text: str, between: bool) -> None:
        """between   the text before it is another word, though no space may stand between"""
        if not text:
            return
        if between and _LETTER.match(text) and self._tail and _LETTER.match(self._tail[-1]):
            text = " " + text
        self.parts.append(text)
        self._tail += text
        spans = [match.span() for match in UNITS.finditer(self._tail)]
        if spans:
            self._closed += len(spans) - 1
            self._tail = self._tail[spans[-1][0] :]


def put(text: str, marks: Sequence[Mark], where: Sequence[int | None]) -> str:
    """The answer with the marks of its source.

    where   for each unit of `text` the unit of the plain source that it came from; None: from none
    """
    spans = [match.span() for match in UNITS.finditer(text)]
    if len(spans) != len(where):
        raise ValueError(f"{len(spans)} units in the text, but {len(where)} told where they came from")
    written, last = "", 0
    for at, tag, alone in _written(_placed(marks, where, 0, len(spans)), spans):
        at = max(at, last)
        written, last = written + text[last:at], at
        written += tag if alone is None else _apart(alone, written[-1:], text[at : at + 1])
    return written + text[last:]


def _apart(mark: Mark, left: str, right: str) -> str:
    """With a space where there was one before it, and where a word is now beside it that was not."""
    before, after = mark.beside
    grown = _LETTER.match(left) and not _LETTER.match(before)
    space = left.strip() and (not before.strip() or grown) and not regex.match(UNSPACED, left)
    return " " * bool(space) + mark.text + " " * bool(_LETTER.match(right) and not _LETTER.match(after))


@dataclass
class _Placed:
    mark: Mark
    first: int
    last: int
    """units of the answer before it begins, and before it ends"""
    inside: list[_Placed]


def _placed(marks: Sequence[Mark], where: Sequence[int | None], low: int, high: int) -> list[_Placed]:
    """Where marks go between units `low` and `high` of the answer: in its order, none reaching into another."""
    found = []
    for mark in marks:
        first = last = min(max(_after(mark.before, where), low), high)
        if mark.closing:
            own = [i for i in range(low, high) if (unit := where[i]) is not None and mark.before <= unit < mark.end]
            first, last = (own[0], own[-1] + 1) if own else (first, last)
        found.append(_Placed(mark, first, last, []))
    found.sort(key=lambda each: each.first)
    for each in found:
        each.first = max(each.first, low)
        each.last = low = max(each.last, each.first)
        each.inside = _placed(each.mark.inside, where, each.first, each.last)
    return found


def _written(placed: Sequence[_Placed], spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, str, Mark | None]]:
    """What is put at which character, in order: a tag of a pair, or a mark that stands alone."""
    for each in placed:
        at = spans[each.first - 1][1] if each.first else 0  # after the unit before it
        if each.mark.closing:
            yield (spans[each.first][0] if each.last > each.first else at), each.mark.text, None
            yield from _written(each.inside, spans)
            yield (spans[each.last - 1][1] if each.last > each.first else at), each.mark.closing, None
        else:
            yield at, each.mark.text, each.mark


def _after(before: int, where: Sequence[int | None]) -> int:
    """Units of the answer up to the last that came from just before a mark, or from as near to it as there is one."""
    near = [(before - unit, -i) for i, unit in enumerate(where) if unit is not None and unit < before]
    return 1 - min(near)[1] if near else 0
