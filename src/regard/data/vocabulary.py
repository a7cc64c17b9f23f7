"""Learning a vocabulary from text: characters, words, BPE or unigram pieces.

Texts are seen once, in a stream, and only counts of distinct words are held. The ids
are: 4 special tokens, 256 bytes, then the learned pieces, most useful first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tokenizers
from tokenizers import models, trainers

from regard.data.config import TextConfig
from regard.data.core import build_core
from regard.data.text import TAG, normalize, separate
from regard.data.tokenizer import RESERVED, UNK
from regard.errors import RegardError

CHARACTER_SHARE = 0.5
"""Of a BPE or unigram vocabulary, single characters take at most this share; rarer ones are spelled in bytes."""


def count_words(texts: Iterable[str], config: TextConfig) -> Counter[str]:
    """How often each of `words_of` occurs: all that any learner needs to know."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words_of(text, config))
    del counts[""]
    return counts


def words_of(text: str, config: TextConfig) -> list[str]:
    """What stands between spaces once a text is cleaned, and its tags; among them may be nothing, ""."""
    return words_in(normalize(text, config), config)


def words_in(cleaned: str, config: TextConfig) -> list[str]:
    """The same of a text that is cleaned already."""
    if config.labelled:
        return [TAG + label for label in cleaned.split(TAG)] if cleaned else []
    cleaned = separate(cleaned, config)
    if config.parted:
        cleaned = cleaned.replace(TAG, " ")
    if not config.tags:
        return cleaned.split(" ")
    head, *tags = cleaned.split(TAG)
    return [*head.split(" "), *(TAG + tag for tag in tags)]


