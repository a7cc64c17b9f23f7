"""One way to clean text, used when reading training data and when predicting."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from regard.data.config import TextConfig


def normalize(text: str, config: TextConfig) -> str:
    """The text that the tokenizer sees, and that it gives back.

    In order: lone surrogates (bytes that were no UTF-8) become U+FFFD; lower-casing; `remove`; stop words; Unicode
    normalization, last, so that the result is in that form; and, unless `normalize` is "none", runs of white
    space become one space and the ends are trimmed. No line break is left then.

        >>> normalize("  AH0  K ", TextConfig(remove="[0-9]", lowercase=True))
        'ah k'
    """
    text = without_surrogates(text)
    if config.lowercase:
        text = text.lower()
    if config.remove:
        text = _pattern(config.remove).sub("", text)
    if config.stop_words:
        stop = _stop_words(config.stop_words)
        text = " ".join(word for word in text.split() if word.lower() not in stop)
    if config.normalize == "none":
        return text
    if not text.isascii():
        text = unicodedata.normalize(config.normalize, text)
    return " ".join(text.split())


def without_surrogates(text: str) -> str:
    """Halves of surrogate pairs, which JSON may hold and UTF-8 may not, become U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


_SURROGATES = re.compile("[\ud800-\udfff]")


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(maxsize=64)
def _stop_words(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)
