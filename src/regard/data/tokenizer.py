"""Text to ids and back, over Hugging Face `tokenizers`.

Every kind falls back to bytes: ids 4 to 259 stand for the 256 bytes, so any Unicode text is written without loss
and no text is ever unknown, unless `unknown` asks for a hash or for one piece. Ids 0 to 3 are the special tokens; they
have names for people, but no text is ever read as one: "</s>" in a text is four characters.

    decode(encode([text])[0]) == tokenizer.normalize(text)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import regex
import tokenizers

from regard.data.config import BYTES, POINTERS, SPECIALS, TextConfig
from regard.data.paradigm import Paradigms
from regard.data.places import bare, places, words_around
from regard.data.text import TAG, join, last_turns, normalize, separate
from regard.errors import RegardError

# The same everywhere, and no warning when data workers fork; encoding is rarely what one waits for.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PAD, UNK, BOS, EOS = range(SPECIALS)
SPECIAL_NAMES = ["<pad>", "<unk>", "<s>", "</s>"]
UNKNOWN = SPECIAL_NAMES[UNK]
BYTE_NAMES = [f"<0x{byte:02X}>" for byte in range(BYTES)]  # the names that `tokenizers` looks for
RESERVED = SPECIAL_NAMES + BYTE_NAMES
LONGEST_SPELLING = 16
"""Characters by which a piece is known; longer ones are known by their beginning."""
FORMAT = 1
SINCE = {
    **{"unknown": "spell", "segment": "spaces", "tags": False, "known_forms": 0},
    **{"turns": None, "truncate": None, "sentences": None, "breaks": None, "question": False},
}
"""Settings that tokenizers were without once, and what they were."""
TURN_END = SPECIALS + ord(TAG)
"""The tab between two turns or sentences, or behind a question: a byte that no vocabulary has learned."""
_INSIDE = regex.compile(r"[\p{L}\p{M}\p{N}_]")
"""How a piece begins that goes on with a word."""
_SYMBOLS = re.compile(f"{TAG}[^{TAG}]+|.", re.DOTALL)
"""A tag, or a character."""
NOTHING: Mapping[int, str] = MappingProxyType({})


class Tokenizer:
    """A vocabulary with the rules for one side's text.

    >>> tokenizer = Tokenizer.train(["a b", "b c"], TextConfig(tokenizer="word", vocab=300))
    >>> tokenizer.decode(tokenizer.encode(["c  b é"])[0])
    'c b é'
    """

    channels = 0
    """numbers of each step, of series; 0: steps are ids"""

    def __init__(self, core: tokenizers.Tokenizer, config: TextConfig, paradigms: Paradigms | None = None):
        """`core` of `regard.data.core`; `config` for the cleaning; `paradigms` where it has `known_forms`. See `train`
        and `load`."""
        self.config = config
        self.paradigms = paradigms
        self._core = core
        self._names = [str(core.id_to_token(i)) for i in range(core.get_vocab_size())]
        # Words carry the space before them, so a line starts with a space that belongs to no one.
        self._spaced = config.tokenizer != "char" and not config.labelled
        self._begin = " " if self._spaced else TAG if config.labelled else ""
        self._learned: dict[str, int] = {}
        if config.unknown == "hash":
            self._learned = {name: i for i, name in enumerate(self._names) if i >= len(RESERVED)}

    @property
    def size(self) -> int:
        """How many ids there are; ids are 0 … size − 1."""
        return len(self._names)

    def name(self, i: int) -> str:
        """The piece of an id, as the vocabulary has it."""
        return self._names[i]

    @property
    def labels(self) -> list[str]:
        """What it has learned, where texts are labels, in the order of ids."""
        return [name.removeprefix(TAG) for name in self._names[len(RESERVED) :]]

    def strange_tags(self, text: str) -> list[str]:
        """The tags of a text that training data had none of. Those of words in letters are spelled, and left out."""
        if not self.config.tags or self.config.tokenizer == "char":
            return []
        _, *tags = self.normalize(text).split(TAG)
        return [tag for tag in tags if self._core.token_to_id(TAG + tag) is None]

    @property
    def space(self) -> list[int]:
        """What stands between two texts, one after the other: the space, where it is a piece of its own."""
        if self._spaced:
            return []
        found = self._core.token_to_id(" ")
        return [SPECIALS + ord(" ") if found is None else int(found)]

    def breaks(self) -> list[bool]:
        """Of each id, whether a word before it is over: it begins with the space before the next, or with punctuation.
        Of tokenizer char all do."""
        if not self._spaced:
            return [True] * self.size
        ascii_ = [chr(byte) if byte < 128 else "x" for byte in range(BYTES)]  # others are parts of letters
        names = ["x"] * SPECIALS + ascii_ + self._names[len(RESERVED) :]
        return [not _INSIDE.match(name) for name in names]

    def normalize(self, text: str) -> str:
        """What is read of a text: cleaned, and with what is known of it."""
        cleaned = normalize(text, self.config)
        return cleaned if self.paradigms is None else self.paradigms.show(cleaned, self.config.known_forms)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, cleaned first; without BOS and EOS. An empty text gives an empty list. With
        `unknown: hash` a piece that the vocabulary lacks has an id of `size` or more, the same in every text; with
        `truncate` the rest of a long text is not there."""
        return [list(ids) for ids in self._encode(texts)]

    def encode_arrays(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """`encode`, as arrays, which take a fifth of the memory of lists."""
        return [np.array(ids, dtype=np.int32) for ids in self._encode(texts)]

    def _encode(self, texts: Sequence[str]) -> Iterable[list[int]]:
        most = self.config.truncate
        if self.config.unknown == "hash":
            return ([self._id(piece) for piece in self.surface(text)] for text in texts)
        cleaned = [separate(self.normalize(text), self.config) for text in texts]
        cleaned = [self._begun(text) for text in cleaned]
        if not self.config.parted:
            return (ids[:most] for ids in self._ids(cleaned))
        turns = [text.split(TAG) for text in cleaned]
        unlike = dict.fromkeys(chain.from_iterable(turns))  # a turn is part of the source of several replies
        known = dict(zip(unlike, self._ids([*unlike]), strict=True))
        return ([i for turn in text for i in (TURN_END, *known[turn])][1:][:most] for text in turns)

    def _ids(self, texts: Sequence[str]) -> Iterable[list[int]]:
        found = (encoding.ids for encoding in self._core.encode_batch_fast(texts, add_special_tokens=False))
        if self.config.unknown != "one":
            return found
        space = self._core.token_to_id(" ")
        spelled = range(SPECIALS, len(RESERVED))
        return ([UNK if ids[i] in spelled else ids[i] for i in _unspelled(ids, space)] for ids in found)

    def surface(self, text: str) -> list[str]:
        """What stands behind each id of `encode`, with `unknown: hash`; else nothing."""
        if self.config.unknown != "hash":
            return []
        cleaned = separate(self.normalize(text), self.config)
        found = cleaned.split(" ") if self._spaced and cleaned else _SYMBOLS.findall(cleaned)
        return found[: self.config.truncate]

    def _id(self, piece: str) -> int:
        found = self._learned.get(" " + piece if self._spaced else piece)
        if found is not None:
            return found
        digest = hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        first = self.size + POINTERS
        return first + int.from_bytes(digest) % (2**31 - first)

    def words(self, text: str) -> list[str]:
        """What `encode` cuts into pieces by itself, with the space before it; of texts that are not parted."""
        cleaned = self._begun(separate(self.normalize(text), self.config))
        return [word for word, _ in self._core.pre_tokenizer.pre_tokenize_str(cleaned)] if cleaned else []

    def _begun(self, cleaned: str) -> str:
        """With the space that the first word carries, or the tab of the first label."""
        return self._begin + cleaned if cleaned and cleaned[0] != TAG else cleaned

    def encode_word(self, word: str) -> list[int]:
        """Ids of one of `words`."""
        return list(self._core.encode(word, add_special_tokens=False).ids)

    def merges(self) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
        """Of BPE: the id of each learned piece, and of each merge its place in the order in which they are made."""
        model = json.loads(self._core.to_str())["model"]
        learned = {name: i for i, name in enumerate(self._names) if i >= len(RESERVED)}
        return learned, {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}

    def kept(self, text: str, characters: int) -> str:
        """What of a text is read where the config takes the beginning alone (no more of it than `characters`), or the
        last turns; else all of it. Tokenising a book to drop most of it would take its time."""
        if self.config.truncate is not None:
            return text[:characters]
        return text if self.config.turns is None else last_turns(text, self.config.turns)

    def unnamed(self, text: str, first: int | None = None) -> dict[int, str]:
        """What ids beyond the vocabulary stand for where `text` is the source. For `decode` and `pieces`.

        With `unknown: hash`: `size` + j for its step j, which is what copying writes, and hashes for what the
        vocabulary lacks. With `question`: `first` + j, the size of the other side's vocabulary, for the passage's piece
        at step j as the text has it, with the space behind it; nothing for the tab.
        """
        if self.config.question:
            first = self.size if first is None else first
            begins = [start for start, _ in places(text, self.config, self._offsets)]
            steps = list(pairwise([*begins, len(text)]))[: self.config.truncate]
            tab = text.find(TAG)
            return {first + j: "" if start <= tab else text[start:until] for j, (start, until) in enumerate(steps)}
        surface = self.surface(text)
        pointers = {self.size + step: piece for step, piece in enumerate(surface)}
        return pointers | {i: piece for piece in surface if (i := self._id(piece)) >= self.size}

    def around(self, text: str) -> list[str]:
        """The whole word that each piece of `encode` is of, as cleaned; of a text that is not parted."""
        separated = separate(self.normalize(text), self.config)
        words = words_around(separated, self._offsets(separated))
        if self.config.unknown == "one" and separated:
            ids = self._core.encode(self._begin + separated, add_special_tokens=False).ids
            words = [words[place] for place in _unspelled(ids, self._core.token_to_id(" "))]
        return words[: self.config.truncate]

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where in the text, as it was before it was cleaned, the pieces of `encode` stand: start and end of each, and
        of those of a character in bytes, the character's. With `question` alone, whose own pieces have no length."""
        return places(text, self.config, self._offsets)[: self.config.truncate]

    def _offsets(self, separated: str) -> list[tuple[int, int]]:
        """Of each piece of a text with spaces between its words."""
        if not separated:
            return []
        found = self._core.encode(self._begin + separated, add_special_tokens=False).offsets
        shift = len(self._begin)
        return [(max(0, a - shift), max(0, b - shift)) for a, b in found]

    def decode(self, ids: Sequence[int], unnamed: Mapping[int, str] = NOTHING) -> str:
        """The text of these ids; special ids are dropped, bytes that are no UTF-8 become U+FFFD.

        unnamed   what ids of `size` and more stand for
        """
        text = ""
        for beyond, run in groupby((int(i) for i in ids if i >= SPECIALS), key=lambda i: i >= self.size):
            if beyond:
                text += "".join((" " if self._spaced else "") + unnamed.get(i, UNKNOWN) for i in run)
            else:
                text += self._core.decode(list(run), skip_special_tokens=False)
        text = text.removeprefix(self._begin)
        return join(text, self.config) if self._spaced else text

    def pieces(self, ids: Sequence[int], unnamed: Mapping[int, str] = NOTHING) -> list[str]:
        """One readable piece for each id, for pictures: "▁" marks the space before a subword (words show none);
        of a character in bytes, the first byte shows the character and each further one "·"; a byte that belongs
        to no character is shown as "<0x…>"; where a turn or a sentence ends stands "⏎"."""
        shown: list[str] = []
        for start, stop in _runs(ids, TURN_END if self.config.parted else None):
            if ids[start] >= self.size:
                shown.append(self._show(unnamed.get(int(ids[start]), UNKNOWN)))
            elif self.config.parted and ids[start] == TURN_END:
                shown.append("⏎")
            elif _is_byte(ids[start]):
                shown += _show_bytes(bytes(int(i) - SPECIALS for i in ids[start:stop]))
            else:
                shown.append(self._show(self._names[ids[start]]))
        return shown

    def _show(self, name: str) -> str:
        if self.config.tokenizer == "word":
            return join(name.removeprefix(" "), self.config).strip() or "▁"
        return name.removeprefix(TAG).replace(" ", "▁")

    def spellings(self) -> npt.NDArray[np.int64]:
        """(size, longest) how each piece is spelled, at most LONGEST_SPELLING characters: numbers from 1, and 0 past an
        end. A special token, and a byte, is a character of its own; then come the others by code point."""
        learned = [name[:LONGEST_SPELLING] for name in self._names[len(RESERVED) :]]
        numbers = self.characters()
        found = np.zeros((self.size, max(1, *map(len, learned), 1)), dtype=np.int64)
        found[: len(RESERVED), 0] = np.arange(1, len(RESERVED) + 1)
        for row, name in enumerate(learned, start=len(RESERVED)):
            found[row, : len(name)] = [numbers[character] for character in name]
        return found

    def characters(self) -> dict[str | int, int]:
        """The number of each character of `spellings`; special tokens and bytes stand for themselves."""
        fixed: dict[str | int, int] = {i: i + 1 for i in range(len(RESERVED))}
        learned = "".join(name[:LONGEST_SPELLING] for name in self._names[len(RESERVED) :])
        return fixed | {character: i for i, character in enumerate(sorted(set(learned)), start=len(RESERVED) + 1)}

    def to_json(self) -> str:
        """Everything there is to this tokenizer; equal tokenizers give equal strings."""
        core = json.loads(self._core.to_str())
        text = self.config.model_dump(mode="json")
        for key, value in SINCE.items():  # as it was before there was a choice: hashes of this text are kept in runs
            if text[key] == value:
                del text[key]
        content = {"format": FORMAT, "text": text, "tokenizers": core}
        if self.paradigms is not None:
            content["paradigms"] = self.paradigms.to_json()
        return json.dumps(content, ensure_ascii=False, indent=None, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str = "tokenizer") -> Tokenizer:
        """The inverse of `to_json`. It is parsed as data: nothing in it can be executed."""
        try:
            content: dict[str, Any] = json.loads(text)
            found = content["format"]
            if found != FORMAT:
                raise RegardError(
                    f"{where} has tokenizer format {found}, this version reads {FORMAT}: train again or update Regard."
                )
            core = tokenizers.Tokenizer.from_str(json.dumps(content["tokenizers"]))
            paradigms = Paradigms.of_json(content["paradigms"]) if "paradigms" in content else None
            tokenizer = cls(core, TextConfig(**content["text"]), paradigms)
        except RegardError:
            raise
        except Exception as error:  # `tokenizers` raises bare Exception on content it cannot use
            raise RegardError(
                f"{where} is not a tokenizer file of Regard ({error}): restore it or train again."
            ) from None
        if tokenizer._names[: len(RESERVED)] != RESERVED:
            raise RegardError(
                f"{where} does not begin with Regard's special tokens and bytes: restore it or train again."
            )
        return tokenizer

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RegardError(f"{path} cannot be read as a tokenizer ({error}): restore it or train again.") from None
        return cls.from_json(text, str(path))

    @classmethod
    def train(cls, texts: Iterable[str], config: TextConfig) -> Tokenizer:
        """Learn a vocabulary; the same texts give the same tokenizer, on any number of threads."""
        from regard.data.vocabulary import count_words, learn

        return cls(learn(count_words(texts, config), config), config)


def unnamed(tokenizers: Mapping[str, Tokenizer], source: str) -> dict[int, str]:
    """What ids beyond the vocabulary of the target stand for, in an output for this source: where it has one piece for
    unknown words, its size + j for the word around step j."""
    read, written, first = tokenizers["source"], tokenizers["target"].config, tokenizers["target"].size
    if written.unknown == "one" and not (read.config.parted or read.config.numeric):
        alone = written.segment != "spaces" and read.config.segment == "spaces"
        return {first + step: bare(word) if alone else word for step, word in enumerate(read.around(source))}
    return read.unnamed(source, first)


def _unspelled(ids: list[int], space: int | None) -> list[int]:
    """Places of the ids that stay where a word that is spelled is one: of a run of bytes its first alone, without the
    space before it."""
    found: list[int] = []
    for start, _ in _runs(ids, apart=None):
        if _is_byte(ids[start]) and found and ids[found[-1]] == space:
            found.pop()
        found.append(start)
    return found


def _is_byte(token: int) -> bool:
    return SPECIALS <= token < len(RESERVED)


def _runs(ids: Sequence[int], apart: int | None) -> Iterable[tuple[int, int]]:
    """Spans of neighbouring byte ids; every other id alone, and `apart` too."""
    spelled = [_is_byte(i) and i != apart for i in ids]
    start = 0
    while start < len(ids):
        stop = start + 1
        while spelled[start] and stop < len(ids) and spelled[stop]:
            stop += 1
        yield start, stop
        start = stop


def _show_bytes(data: bytes) -> list[str]:
    shown: list[str] = []
    while data:
        for width in (1, 2, 3, 4):
            try:
                character = data[:width].decode("utf-8")
            except UnicodeDecodeError:
                continue
            shown += ["▁" if character == " " else character if character.isprintable() else f"<0x{data[0]:02X}>"]
            shown += ["·"] * (width - 1)
            data = data[width:]
            break
        else:
            shown.append(f"<0x{data[0]:02X}>")
            data = data[1:]
    return shown
