"""What a recipe says about its data: which files, which columns, how text becomes tokens.

data:
  train: {table: train.tsv.gz}
  valid: {table: valid.tsv.gz}
  source_column: 1
  target_column: 2
  source: {tokenizer: bpe, vocab: 6000}
  target: {tokenizer: bpe, vocab: 6000}
"""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from regard.config import Config
from regard.data.segment import stop_words

MOST_TOKENS = 1000
"""A text of more tokens is not answered, in validation, evaluation and prediction, and a pair with such a side is not
scored: twice what training takes by default, and attention over it fits any machine."""

POINTERS = 2**16
"""The longest source that can be pointed into; ids beyond the vocabulary by as much or more are hashes."""

Files = str | list[str]
Column = Annotated[int, Field(ge=0)] | Annotated[str, StringConstraints(min_length=1)]

SPECIALS = 4
"""PAD, UNK, BOS and EOS come first in every vocabulary."""
BYTES = 256
"""Then the bytes."""
SMALLEST_VOCABULARY = SPECIALS + BYTES + 1
"""The special tokens, the bytes that make every text writable, and one piece to learn."""


class SplitConfig(Config):
    """Where one split comes from: a table, a pair of parallel text files, plain text, or a `datasets` name."""

    table: Files | None = None
    """TSV, CSV, JSONL or Parquet files, or a pronouncing dictionary; several are read one after another; `.gz` too."""
    source: Files | None = None
    """Parallel plain text: line i of `source` goes with line i of `target`; several files follow one another."""
    target: Files | None = None
    """The other side of `source`; several for one source file are more references (training uses the first)."""
    text: Files | None = None
    """Plain text, for task write; several files follow one another, `.gz` too. Of JSON lines and Parquet the target
    column is read, a line for each row."""
    part: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=100)]] | None = None
    """Of `text`, the lines that begin from a to b per cent of the way: [0, 90] and [90, 100] are a text and its end."""
    classes: dict[str, Files] | None = None
    """Plain text of each label, for task classify: {good: good.txt, bad: bad.txt}, a text in each line; or folders, a
    text in each file."""
    hub: str | None = None
    """A `datasets` hub name, or a local folder of that shape."""
    hub_config: str | None = None
    """The configuration of the hub data set, where it has several."""
    hub_split: str | None = None
    """The split of the hub data set, such as `train` or `validation`; needed with `hub`."""
    percent: tuple[int, int] | None = None
    """Keep examples with a <= hash(source text) mod 100 < b: a fixed split for data that has none. With a > b it goes
    around: [20, 10] leaves out 10 to 20, as the training data of one fold of ten."""

    @model_validator(mode="after")
    def _one_place(self) -> SplitConfig:
        parallel = self.source is not None or self.target is not None
        places = [self.table is not None, parallel, self.text is not None, bool(self.classes), self.hub is not None]
        if sum(places) != 1:
            raise ValueError("a split names exactly one of: table, source and target, text, classes, hub")
        if self.part is not None and (self.text is None or self.part[0] >= self.part[1]):
            raise ValueError("part is [a, b] of text with a < b, such as [0, 90]")
        if self.text is not None and self.percent is not None:
            raise ValueError("percent goes by sources, which text has none of: use part")
        if (self.source is None) != (self.target is None):
            raise ValueError("parallel text needs both source and target")
        if self.source is not None and len(self.sources()) > 1 and len(self.sources()) != len(self.targets()):
            raise ValueError("several source files need as many target files, in the same order")
        if any(files == [] for files in (self.table, self.source, self.target, self.text)):
            raise ValueError("a list of files is empty")
        if self.hub is not None and self.hub_split is None:
            raise ValueError("hub needs hub_split, such as train")
        if self.percent is not None:
            low, high = self.percent
            if not (0 <= low < 100 and 0 <= high <= 100 and low != high):
                raise ValueError("percent is [a, b) with 0 <= a < 100, 0 <= b <= 100, a and b unlike, such as [0, 90]")
        return self

    def files(self) -> list[str]:
        """All of them, none for a hub data set."""
        of_classes = [name for files in (self.classes or {}).values() for name in _as_list(files)]
        return [*self.tables(), *self.sources(), *self.targets(), *self.texts(), *of_classes]

    def texts(self) -> list[str]:
        return _as_list(self.text)

    def tables(self) -> list[str]:
        return _as_list(self.table)

    def sources(self) -> list[str]:
        return _as_list(self.source)

    def targets(self) -> list[str]:
        return _as_list(self.target)


