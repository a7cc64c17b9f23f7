"""One way to clean text, used when reading training data and when predicting."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import regex

from regard.data.config import TextConfig
from regard.data.segment import SEGMENTERS, splitter

TAG = "\t"
"""Begins each tag and each label of a cleaned text, and each turn or sentence but the first."""
JOINER = "￭"
"""Of a mark that stands beside a word: nothing is between them."""
SPACE = "␣"
"""A space of text whose words have none between them."""


def normalize(text: str, config: TextConfig) -> str:
    """The text that the tokenizer sees, and that it gives back.

    In order: lone surrogates (bytes that were no UTF-8) become U+FFFD; lower-casing; `remove`; stop words; Unicode
    normalization, last, so that the result is in that form (before, a joiner in text with `segment: punctuation`
    becomes ■, and ␣ with `ja-mecab` and `zh-jieba` becomes _); and, unless `normalize` is "none", runs of white
    space become one space and the ends are trimmed. No line break is left then. Tags, with `tags`, are cut apart
    and stay as they are. With `turns` each turn is cleaned by itself, and the last so many of those that are left
    are the text; with `sentences` each sentence is, and of labels each label is, of which there is one of a kind, in
    order. With `question` the question and the passage behind the first tab are cleaned each by itself; of a text
    that is a part of another, what is behind a tab is its place there, which is no part of it.

        >>> normalize("  AH0  K ", TextConfig(remove="[0-9]", lowercase=True))
        'ah k'
    """
    text = without_surrogates(text)
    if config.labelled:
        return TAG.join(sorted({_cleaned(label, config) for label in text.split(TAG)} - {""}))
    if config.sentences is not None:
        cleaned = (_cleaned(sentence, config) for sentence in _sentences(text, config))
        return TAG.join(sentence for sentence in cleaned if sentence)
    if config.tags:
        head, _, tags = text.partition("\t")
        found = [" ".join(tag.split()) for tag in _TAG_ENDS.split(tags)]
        return _cleaned(head, config) + "".join(TAG + tag for tag in found if tag)
    if config.question:
        head, tab, rest = text.partition(TAG)
        passage = _cleaned(rest, config)
        return _cleaned(head, config) + (tab + passage if passage else "")
    if config.pointing:
        return _cleaned(placed(text)[0], config)
    if config.turns is not None:
        return last_turns(TAG.join(_cleaned(turn, config) for turn in text.split(TAG)), config.turns)
    return _cleaned(text, config)


def placed(answer: str) -> tuple[str, int]:
    """An answer, and where in its passage it begins, which may be told behind a tab; −1: it is not."""
    text, tab, begins = answer.rpartition(TAG)
    told = tab and begins.isascii() and begins.isdigit()
    return (text if told else answer).replace(TAG, " "), int(begins) if told else -1


def last_turns(text: str, count: int) -> str:
    """The last turns of a conversation, empty ones not counted."""
    return TAG.join([turn for turn in text.split(TAG) if turn.strip()][-count:])


def _sentences(text: str, config: TextConfig) -> list[str]:
    """The sentences of each line, or of what stands between two `breaks`."""
    parts = _pattern(config.breaks).split(text) if config.breaks else [text]
    cut = splitter(config.sentences or "")
    return [sentence for part in parts for line in part.splitlines() if line.strip() for sentence in cut(line)]


def _cleaned(text: str, config: TextConfig) -> str:
    if config.breaks:
        text = _pattern(config.breaks).sub(" ", text)
    if config.lowercase:
        text = text.lower()
    if config.remove:
        text = _pattern(config.remove).sub("", text)
    if config.stop_words:
        stop, cut = _stop_words(config.stop_words), SEGMENTERS.get(config.segment)
        words, between = (text.split(), " ") if cut is None else (cut(text), "")
        text = between.join(word for word in words if word.lower() not in stop)
    if config.segment in SEGMENTERS:
        text = text.replace(SPACE, "_")
    elif config.segment != "spaces":
        text = text.replace(JOINER, "■")
    if config.normalize == "none":
        return text
    if not text.isascii():
        text = unicodedata.normalize(config.normalize, text)
    return " ".join(text.split())


def separate(text: str, config: TextConfig) -> str:
    """The words of a cleaned text with spaces between, as `segment` has them; `join` is the way back.

    A mark that stood beside something has a joiner on that side, so that words are the same wherever they stand.
    Words of Japanese and Chinese have spaces between that the text has not, and its own are words.

    >>> separate("Hi (it's 3.5).", TextConfig(tokenizer="word", segment="punctuation"))
    "Hi (￭ it's 3.5 ￭) ￭."
    """
    if config.parted:
        between = TAG if config.tokenizer == "char" else TAG + " "  # so that a turn's first word is as any other
        return between.join(_separated(turn, config) for turn in text.split(TAG))
    return _separated(text, config)


def _separated(text: str, config: TextConfig) -> str:
    if config.segment == "spaces":
        return text
    if config.segment in SEGMENTERS:
        return " ".join(word if word.strip() else SPACE for word in SEGMENTERS[config.segment](text))
    return _MARKS.sub(_joined, text)


def _joined(mark: regex.Match[str]) -> str:
    """A mark as a word of its own, with a joiner on each side where something stands beside it; between two marks it is
    the second's."""
    if mark[0].isspace():  # of old control characters, which `\s` is not
        return mark[0]
    before, after = mark.start(), mark.end()
    left = " " + JOINER if before and not mark.string[before - 1].isspace() else ""
    right = JOINER + " " if _LETTERS.match(mark.string, after) else ""
    return left + mark[0] + right


def join(text: str, config: TextConfig) -> str:
    """The inverse of `separate`; a joiner with nothing beside it is dropped."""
    if config.parted:
        text = text.replace(TAG + " ", TAG)
    if config.segment == "spaces":
        return text
    if config.segment in SEGMENTERS:
        return text.replace(" ", "").replace(SPACE, " ")
    return text.replace(" " + JOINER, "").replace(JOINER + " ", "").replace(JOINER, "")


def without_surrogates(text: str) -> str:
    """Halves of surrogate pairs, which JSON may hold and UTF-8 may not, become U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


_SURROGATES = re.compile("[\ud800-\udfff]")
_TAG_ENDS = re.compile("[;\t]")
_LETTERS = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_INSIDE = r"(?:['’.]|(?<=\p{N})[,:](?=\p{N}))"
_MARKS = regex.compile(rf"{_LETTERS.pattern}(?:{_INSIDE}{_LETTERS.pattern})*(*SKIP)(*FAIL)|\S")
"""Every mark but those that stand inside words and numbers."""


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(maxsize=64)
def _stop_words(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)
