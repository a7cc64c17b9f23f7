"""Words of Japanese and Chinese: what the segmenters find, that text comes back, stop words, what is missing."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from regard.data import segment
from regard.data.config import TextConfig
from regard.data.segment import SEGMENTERS
from regard.data.text import join, normalize, separate
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError

TEXTS = {
    "ja-mecab": ("東京都に住んでいます。 Hello 3.5", "東京 都 に 住ん で い ます 。 ␣ Hello ␣ 3 . 5"),
    "zh-jieba": ("我来到北京清华大学。 Hello", "我 来到 北京 清华大学 。 ␣ Hello"),
}


def config(kind: str, **more: Any) -> TextConfig:
    return TextConfig.model_validate({"tokenizer": "word", "segment": kind, "vocab": 400, **more})


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_words_and_back(kind: str) -> None:
    text, words = TEXTS[kind]
    assert separate(normalize(text, config(kind)), config(kind)) == words
    assert join(words, config(kind)) == text
    tokenizer = Tokenizer.train([text], config(kind))
    [ids] = tokenizer.encode([text])
    assert len(ids) == len(words.split()) and tokenizer.decode(ids) == text
    assert "".join(tokenizer.pieces(ids)) == text.replace(" ", "▁")


@pytest.mark.parametrize("kind", SEGMENTERS)
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(), st.text(alphabet="東京都に 我来到北京。ab␣_3.\n𠮷ｱ")))
def test_any_text_comes_back(kind: str, text: str) -> None:
    cleaned = normalize(text, config(kind))
    assert "".join(SEGMENTERS[kind](cleaned)) == cleaned
    assert join(separate(cleaned, config(kind)), config(kind)) == cleaned


def test_stop_words_are_words_without_spaces_too() -> None:
    assert normalize("東京都に住んでいます", config("ja-mecab", stop_words=["に", "で"])) == "東京都住んいます"
    english = TextConfig.model_validate_json('{"tokenizer": "word", "stop_words": "en"}', strict=True)
    assert len(english.stop_words) > 500 and normalize("The cat is on the mat", english) == "cat mat"
    assert TextConfig.model_validate_json(english.model_dump_json(), strict=True) == english  # words, not a code
    with pytest.raises(ValidationError, match="there is no list for 'xx', only for af, ar"):
        config("spaces", stop_words="xx")


def test_line_breaks_are_not_lost_to_a_segmenter() -> None:
    with pytest.raises(ValidationError, match="is for text that is normalized"):
        config("ja-mecab", normalize="none")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name in ("fugashi", "rjieba", "stopwordsiso"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    segment._mecab.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RegardError, match=r"pip install 'regard\[ja\]'"):
        SEGMENTERS["ja-mecab"]("a")
    with pytest.raises(RegardError, match=r"pip install 'regard\[zh\]'"):
        SEGMENTERS["zh-jieba"]("a")
    with pytest.raises(ValidationError, match=r"pip install 'regard\[stopwords\]'"):
        config("spaces", stop_words="en")