class TextConfig(Config):
    """How the text of one side is cleaned and cut into pieces."""

    normalize: Literal["NFC", "NFKC", "NFD", "NFKD", "none"] = "NFC"
    """NFC makes equal-looking texts equal and loses nothing; NFKC also folds width and ligatures; NFD and NFKD take
    letters and their accents, and the letters of a Hangul syllable, apart, for tokenizer char; all trim and fold white
    space to single spaces. `none` leaves the text alone."""
    lowercase: bool = False
    """Lower-case the text; off, because it cannot be undone in the output."""
    remove: str | None = None
    """A regular expression whose matches are deleted, such as `[0-9]` for the stress marks of CMUdict."""
    tokenizer: Literal["char", "word", "bpe", "unigram", "label", "labels", "span", "series"] = "bpe"
    """Pieces: characters, words between spaces, or learned subwords; BPE by convention for sentences. For the target
    of task classify, `label`: the whole text is one piece; `labels`: any number of them, with tabs between. For that of
    task answer, `span`: where in the source it begins and ends. For a source, `series`: numbers, as `.ts` files have
    them, channels with colons between and the values of each with commas between."""
    segment: Literal["spaces", "punctuation", "ja-mecab", "zh-jieba"] = "spaces"
    """What a word is, for tokenizer word: what spaces separate; or besides each punctuation mark by itself, for text
    that is not tokenized; or what MeCab and Jieba find in Japanese and Chinese. Outputs are joined as they were."""
    tags: bool = False
    """After a tab there are tags, such as the features of an inflected form, or the language to translate into, with
    semicolons between: each is a piece of its own. Of the source alone, for tokenizers char, word and bpe;
    `source_column: [0, 2]` puts the tab there."""
    known_forms: Annotated[int, Field(ge=0)] = 0
    """With tags: so many other targets that training data has for a lemma (what is before the tab) are read beside it,
    those first whose tags are the likest. They tell what a lemma does not, such as the length of its vowels."""
    turns: Annotated[int, Field(ge=1)] | None = None
    """Tabs separate the turns of a conversation, and each tab is a piece of its own; the last so many turns are read.
    Of the source alone; encoder hierarchical reads turn by turn."""
    sentences: Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")] | None = None
    """Cut into sentences by the rules of a language (ISO 639, such as `en`), and at line breaks; each end is a piece of
    its own. Of the source alone; encoder hierarchical then reads sentence by sentence."""
    question: bool = False
    """Before the first tab is a question, and after it the passage that answers it; the tab is a piece of its own, and
    stands for "no answer". Of the source alone, for task answer; `source_column: [question, context]` puts it there."""
    breaks: str | None = None
    """A regular expression whose matches become a space, and with `sentences` the end of one, such as `<br ?/?>`."""
    truncate: Annotated[int, Field(ge=1)] | None = None
    """Read the first so many pieces of a longer text and no more; of the source alone: for documents, whose beginning
    says most."""
    vocab: int = 8000
    """At most this many ids, the 4 special and 256 byte ids included; 8000 suits some 10,000 to 500,000 sentences."""
    min_frequency: Annotated[int, Field(ge=1)] = 1
    """A word, character or merge seen less often is spelled by smaller pieces; 1 keeps all there is room for."""
    unknown: Literal["spell", "characters", "hash", "one"] = "spell"
    """A word (or character) beyond the vocabulary: spelled in bytes; of tokenizer word, in characters, which then have
    a part of the vocabulary; or one piece that is known by its hash alone, for `model.readout: copy` to write; or, of
    words, one piece for all of them: as for labels, where few rare words tell, or for outputs in which a word of the
    source is to stand for it (`search.unknown`); with a `min_frequency` of 2 or more, so that training meets it."""
    stop_words: tuple[str, ...] = ()
    """Words to delete, compared after lower-casing; or a language's code, such as `en`, for the list of stopwords-iso.
    None by default, as translation needs them."""

    @field_validator("stop_words", mode="before")
    @classmethod
    def _listed(cls, words: object) -> object:
        """The list of a language, so that a run knows its words and needs no package for them."""
        found = stop_words(words) if isinstance(words, str) else words
        return tuple(found) if isinstance(found, list) else found

    @field_validator("vocab")
    @classmethod
    def _room(cls, vocab: int) -> int:
        if vocab < SMALLEST_VOCABULARY:
            raise ValueError(
                f"a vocabulary of {vocab} is too small: {SPECIALS} special tokens, 256 bytes (so that no character is "
                f"ever lost) and at least one piece; set vocab to {SMALLEST_VOCABULARY} or more"
            )
        return vocab

    @model_validator(mode="after")
    def _hashes_whole_pieces(self) -> TextConfig:
        if self.unknown == "hash" and (self.tokenizer not in ("char", "word") or self.normalize == "none"):
            raise ValueError(
                "unknown: hash is for tokenizer char or word, and text that is normalized, found tokenizer "
                f"{self.tokenizer} and normalize {self.normalize}; bpe and unigram can spell anything"
            )
        if self.unknown in ("characters", "one") and self.tokenizer != "word":
            raise ValueError(f"unknown: {self.unknown} is for tokenizer word, found tokenizer {self.tokenizer}")
        if self.unknown == "one" and self.min_frequency < 2:
            raise ValueError("unknown: one has to occur in training to be learned: set min_frequency to 2 or more")
        return self

    @model_validator(mode="after")
    def _segments_words(self) -> TextConfig:
        if self.segment != "spaces" and self.tokenizer != "word":
            raise ValueError(f"segment: {self.segment} is for tokenizer word, found tokenizer {self.tokenizer}")
        if self.tags and self.tokenizer not in ("char", "word", "bpe"):
            raise ValueError(f"tags are for tokenizers char, word and bpe, found tokenizer {self.tokenizer}")
        if self.tags and self.segment != "spaces":
            raise ValueError(f"tags are for words that spaces separate, found segment {self.segment}")
        if self.tags and self.tokenizer == "word" and self.unknown in ("hash", "one"):
            raise ValueError(f"tags are for words that can be spelled, found unknown: {self.unknown}")
        if self.known_forms and not (self.tags and self.tokenizer == "char"):
            raise ValueError("known_forms are chosen by their tags: set tags to true, and tokenizer to char")
        if self.segment not in ("spaces", "punctuation") and self.normalize == "none":
            raise ValueError(f"segment: {self.segment} is for text that is normalized, found normalize none")
        if self.turns is not None and self.truncate is not None:
            raise ValueError("truncate reads the beginning, and turns the end: set one of the two")
        if self.turns is not None and (self.tags or self.unknown == "hash" or self.normalize == "none"):
            raise ValueError("turns are for text that is normalized, without tags, and with unknown: spell")
        if self.sentences and (self.tags or self.turns or self.unknown == "hash" or self.normalize == "none"):
            raise ValueError(
                "sentences are for text that is normalized, without tags and turns, and with unknown: spell"
            )
        if self.question and (self.tags or self.turns or self.sentences or self.unknown in ("hash", "one")):
            raise ValueError(
                f"question is for text without tags, turns and sentences, and not with unknown: {self.unknown}"
            )
        if self.question and (self.normalize == "none" or self.remove or self.stop_words or self.breaks):
            raise ValueError(
                "question is for text that is normalized and whole, so that an answer has its place in it: leave out "
                "normalize none, remove, stop_words and breaks"
            )
        if self.numeric and (self.tags or self.turns or self.sentences or self.question):
            raise ValueError("tokenizer series reads numbers: leave out tags, turns, sentences and question")
        if self.labelled and (self.unknown == "hash" or self.normalize == "none"):
            raise ValueError(f"tokenizer {self.tokenizer} is for text that is normalized, with unknown: spell")
        return self

    @property
    def parted(self) -> bool:
        """Whether a text is several, turns, sentences, or question and passage, with tabs between."""
        return self.turns is not None or self.sentences is not None or self.question

    @property
    def labelled(self) -> bool:
        """Whether a text is a label, or a set of them with tabs between."""
        return self.tokenizer in ("label", "labels")

    @property
    def numeric(self) -> bool:
        """Whether a text is a series of numbers."""
        return self.tokenizer == "series"

    @property
    def pointing(self) -> bool:
        """Whether a text is a part of another, known by where it begins and ends."""
        return self.tokenizer == "span"

    @field_validator("remove", "breaks")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern


