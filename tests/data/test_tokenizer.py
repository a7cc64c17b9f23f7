"""Tokenizers lose nothing, read nothing as special, and are the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.covering import slow

from regard.data.config import TextConfig
from regard.data.text import normalize, separate
from regard.data.tokenizer import BOS, BYTE_NAMES, EOS, PAD, SPECIAL_NAMES, SPECIALS, TURN_END, UNK, Tokenizer
from regard.errors import RegardError

KINDS = ["char", "word", "bpe", "unigram"]
TEXTS = [
    "ein kleines Mädchen klettert in ein Spielhaus .",
    "ein Mann </s> schläft <pad> in einem grünen Raum <0x41><0x41>.",
    "foo</s> foo</s> foo</s> foo</s> foo</s> <0x41> <0x41> <0x41> <0x41>",
    "zwei Männer stehen am Herd und bereiten Essen zu .",
    "▁ ▁▁ naïve café",
] * 5


def make(kind: str, **settings: object) -> Tokenizer:
    return Tokenizer.train(TEXTS, TextConfig(tokenizer=kind, vocab=400, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained() -> dict[tuple[str, str], Tokenizer]:
    forms = ("NFC", "NFKC", "NFD", "none")
    marks = {("marks", form): make("word", normalize=form, segment="punctuation") for form in forms}
    return {(kind, form): make(kind, normalize=form) for kind in KINDS for form in forms} | marks


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(), st.text(alphabet="ab </s><pad>▁\u2581<0x41>é\u0301 ")))
def test_any_text_comes_back(trained: dict[tuple[str, str], Tokenizer], text: str) -> None:
    for tokenizer in trained.values():
        [ids] = tokenizer.encode([text])
        assert tokenizer.decode(ids) == normalize(text, tokenizer.config)
        assert all(SPECIALS <= i < tokenizer.size for i in ids)
        assert len(tokenizer.pieces(ids)) == len(ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="ab \t\t<é."))
def test_turns_come_back_and_each_is_as_it_is_alone(kind: str, text: str) -> None:
    tokenizer = _turns(kind)
    [ids] = tokenizer.encode([text])
    assert tokenizer.decode(ids) == normalize(text, tokenizer.config)
    cut = tokenizer.encode(normalize(text, tokenizer.config).split("\t"))
    assert ids == [i for turn in cut for i in (TURN_END, *turn)][1:] and len(cut) <= 3
    whole = separate(normalize(text, tokenizer.config), tokenizer.config)  # turns are encoded one by one
    whole = " " + whole if whole and kind != "char" else whole
    assert ids == tokenizer._core.encode(whole, add_special_tokens=False).ids


@lru_cache
def _turns(kind: str) -> Tokenizer:
    return make(kind, turns=3)


@pytest.mark.parametrize("kind", [*KINDS, "marks"])
def test_special_tokens_are_never_read_from_text(kind: str) -> None:
    tokenizer = make(kind) if kind != "marks" else make("word", segment="punctuation")
    for name in [*SPECIAL_NAMES, *BYTE_NAMES]:
        for text in (name, f"foo{name}", f"{name}{name} x"):
            [ids] = tokenizer.encode([text])
            assert min(ids) >= SPECIALS
            assert tokenizer.decode(ids) == text


def test_special_ids_are_fixed_and_dropped_when_decoding() -> None:
    tokenizer = make("word")
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    [ids] = tokenizer.encode(["ein Mann"])
    assert tokenizer.decode([BOS, *ids, EOS, PAD]) == "ein Mann"
    assert tokenizer.pieces([BOS, *ids, EOS]) == ["<s>", "ein", "Mann", "</s>"]


@pytest.mark.parametrize("kind", KINDS)
def test_empty_text_is_no_token(kind: str) -> None:
    tokenizer = make(kind)
    assert tokenizer.encode(["", "   "]) == [[], []]
    assert tokenizer.decode([]) == ""


def test_each_kind_cuts_as_it_says() -> None:
    assert make("char").pieces(make("char").encode(["ein M"])[0]) == ["e", "i", "n", "▁", "M"]
    assert make("word").pieces(make("word").encode(["ein Mann"])[0]) == ["ein", "Mann"]
    assert "".join(make("bpe").pieces(make("bpe").encode(["zwei Männer"])[0])) == "▁zwei▁Männer"
    assert len(make("bpe").encode(["zwei Männer"])[0]) < len("▁zwei▁Männer")


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram"])
def test_where_a_word_is_over(trained: dict[tuple[str, str], Tokenizer], kind: str) -> None:
    """A piece that goes on with a word is none that breaks, whether it is learned or a byte."""
    tokenizer = trained[kind, "NFC"]
    breaks = tokenizer.breaks()
    assert len(breaks) == tokenizer.size and all(make("char").breaks())
    for text in ("Kleinkinder ziehen Ω, ß .", "ein Mann"):
        [ids] = tokenizer.encode([text])
        for count in range(1, len(ids)):
            before, after = tokenizer.decode(ids[:count]), tokenizer.decode(ids[: count + 1])
            if "\ufffd" not in before + after:
                goes_on = after[len(before) :][:1].isalnum()
                assert breaks[ids[count]] != goes_on, tokenizer.pieces(ids)[count]


def test_words_without_their_punctuation() -> None:
    config = TextConfig(tokenizer="word", segment="punctuation", vocab=400, min_frequency=2)
    tokenizer = Tokenizer.train(["(see: it's 3.5), U.S. 10:30", "it's 3.5), see: x.org; U.S. 10:30 (see:"], config)
    [ids] = tokenizer.encode(["it's 3.5 (see: U.S.)"])
    assert tokenizer.pieces(ids) == ["it's", "3.5", "(", "see", ":", "U.S", ".", ")"]
    assert tokenizer.decode(ids) == "it's 3.5 (see: U.S.)"
    with pytest.raises(ValidationError, match="segment: punctuation is for tokenizer word, found tokenizer bpe"):
        TextConfig(tokenizer="bpe", segment="punctuation")


def test_words_that_do_not_matter_are_one_piece_each() -> None:
    texts = ["the film is good, and the end is not"] * 3
    one = Tokenizer.train(
        texts, TextConfig(tokenizer="word", segment="punctuation", unknown="one", lowercase=True, min_frequency=2)
    )
    the, film = one.encode(["the film"])[0]
    assert one.encode(["Überraschend the äöü zebra film, <3"])[0] == [
        *(UNK, the, UNK, UNK, film, one.encode(["good,"])[0][1], UNK, UNK)
    ]
    assert one.encode(["", "zebra"]) == [[], [UNK]] and one.pieces([UNK, the]) == ["<unk>", "the"]
    parted = {**one.config.model_dump(), "sentences": "en"}
    several = Tokenizer.train(texts, TextConfig(**parted))
    assert several.encode(["Zebra zebra.\nThe film"])[0][:3] == [UNK, UNK, UNK]
    for told, said in (({}, "is for tokenizer word"), ({"tokenizer": "word"}, "set min_frequency to 2")):
        with pytest.raises(ValidationError, match=f"unknown: one .*{said}"):
            TextConfig(unknown="one", **told)


@pytest.mark.parametrize("unknown", ["spell", "hash"])
def test_tags_are_pieces_and_letters_are_letters(unknown: str) -> None:
    config = TextConfig(tokenizer="char", tags=True, lowercase=True, unknown=unknown)  # type: ignore[arg-type]
    tokenizer = Tokenizer.train(["voir\tV;PST", "Noir\tN;PL"], config)
    for text, pieces in {
        "noir\tN; PL": ["n", "o", "i", "r", "N", "PL"],
        "V\tV": ["v", "V"],
        "\tPST;": ["PST"],
        "vin": ["v", "i", "n"],
    }.items():
        [ids] = tokenizer.encode([text])
        assert tokenizer.pieces(ids) == pieces and max(ids) < tokenizer.size
        assert tokenizer.decode(ids) == normalize(text, config)
    [ids] = tokenizer.encode(["vin\tN;DUAL"])  # a tag that training did not have
    assert tokenizer.decode(ids, tokenizer.unnamed("vin\tN;DUAL")) == "vin\tN\tDUAL"
    with pytest.raises(ValidationError, match="tags are for tokenizers char, word and bpe, found tokenizer unigram"):
        TextConfig(tokenizer="unigram", tags=True)
    for kind in ("word", "bpe"):  # whole, and not told from the letters they are made of
        tokenizer = Tokenizer.train(["ein Hund\tde", "a dog\ten"] * 9, TextConfig(tokenizer=kind, vocab=300, tags=True))
        assert tokenizer.pieces(tokenizer.encode(["dog de\tde;en"])[0])[-2:] == ["de", "en"]
        assert tokenizer.decode(tokenizer.encode(["de en\ten"])[0]) == "de en\ten"
        assert tokenizer.strange_tags("dog\tde;nl") == ["nl"]


@pytest.mark.parametrize("unknown", ["spell", "hash"])
@pytest.mark.parametrize("segment", ["spaces", "punctuation"])
def test_the_rest_of_a_long_text_is_not_read(segment: str, unknown: str) -> None:
    told = {"tokenizer": "word", "vocab": 400, "segment": segment, "unknown": unknown}
    short, whole = (Tokenizer.train(TEXTS, TextConfig(**told, truncate=most)) for most in (3, None))  # type: ignore[arg-type]
    texts = ["ein Mann klettert in ein Haus .", "ein", "", "Xyz, ein"]
    assert short.encode(texts) == [ids[:3] for ids in whole.encode(texts)]
    assert [len(one) for one in short.encode_arrays(texts)][:3] == [3, 1, 0]
    assert Tokenizer.from_json(short.to_json()).encode(texts) == short.encode(texts)


def test_bytes_are_shown_as_their_character() -> None:
    tokenizer = make("char")
    assert tokenizer.pieces(tokenizer.encode(["日a"])[0]) == ["日", "·", "·", "a"]
    assert tokenizer.pieces([SPECIALS + 0xE6, SPECIALS + 0x0A]) == ["<0xE6>", "<0x0A>"]
    assert tokenizer.decode([SPECIALS + 0xE6]) == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
def test_saved_is_loaded(kind: str, tmp_path: Path) -> None:
    tokenizer = make(kind, remove="[0-9]", lowercase=True)
    tokenizer.save(tmp_path / "t.json")
    again = Tokenizer.load(tmp_path / "t.json")
    assert again.to_json() == tokenizer.to_json()
    assert again.config == tokenizer.config
    assert again.encode(TEXTS) == tokenizer.encode(TEXTS)


@pytest.mark.parametrize("kind", [*map(slow, KINDS[:-1]), KINDS[-1]])
def test_training_is_the_same_in_every_process(kind: str) -> None:
    """Hash seeds and threads differ from process to process; the tokenizer may not."""
    script = (
        "import sys, hashlib; from regard.data.config import TextConfig; from regard.data.tokenizer import Tokenizer\n"
        "texts = [f'wort{i % 97} {i % 31}haus und{i % 7} ein{chr(228 + i % 40)}' for i in range(2000)]\n"
        f"t = Tokenizer.train(texts, TextConfig(tokenizer='{kind}', vocab=500))\n"
        "print(hashlib.sha256(t.to_json().encode()).hexdigest())"
    )
    found = set()
    for parallel, seed in (("false", "1"), ("true", "2"), ("true", "3")):
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": parallel, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_min_frequency_and_room() -> None:
    texts = ["a a a b b c"]
    assert _words(Tokenizer.train(texts, TextConfig(tokenizer="word", min_frequency=2))) == {" ", " a", " b"}
    assert _words(Tokenizer.train(texts, TextConfig(tokenizer="word", vocab=262))) == {" ", " a"}
    assert _words(Tokenizer.train(texts, TextConfig(tokenizer="char", vocab=261))) == {" "}
    for kind in KINDS:
        for vocab in (261, 262, 300):
            many = Tokenizer.train(["".join(map(chr, range(0x4E00, 0x4E80)))], TextConfig(tokenizer=kind, vocab=vocab))  # type: ignore[arg-type]
            assert many.size <= vocab


def _words(tokenizer: Tokenizer) -> set[str]:
    return set(tokenizer._names[len(SPECIAL_NAMES) + 256 :])


def test_vocabulary_of_three_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"vocabulary of 3 is too small.*261"):
        TextConfig(vocab=3)


def test_no_text_is_refused() -> None:
    for kind in KINDS:
        with pytest.raises(RegardError, match="no text to learn a vocabulary from"):
            Tokenizer.train([], TextConfig(tokenizer=kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a tokenizer file"),
        ("[]", "not a tokenizer file"),
        ('{"format": 99}', "tokenizer format 99"),
        ('{"format": 1, "tokenizers": {}, "text": {}}', "not a tokenizer file"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(RegardError, match=message):
        Tokenizer.load(tmp_path / "t.json")


def test_a_foreign_vocabulary_is_refused(tmp_path: Path) -> None:
    content = json.loads(make("char").to_json())
    vocabulary = content["tokenizers"]["model"]["vocab"]
    vocabulary["<pad>"], vocabulary["</s>"] = vocabulary["</s>"], vocabulary["<pad>"]
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(RegardError, match="special tokens"):
        Tokenizer.load(tmp_path / "t.json")


def test_normalize_by_hand() -> None:
    assert normalize("e\u0301", TextConfig()) == "é"
    assert normalize("ﬁ\u00a0x", TextConfig(normalize="NFKC")) == "fi x"
    assert normalize(" a\t b\n", TextConfig()) == "a b"
    assert normalize(" a\t b\n", TextConfig(normalize="none")) == " a\t b\n"
    assert normalize("The Cat of the house", TextConfig(stop_words=["the", "of"])) == "Cat house"
    assert normalize("AH0 K", TextConfig(remove="[0-9]")) == "AH K"
    assert normalize("a\udc80b", TextConfig(normalize="none")) == "a\ufffdb"
    assert unicodedata.is_normalized("NFC", normalize("İ\u0307", TextConfig(lowercase=True)))
