"""Which fonts draw a text: every script that some installed font knows, and one sentence about those none does.

matplotlib shapes text itself from 3.11 on (Arabic joins and runs right to left, Devanagari stacks) and takes each
character from the first font of a list that has it. What is left to do is to find that list. Its head is DejaVu
Sans, which comes with matplotlib and holds Latin, Greek, Cyrillic, Hebrew and Arabic. Only for other characters
are the system's fonts searched, then font files inside installed Python packages; `regard[fonts]` brings Noto
for the scripts of Asia.
"""

from __future__ import annotations

import functools
import importlib.metadata
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"
BOX = "□"
VISIBLE = {"\n": "↵", "\r": "↵", "\t": "⇥", "\u00a0": "␣", "\u3000": "␣"}
EAST = ("Chinese", "Japanese", "Hangul", "Bopomofo")
SUFFIXES = (".ttf", ".otf", ".ttc")


@dataclass(frozen=True)
class Lettering:
    """How to draw some texts: `families` for matplotlib, and `label` for each text."""

    families: list[str]
    lacking: frozenset[str]  # characters that no font has

    def label(self, text: str, longest: int | None = None) -> str:
        """The text as it can be drawn: white space visible, lacking characters as boxes, cut at `longest`."""
        if longest is not None and len(text) > longest:
            text = text[: longest - 1] + "…"
        if text and not text.strip(" "):
            return "␣" * len(text)
        return "".join(BOX if character in self.lacking else _visible(character) for character in text)


def lettering(texts: Iterable[str]) -> Lettering:
    """Find fonts for all characters of `texts`; warns, in one sentence, about scripts that have none.

    look = lettering(["猫", "cat"])
    figure.text(0, 0, look.label("猫"), family=look.families)
    """
    characters = {character for text in texts for character in text if _is_drawn(character)}
    missing = {character for character in characters if not _has(*_base(), character)}
    families = [BASE]
    if missing:
        for family, path, face in _candidates(characters):
            found = {character for character in missing if _has(path, face, character)}
            if found:
                families.append(family)
                missing -= found
            if not missing:
                break
    if missing:
        warnings.warn(_advice(missing), UserWarning, stacklevel=3)
    return Lettering(families, frozenset(missing))


def script(character: str) -> str:
    """Name of the script for a message: the first word of the character's Unicode name, or `symbols`."""
    first = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    named = {"CJK": "Chinese characters", "HIRAGANA": "Japanese kana", "KATAKANA": "Japanese kana"}
    if first in named:
        return named[first]
    if "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef":  # 。「 and full-width forms
        return "Chinese and Japanese punctuation"
    return first.title() if first and unicodedata.category(character)[0] in "LMN" else "symbols"


def _advice(missing: set[str]) -> str:
    scripts: dict[str, list[str]] = {}
    for character in sorted(missing):
        scripts.setdefault(script(character), []).append(character)
    shown = ", ".join(f"{name} ({' '.join(some[:3])}{' …' if len(some) > 3 else ''})" for name, some in scripts.items())
    east = any(name.startswith(EAST) for name in scripts)
    rest = not all(name.startswith(EAST) for name in scripts)
    debian = " ".join(["fonts-noto-cjk"] * east + ["fonts-noto-core"] * rest)
    return (
        f"no installed font draws {shown}; the picture has boxes there: `pip install 'regard[fonts]'`, or install "
        f"Noto fonts (Debian: `apt install {debian}`)."
    )


def _is_drawn(character: str) -> bool:
    """False for what has no glyph of its own: controls, joiners, variation selectors, white space."""
    if character in VISIBLE or unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp"):
        return False
    return not "\ufe00" <= character <= "\ufe0f"


def _visible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cs"):
        return VISIBLE.get(character, "�")
    return VISIBLE.get(character, character)


def _candidates(characters: set[str]) -> Iterator[tuple[str, str, int]]:
    """(family, file, face) of the regular fonts, the best first: those matplotlib knows, then the others."""
    names = {unicodedata.name(character, "").split(" ")[0] for character in characters}
    # One Chinese character is drawn in four ways; the other letters tell which language it is.
    east = "KR" if "HANGUL" in names else "JP" if names & {"HIRAGANA", "KATAKANA"} else "SC"

    def order(entry: font_manager.FontEntry) -> tuple[bool, bool, bool, int, str]:
        weight = entry.weight if isinstance(entry.weight, int) else font_manager.weight_dict.get(entry.weight, 400)
        plain = entry.name.startswith("Noto Sans") and "Mono" not in entry.name
        return (not plain, entry.style != "normal", not entry.name.endswith(east), abs(weight - 400), entry.name)

    known: set[str] = set()
    for more in (lambda: None, _add_fonts):
        more()
        entries = [entry for entry in font_manager.fontManager.ttflist if entry.name not in known]
        for entry in sorted(entries, key=order):
            own = "mpl-data" in entry.fname and not entry.name.startswith(("DejaVu", "STIXGeneral"))
            if not own and entry.name not in known:  # matplotlib's own hold mathematics, or boxes for everything
                known.add(entry.name)
                yield entry.name, entry.fname, entry.index


@functools.cache
def _add_fonts() -> None:
    """Make known to matplotlib, once per process, the font files of Python packages and the system's new ones.

    matplotlib remembers the system's fonts in a cache of its own and would not see any installed since.
    """
    packaged = [
        str(file.locate())
        for distribution in importlib.metadata.distributions()
        for file in distribution.files or ()
        if file.suffix.lower() in SUFFIXES and "mpl-data" not in file.parts
    ]
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in dict.fromkeys([*sorted(font_manager.findSystemFonts()), *packaged]):
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError):  # a broken or foreign file is nobody's font
                continue


@functools.cache
def _base() -> tuple[str, int]:
    path = font_manager.findfont(BASE)
    return str(path), 0


@functools.lru_cache(maxsize=64)
def _open(path: str, face: int) -> FT2Font | None:
    try:
        font = FT2Font(path, face_index=face)
    except (OSError, RuntimeError):
        return None
    return font if font.scalable else None  # bitmaps (colour emoji) cannot be drawn


def _has(path: str, face: int, character: str) -> bool:
    font = _open(path, face)
    return font is not None and font.get_char_index(ord(character)) != 0
