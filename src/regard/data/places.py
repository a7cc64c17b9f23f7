"""Where in a text, as a user has it, the pieces of its tokens stand.

Cleaning and cutting change a text; an answer is a part of the text as it was. The way back is taken in two steps: from
the text with spaces between its words to the cleaned one, and from there, word by word, to the original.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from regard.data.config import TextConfig
from regard.data.segment import SEGMENTERS
from regard.data.text import JOINER, TAG, normalize, placed, separate

Place = tuple[int, int]
"""Start and end of a part of a text, in characters."""


class SourceTokenizer(Protocol):
    """What knows where pieces stand."""

    def places(self, text: str) -> list[Place]: ...


def places(text: str, config: TextConfig, offsets: Callable[[str], Sequence[Place]]) -> list[Place]:
    """Of each piece of a question, a tab and a passage; see `Tokenizer.places`.

    offsets   where in a text with spaces between its words its pieces stand
    """
    question, _, passage = text.partition(TAG)
    alone = config.model_copy(update={"question": False})
    asked = offsets(separate(normalize(question, alone), alone))
    if not passage.strip():
        return [(0, 0)] * len(asked)
    first = len(question) + 1
    back = _back(passage, alone)
    found = [(first + back[a], first + back[b]) for a, b in offsets(separate(normalize(passage, alone), alone))]
    before = [(len(question), len(question))] * len(asked) + [(len(question), first)]
    return before + [_trimmed(text, place) for place in found]


def words_around(separated: str, offsets: Sequence[Place]) -> list[str]:
    """The word that each piece is of, given where pieces stand in a text with spaces between its words; for a piece
    that is a space of its own, the word behind it."""
    words = [(found.end(), found.group()) for found in re.finditer(r"\S+", separated)]
    ends = [end for end, _ in words]
    return [words[min(bisect_right(ends, end - 1), len(words) - 1)][1] for _, end in offsets]


def bare(word: str) -> str:
    """Without the punctuation around it, where it is more than that."""
    return re.sub(r"^\W+|\W+$", "", word) or word


def pointers(tokenizer: SourceTokenizer, source: str, answer: str, first: int) -> list[int] | None:
    """The first and the last piece of an answer in its source, as ids; None where the answer is not there.

    answer   a text of the passage, which may have behind a tab where in the passage it begins, in characters; else its
             first occurrence is meant, white space aside. Empty: there is no answer, which is the source's tab, twice
    first    the id of the source's first piece: the size of the vocabulary of what is written
    """
    wanted, begins = placed(answer)
    behind = source.find(TAG) + 1
    steps = tokenizer.places(source)
    if (behind - 1, behind) not in steps:  # no passage, or a question that leaves no room for it
        return None
    if not wanted.strip():
        return [first + steps.index((behind - 1, behind))] * 2
    start = behind + begins if begins >= 0 else -1
    place = (start, start + len(wanted))
    if start < behind or not source.startswith(wanted, start):
        place = _find(source, wanted, behind)
    start, end = place
    inside = [j for j, (a, b) in enumerate(steps) if a < end and b > start and a >= behind]
    if not inside or steps[inside[-1]][1] < len(source[:end].rstrip()):  # cut off
        return None
    return [first + inside[0], first + inside[-1]]


def _find(source: str, wanted: str, behind: int) -> Place:
    """Where a text first stands, with its white space or, if nowhere, with any; (0, 0): it does not."""
    start = source.find(wanted, behind)
    if start >= 0:
        return start, start + len(wanted)
    marks = [i for i in range(behind, len(source)) if not source[i].isspace()]
    alone = "".join(wanted.split())
    start = "".join(source[i] for i in marks).find(alone)
    return (marks[start], marks[start + len(alone) - 1] + 1) if start >= 0 else (0, 0)


def _trimmed(text: str, place: Place) -> Place:
    """Without the space before a word, which its piece carries."""
    start, end = place
    while start < end and text[start].isspace():
        start += 1
    return start, end


@lru_cache(maxsize=256)
def _back(passage: str, config: TextConfig) -> list[int]:
    """For each place between two characters of the cleaned passage, with spaces between its words, where that is in the
    passage itself."""
    cleaned = normalize(passage, config)
    original = _original(passage, cleaned, config)
    return [original[i] for i in _cleaned(separate(cleaned, config), config)]


def _cleaned(separated: str, config: TextConfig) -> list[int]:
    """For each place in the separated text that in the cleaned one: what `separate` has put in is passed over."""
    found, at = [0], 0
    for i, character in enumerate(separated):
        if config.segment in SEGMENTERS:
            added = character == " "
        else:
            beside = separated[max(0, i - 1) : i] + separated[i + 1 : i + 2]
            added = config.segment != "spaces" and (character == JOINER or (character == " " and JOINER in beside))
        at += not added
        found.append(at)
    return found


def _original(passage: str, cleaned: str, config: TextConfig) -> list[int]:
    """For each place in the cleaned passage that in the passage. A word is cleaned by itself, so words go together."""
    found: list[int] = []
    at = 0
    for word in passage.split():
        at = passage.index(word, at)
        found += [at + i for i in _inside(word, config)]
        at += len(word)
    assert len(found) == len(cleaned) + 1, "a passage is cleaned word by word"
    return found


def _inside(word: str, config: TextConfig) -> list[int]:
    """For each place before a character of a cleaned word, and for that behind it, where that is in the word: the last
    of those at which as much is cleaned, so that a letter keeps its accents."""
    cleaned = normalize(word, config)
    if len(cleaned) == len(word) and (word.isascii() or cleaned.lower() == word.lower()):
        return list(range(len(word) + 1))
    runs = _runs(word, config)
    if sum(len(normalize(run, config)) for run in runs) != len(cleaned):
        runs = [word]
    found, at = [], 0
    for run in runs:
        lengths = [len(normalize(run[:count], config)) for count in range(len(run) + 1)]
        found += [at + bisect_right(lengths, i) - 1 for i in range(lengths[-1])]
        at += len(run)
    return [*found, at]


def _runs(word: str, config: TextConfig) -> list[str]:
    """The parts of a word that are cleaned each by itself, most of them characters."""
    found: list[str] = []
    for character in word:
        size = len(normalize(character, config))
        if found and len(normalize(found[-1] + character, config)) != len(normalize(found[-1], config)) + size:
            found[-1] += character
        else:
            found.append(character)
    return found
