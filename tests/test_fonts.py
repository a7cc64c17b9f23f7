"""Finding fonts: what comes with matplotlib, what Python packages bring, and the sentence when there is none."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import pytest

from regard import fonts
from regard.fonts import BASE, BOX, Lettering, lettering, script


def test_latin_cyrillic_greek_hebrew_arabic_need_only_the_font_that_comes_with_matplotlib(monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", None)  # not called
    look = lettering(["fährt", "Ёлка", "λόγος", "שלום", "مدرسة", "ˈæɹ", "▁a", "\u200d\ufe0f\n\x00"])
    assert look == Lettering([BASE], frozenset())


def test_no_font_for_a_script_is_one_sentence_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", lambda characters: iter(()))
    with pytest.warns(UserWarning) as caught:
        look = lettering(["नमस्ते", "猫。", "ok"])
    (warning,) = caught
    assert str(warning.message) == (
        "no installed font draws Devanagari (त न म …), Chinese and Japanese punctuation (。), "
        "Chinese characters (猫); the picture has boxes there: `pip install 'regard[fonts]'`, or install "
        "Noto fonts (Debian: `apt install fonts-noto-cjk fonts-noto-core`)."
    )
    assert look.families == [BASE] and look.label("a猫b") == f"a{BOX}b"


def test_a_font_that_has_the_letters_is_taken_and_the_search_ends(monkeypatch):
    mathematics = matplotlib.get_data_path() + "/fonts/ttf/STIXGeneral.ttf"
    character = next(c for c in map(chr, range(0x2900, 0x2BFF)) if _only_in(mathematics, c))
    monkeypatch.setattr(fonts, "_candidates", lambda _: iter([("STIXGeneral", mathematics, 0), 1 / 1]))
    look = lettering([character, "a"])
    assert look == Lettering([BASE, "STIXGeneral"], frozenset())


def _only_in(path: str, character: str) -> bool:
    return fonts._has(path, 0, character) and not fonts._has(*fonts._base(), character)


@pytest.mark.parametrize(("text", "face"), [("猫", "SC"), ("ねこ猫", "JP"), ("고양이猫", "KR")])
def test_chinese_characters_take_the_shape_of_their_language(text, face, monkeypatch):
    def entry(name: str, weight: int = 400, style: str = "normal") -> matplotlib.font_manager.FontEntry:
        return matplotlib.font_manager.FontEntry(fname=f"/x/{name}.ttc", name=name, weight=weight, style=style)

    listed = [entry("Aaa"), entry("Noto Sans Mono CJK SC"), entry("Noto Sans CJK SC", 100), entry("Noto Serif CJK SC")]
    listed += [entry(f"Noto Sans CJK {one}") for one in ("JP", "KR", "SC", "TC")]
    monkeypatch.setattr(matplotlib.font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(fonts, "_add_fonts", lambda: None)
    names = [name for name, _, _ in fonts._candidates(set(text))]
    assert names[0] == f"Noto Sans CJK {face}" and len(names) == len(set(names)) == 7


def test_fonts_installed_since_matplotlib_made_its_list_are_found(monkeypatch, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    mathematics = matplotlib.get_data_path() + "/fonts/ttf/STIXGeneral.ttf"
    copy = tmp_path / "new.ttf"
    copy.write_bytes(Path(mathematics).read_bytes())
    manager = matplotlib.font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [one for one in manager.ttflist if one.name == BASE])
    system = [str(tmp_path / "broken.ttf"), str(copy)]
    monkeypatch.setattr(matplotlib.font_manager, "findSystemFonts", lambda: system)
    fonts._add_fonts.cache_clear()
    try:
        character = next(c for c in map(chr, range(0x2900, 0x2BFF)) if _only_in(mathematics, c))
        assert lettering([character]) == Lettering([BASE, "STIXGeneral"], frozenset())
    finally:
        fonts._add_fonts.cache_clear()


def test_the_machines_own_fonts_are_searched_without_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        look = lettering(["नमस्ते 猫 ねこ 한국어 ไทย 🙂"])
    assert look.families[0] == BASE and "Last Resort High-Efficiency" not in look.families


def test_labels_show_white_space_and_are_cut():
    look = Lettering([BASE], frozenset("猫"))
    assert look.label("  ") == "␣␣" and look.label("") == "" and look.label("a b") == "a b"
    assert look.label("a\nb\tc\x07") == "a↵b⇥c�"
    assert look.label("abcdef", 4) == "abc…" and look.label("abcd", 4) == "abcd"


def test_scripts_have_names():
    named = {
        "ब": "Devanagari",
        "あ": "Japanese kana",
        "ก": "Thai",
        "한": "Hangul",
        "🙂": "symbols",
        "\ue000": "symbols",
    }
    assert {character: script(character) for character in named} == named