class DataConfig(Config):
    """All of the data of one run."""

    root: str | None = None
    """The folder that relative paths are below; else the environment's REGARD_DATA, else the current folder."""
    train: SplitConfig
    """What the model learns from."""
    valid: SplitConfig
    """What chooses the best checkpoint."""
    test: SplitConfig | None = None
    """What `regard evaluate` measures on; optional, as a run does not need it."""
    format: Literal["auto", "tsv", "csv", "jsonl", "parquet", "text", "dictionary", "arff", "squad", "ts"] = "auto"
    """`auto` goes by the file's suffix; `dictionary` is CMUdict's: `word(2) P H # comment`; `text` is parallel text;
    `arff` is Weka's; `squad` SQuAD's, versions 1.1 and 2, with columns question, context and answers; `ts` that of the
    UCR and UEA archives, with columns series and label."""
    encoding: str = "utf-8"
    """Of files of text, such as `cp1252` for what old Windows programs wrote; JSON lines are UTF-8 always."""
    separator: str | None = None
    """What separates columns; a tab in TSV and a comma in CSV unless told."""
    source_column: Column | list[Column] = 0
    """By number from 0, or by name; a name in a TSV or CSV file means that its first row holds the names. Several are
    one source, with tabs between."""
    target_column: Column | list[Column] = 1
    """The same; several are several references, of which training uses the first."""
    dialogue: Column | None = None
    """Instead of the two: the column of conversations, each a list of turns (or one text with tabs between). Every turn
    but the first is a target, and the `source.turns` before it are its source."""
    source: TextConfig = TextConfig()
    """The text that is read."""
    target: TextConfig = TextConfig()
    """The text that is written."""
    lines: bool = True
    """Of `text`, each line is a text with an end; false: all is one text, and its line breaks are characters of it."""
    shared_vocabulary: bool = False
    """One vocabulary for both sides: good for languages that share an alphabet, and needed to tie all embeddings."""
    vocabulary_from: str | None = None
    """A run folder whose vocabularies are taken, rather than learned from the training data: for a language model that
    is to help a translator, or runs that are to answer together. `source` and `target` have to be as there."""
    max_length: Annotated[int, Field(ge=1)] = 512
    """Training examples with more tokens than this on a side are left out and counted; 512 keeps a batch in memory."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """More bad lines than this stop the run: one in a hundred is noise, more is a wrong setting."""
    cache: str | None = None
    """Folder for prepared data; else the environment's REGARD_CACHE, else ~/.cache/regard."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            found = codecs.lookup(encoding).name
            if "\n".encode(found) == b"\n":
                return found
        except (LookupError, UnicodeError):
            pass
        raise ValueError(f"{encoding!r} is no encoding that has lines as ASCII has, such as utf-8, cp1252 or gb18030")

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        texts = all(split is None or split.text is not None for split in (self.train, self.valid, self.test))
        columns = self.target_columns() if texts else self.columns()  # text to be written has no source
        for name, found in (("source_column", self.source_columns()), ("target_column", self.target_columns())):
            if not found:
                raise ValueError(f"{name} is empty")
        if len({type(column) for column in columns}) > 1:
            raise ValueError(f"columns are given all by number or all by name, found {columns}")
        if self.dialogue is not None and self.source.turns is None:
            raise ValueError("dialogue: set source.turns, how many turns before a reply are its source, such as 4")
        if self.dialogue is not None and any(s and not (s.table or s.hub) for s in (self.train, self.valid, self.test)):
            raise ValueError("dialogue is a column of tables: name each split as table or hub")
        if self.target.turns is not None:
            raise ValueError("target.turns: turns are what is read, not what is written")
        if self.target.sentences is not None:
            raise ValueError("target.sentences: sentences are told apart in what is read, not in what is written")
        if self.source.labelled or self.source.pointing:
            raise ValueError(
                f"source.tokenizer {self.source.tokenizer} is for what is written, not read; choose word, bpe, unigram "
                "or char"
            )
        if self.target.numeric:
            raise ValueError("target.tokenizer series: series are read, not written")
        if self.source.numeric and self.shared_vocabulary:
            raise ValueError("shared_vocabulary: a series has no vocabulary; set it to false")
        if self.target.question:
            raise ValueError("target.question: a question is read, not written")
        if self.source.question != self.target.pointing:
            raise ValueError(
                "source.question and target.tokenizer span go together: an answer is a part of the passage behind the "
                "question"
            )
        if self.target.tags:
            raise ValueError("target.tags: tags are for what is read, not for what is written")
        if self.target.truncate is not None:
            raise ValueError("target.truncate: what is written is learned whole or not at all; see max_length")
        if not self.lines and self.target.normalize != "none":
            raise ValueError(
                "lines: false reads line breaks as characters, which cleaning takes away: set target.normalize to none"
            )
        same = {"tokenizer", "segment", "vocab", "min_frequency", "unknown"}
        one, other = (text.model_dump(include=same) for text in (self.source, self.target))
        if self.shared_vocabulary and one != other:
            raise ValueError(
                "shared_vocabulary needs the same tokenizer, segment, vocab, min_frequency and unknown on both sides, "
                f"found {one} and {other}"
            )
        if "hash" in (self.source.unknown, self.target.unknown) and not self.shared_vocabulary:
            raise ValueError("unknown: hash is for copying from the source, which needs shared_vocabulary: true")
        return self

    def columns(self) -> list[Column]:
        """What is read of a table: those of the source, then the references; or conversations."""
        return [*self.source_columns(), *self.target_columns()] if self.dialogue is None else [self.dialogue]

    def source_columns(self) -> list[Column]:
        return self.source_column if isinstance(self.source_column, list) else [self.source_column]

    def target_columns(self) -> list[Column]:
        return self.target_column if isinstance(self.target_column, list) else [self.target_column]


def _as_list(files: Files | None) -> list[str]:
    return [] if files is None else [files] if isinstance(files, str) else list(files)