def learn(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """A vocabulary from counted words, of the kind that `config.tokenizer` names."""
    if not words and not config.pointing:
        raise RegardError(
            "there is no text to learn a vocabulary from: "
            "is the training data empty, or all of it removed by its settings?"
        )
    return LEARNERS[config.tokenizer](words, config)


def learn_characters(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """The most frequent characters and tags; the space is a character too. No merges."""
    return _without_merges(_most_frequent(_count_characters(words), config), config, whole_words=False)


def learn_words(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """The most frequent words; other words are spelled in bytes, or, if the recipe says so, in characters."""
    # " " alone begins words that are spelled, and stands for further spaces in a run.
    pieces = [" "]
    if config.unknown == "characters":
        pieces = [" ", *sorted(_alphabet(words, config) - {" "})]
    frequent = _most_frequent(words, config, extra=len(pieces))
    pieces += [word if word.startswith(TAG) else " " + word for word in frequent]
    return _without_merges(pieces, config, whole_words=True)


def learn_bpe(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) within words; bytes for rare characters."""
    tags = _most_frequent(Counter({word: words[word] for word in words if word.startswith(TAG)}), config)
    words = Counter({word: words[word] for word in words if not word.startswith(TAG)})
    alphabet = _alphabet(words, config)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab - len(RESERVED) - len(tags),
        min_frequency=config.min_frequency,
        initial_alphabet=sorted(alphabet),
        limit_alphabet=len(alphabet),  # the trainer would break ties by chance; the given alphabet always stays
        show_progress=False,
    )
    model = _train(models.BPE(), trainer, words)
    pieces = [*sorted(model["vocab"], key=model["vocab"].__getitem__), *tags]
    merges = [(left, right) for left, right in model["merges"]]
    # Without merges only what is a piece as it stands, as tags are.
    whole = {"ignore_merges": True} if config.tags else {}
    bpe = models.BPE(vocab=_ids(pieces), merges=merges, byte_fallback=True, unk_token=RESERVED[UNK], **whole)
    return build_core(bpe, spaced=True, isolate=True, tags=config.tags, parted=config.parted)


def learn_unigram(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """Unigram language model pieces (Kudo 2018, arXiv:1804.10959) within words; bytes for rare characters.

    The trainer of `tokenizers` works in an order that changes from run to run. It shows in two places, both
    mended here: sums differ from the 15th digit on (scores are rounded to 5 decimals), and characters that no
    piece needed get the lowest score plus 0.0001 times their turn (they get the lowest score).
    """
    alphabet = _alphabet(words, config)
    room = config.vocab - len(RESERVED)
    known: Counter[str] = Counter()
    for word, count in words.items():
        known["".join(character for character in word if character in alphabet)] += count
    trainer = trainers.UnigramTrainer(vocab_size=max(room, len(alphabet) + 1), show_progress=False)
    scores = {piece: round(score, 5) for piece, score in _train(models.Unigram(), trainer, known)["vocab"]}
    floor = min(scores.values(), default=0.0)
    unneeded = floor + 0.0001 * (len(alphabet) + 1)
    scores = {piece: floor if score < unneeded else score for piece, score in scores.items()}
    ranked = sorted((p for p in scores if p not in alphabet), key=lambda piece: (-scores[piece], piece))
    kept = sorted([*alphabet, *ranked[: room - len(alphabet)]], key=lambda piece: (-scores.get(piece, floor), piece))
    # Bytes and special tokens never win by score: they would have to be spelled, and "<" is always cut off alone.
    vocabulary = [(name, floor - 10.0) for name in RESERVED] + [(piece, scores.get(piece, floor)) for piece in kept]
    model = models.Unigram(vocabulary, UNK, byte_fallback=True)
    return build_core(model, spaced=True, isolate=True, parted=config.parted)


def learn_labels(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """The most frequent labels, in the order of their names; others are spelled in bytes."""
    return _without_merges(sorted(_most_frequent(words, config)), config, whole_words=False)


def learn_nothing(words: Counter[str], config: TextConfig) -> tokenizers.Tokenizer:
    """Parts of another text need no pieces: they are known by their places."""
    return _without_merges([], config, whole_words=False)


LEARNERS: dict[str, Callable[[Counter[str], TextConfig], tokenizers.Tokenizer]] = {
    "char": learn_characters,
    "word": learn_words,
    "bpe": learn_bpe,
    "unigram": learn_unigram,
    "label": learn_labels,
    "labels": learn_labels,
    "span": learn_nothing,
}


def _train(model: models.Model, trainer: Any, words: Counter[str]) -> dict[str, Any]:
    """What `tokenizers` learned, as its JSON says it; words are fed in a fixed order, each with
    the space before it, as often as they were seen."""

    def fed() -> Iterator[str]:
        for word in sorted(words):
            for done in range(0, words[word], 1000):
                yield (" " + word) * min(1000, words[word] - done)

    core = build_core(model, spaced=True, isolate=True)
    core.train_from_iterator(fed(), trainer)
    return dict(json.loads(core.to_str())["model"])


def _count_characters(words: Counter[str]) -> Counter[str]:
    """How often each character occurs, with one space for each word."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in [word] if word.startswith(TAG) else word:
            counts[character] += count
    counts[" "] += words.total()
    return counts


def _alphabet(words: Counter[str], config: TextConfig) -> set[str]:
    """The characters that become pieces: the most frequent, at most `CHARACTER_SHARE` of the room."""
    room = max(1, int((config.vocab - len(RESERVED)) * CHARACTER_SHARE))
    frequent = _most_frequent(_count_characters(words), config)
    return {" ", *[character for character in frequent if character != " "][: room - 1]}


def _most_frequent(counts: Counter[str], config: TextConfig, extra: int = 0) -> list[str]:
    """Pieces by falling count, ties by code point, as many as there is room for."""
    frequent = [piece for piece, count in counts.items() if count >= config.min_frequency]
    return sorted(frequent, key=lambda piece: (-counts[piece], piece))[: config.vocab - len(RESERVED) - extra]


def _ids(pieces: list[str]) -> dict[str, int]:
    names = RESERVED + pieces
    assert len(set(names)) == len(names), "a learned piece is spelled like a reserved one"
    return {name: i for i, name in enumerate(names)}


def _without_merges(pieces: list[str], config: TextConfig, *, whole_words: bool) -> tokenizers.Tokenizer:
    tagged = config.tags or config.labelled
    model = models.BPE(
        vocab=_ids(pieces),
        merges=[],
        byte_fallback=True,
        ignore_merges=whole_words or tagged,
        unk_token=RESERVED[UNK],
    )
    return build_core(model, spaced=whole_words, isolate=False, tags=tagged, parted=config.parted)
