"""Words of languages that are written without spaces, found by the segmenters of their field."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from regard.errors import RegardError


def japanese(text: str) -> list[str]:
    """MeCab's words by the IPA dictionary, through fugashi: the dictionary that sacreBLEU's ja-mecab scores with."""
    found: list[str] = []
    for word in _mecab()(text):
        found += [*word.white_space, word.surface]
    rest = text[sum(map(len, found)) :]
    return [*found, *rest]


def chinese(text: str) -> list[str]:
    """Jieba's words (its default mode), through rjieba, the same algorithm and dictionary in Rust."""
    try:
        import rjieba
    except ImportError:
        raise RegardError("data: segment zh-jieba needs a package; run `pip install 'regard[zh]'`.") from None
    return list(rjieba.cut(text))


SEGMENTERS: dict[str, Callable[[str], list[str]]] = {"ja-mecab": japanese, "zh-jieba": chinese}
"""What `segment` may name besides `spaces` and `punctuation`: text to words and white space, which put together are the
text."""


def splitter(language: str) -> Callable[[str], list[str]]:
    """Text to sentences by the rules of a language (ISO 639-1 or -3), as Wikimedia's sentencex has them."""
    try:
        from sentencex import segment
    except ImportError:
        raise RegardError("sentences need a package; run `pip install 'regard[sentences]'`.") from None
    return lambda text: list(segment(language, text))


def stop_words(language: str) -> list[str]:
    """The list of a language by its ISO 639-1 code, as stopwords-iso has it, sorted."""
    try:
        import stopwordsiso
    except ImportError:
        raise ValueError(
            f"stop_words: {language!r} needs a package; run `pip install 'regard[stopwords]'`, or name words"
        ) from None
    if not stopwordsiso.has_lang(language):
        known = ", ".join(sorted(stopwordsiso.langs()))
        raise ValueError(f"stop_words: there is no list for {language!r}, only for {known}")
    return sorted(stopwordsiso.stopwords(language))


@lru_cache(maxsize=1)
def _mecab() -> Callable[[str], list[Any]]:
    try:
        import fugashi
        import ipadic
    except ImportError:
        raise RegardError("data: segment ja-mecab needs packages; run `pip install 'regard[ja]'`.") from None
    tagger: Callable[[str], list[Any]] = fugashi.GenericTagger(ipadic.MECAB_ARGS)
    return tagger
