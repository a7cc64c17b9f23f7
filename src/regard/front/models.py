"""A class for each task: what it learns from where the user says nothing, and what is its own about rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from regard.data.config import MOST_TOKENS
from regard.data.text import TAG
from regard.data.tokenizer import EOS
from regard.errors import RegardError
from regard.front.columns import column_of, rows_of, same_length, series_of, texts_of
from regard.front.estimator import Estimator
from regard.predict.labels import label_probabilities
from regard.tasks.write import stream_scores

WORDS = {"tokenizer": "word", "segment": "punctuation", "lowercase": True}


class Translator(Estimator):
    """Sentences to sentences of another language.

    model = regard.Translator().fit(german, english)
    model.predict(["ein Hund läuft ."])
    """

    task = "translate"
    defaults: ClassVar[Mapping[str, Any]] = {"data": {"shared_vocabulary": True}, "model": {"tie": "all"}}


class Summarizer(Estimator):
    """Documents to summaries, headlines or subject lines; names may be copied.

    model = regard.Summarizer().fit(mails, subjects)
    """

    task = "summarize"
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {
            "source": {**WORDS, "min_frequency": 3, "unknown": "hash", "truncate": 120},
            "target": {**WORDS, "min_frequency": 3, "unknown": "hash"},
            "shared_vocabulary": True,
        },
        "model": {"tie": "all", "readout": "copy", "attention": {"coverage": "sum"}},
    }


class Transducer(Estimator):
    """Words to their pronunciations, inflected forms or transliterations; a row of several texts is a lemma and its
    features.

    model = regard.Transducer().fit(words, pronunciations)
    """

    task = "transduce"
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {"source": {"tokenizer": "char"}, "target": {"tokenizer": "char"}},
        "model": {"embed": 96, "encoder": {"hidden": 128}, "attention": {"dim": 128}, "decoder": {"hidden": 128}},
    }

    def _data(self, data: dict[str, Any], place: Path) -> dict[str, Any]:
        found = super()._data(data, place)
        tags = found.get("source", {}).get("tags", False) or self._tagged
        return {**found, "source": {**found.get("source", {}), "tags": tags}}

    def _read(self, X: Any, y: Any) -> tuple[list[str], Sequence[Any]]:
        found = super()._read(X, y)
        self._tagged = any(TAG in text for text in found[0])
        return found


class Classifier(Estimator):
    """Texts to labels, of any type, or to sets of labels (a list of lists, or an indicator matrix).

        model = regard.Classifier().fit(reviews, ["good", "bad", …])
        model.predict(["A lovely film."]), model.predict_proba(["A lovely film."]), model.classes_

    In the place of texts, series of numbers: an array (rows, steps) or (rows, steps, channels), or a list of arrays
    (steps,) or (steps, channels) of any length, of which the first 1,000 steps are read.

    `predict` answers with the labels as they were given, in an array.
    """

    task = "classify"
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {"source": {**WORDS, "truncate": 600}, "max_length": 1000},
        "model": {"embed": 128, "encoder": {"hidden": 96}, "attention": None},
    }
    _estimator_type = "classifier"

    def fit(self, X: Any, y: Any = None, *, X_valid: Any = None, y_valid: Any = None) -> Self:
        if y is None:
            raise RegardError("Classifier.fit needs y: the label of each row of X.")
        series = series_of(X, "X")
        others = None if X_valid is None else series_of(X_valid, "X_valid")
        self._numeric = series is not None
        if X_valid is not None and self._numeric != (others is not None):
            raise RegardError("X and X_valid: one is series of numbers, and the other texts.")
        X, X_valid = series or X, others or X_valid
        rows = rows_of(y, "y")
        self._matrix = getattr(y, "ndim", 1) == 2 and np.asarray(y).shape[1] > 1
        self._several = self._matrix or any(_is_set(row) for row in rows)
        if self._matrix:
            self.classes_ = np.arange(np.asarray(y).shape[1])
        else:
            each = [(i, label) for i, row in enumerate(rows) for label in (row if self._several else [row])]
            self.classes_ = np.unique([_label(label, i) for i, label in each])
        self._check_classes()
        return super().fit(X, y, X_valid=X_valid, y_valid=y_valid)

    def predict(self, X: Any, **options: Any) -> Any:
        """The likeliest label of each row, in an array; of sets, all labels that are likelier than not, in a list of
        lists or an indicator matrix."""
        if options:
            raise RegardError(f"Classifier.predict takes no options, found {', '.join(options)}.")
        found = self.predict_proba(X)
        if not self._several:
            return self.classes_[found.argmax(1)]
        there = found > 0.5
        return there.astype(int) if self._matrix else [self.classes_[row].tolist() for row in there]

    def predict_proba(self, X: Any) -> np.ndarray:
        """(rows, classes) the probability of each label, in the order of `classes_`; of several, each by itself."""
        texts = self._sources(X)
        predictor = self._fitted()
        found = np.zeros((len(texts), len(self.classes_)))
        places = {self._name(label): i for i, label in enumerate(self.classes_.tolist())}
        known = [places[name] for name in predictor.tokenizers["target"].labels]
        found[:, known] = label_probabilities(predictor, texts).numpy()
        return found if self._several else found / found.sum(1, keepdims=True)

    def score(self, X: Any, y: Any) -> float:
        """Accuracy, from 0 to 1, as scikit-learn has it; of sets, of those that are right as a whole."""
        found, wanted = list(self.predict(X)), rows_of(y, "y")
        same_length(found, wanted)
        right = [
            self._names(self._row(one)) == self._names(self._row(two)) for one, two in zip(found, wanted, strict=True)
        ]
        return float(np.mean(right))

    def _read(self, X: Any, y: Any) -> tuple[list[str], list[str]]:
        return texts_of(X, "X"), [self._names(self._row(row)) for row in rows_of(y, "y")]

    def _sources(self, X: Any) -> list[str]:
        found = series_of(X, "X")
        if found is not None and not self._fitted().tokenizers["source"].channels:
            raise RegardError("X: series of numbers, and this Classifier has learned from texts.")
        return texts_of(X, "X") if found is None else found

    def _row(self, row: Any) -> Any:
        """Of an indicator matrix the places of its ones."""
        return np.flatnonzero(row).tolist() if self._matrix else row

    def _check_classes(self) -> None:
        """Refuse what cannot be told apart."""
        labels = self.classes_.tolist()
        if len(labels) < 2 and not self._several:
            raise RegardError(f"y has a single label, {labels[0]!r}: there is nothing to tell apart.")
        known: dict[str, Any] = {}
        for label in labels:
            other = known.setdefault(self._name(label), label)
            if other is not label:
                raise RegardError(f"y has the labels {other!r} and {label!r}, which are one once cleaned: rename one.")

    def _names(self, row: Any) -> str:
        return TAG.join(sorted(map(self._name, row))) if self._several else self._name(row)

    def _name(self, label: Any) -> str:
        """A label as a text, of the type that all of them have; `normalize` leaves it as it is."""
        if self.classes_.dtype.kind in "biuf":  # 1 is 1.0 where others have a point
            label = np.asarray([label]).astype(self.classes_.dtype)[0]
        return unicodedata.normalize("NFC", " ".join(str(label).split()))

    def _data(self, data: dict[str, Any], place: Path) -> dict[str, Any]:
        target = {"tokenizer": "labels" if self._several else "label"}
        if self._numeric and data.get("source", {}).get("tokenizer") != "series":
            data = {**data, "source": {"tokenizer": "series", "truncate": MOST_TOKENS}, "max_length": MOST_TOKENS}
        return {**super()._data(data, place), "target": target}

    def _recipe_values(self, values: dict[str, Any]) -> dict[str, Any]:
        model = dict(values.get("model", {}))
        decoder = model.get("decoder", {})
        decoder = {"type": decoder} if isinstance(decoder, str) else decoder
        return {**values, "model": {**model, "decoder": {"type": "labels", **decoder, "several": self._several}}}

    def _open(self, path: Path) -> None:
        super()._open(path)
        if not hasattr(self, "classes_"):  # of a folder, which knows labels as texts
            recipe, target = self.run_.recipe, self._fitted().tokenizers["target"]
            self._several, self._matrix = recipe.data.target.tokenizer == "labels", False
            self.classes_ = np.array(target.labels)


class Reader(Estimator):
    """Questions about passages to the part of the passage that answers, or to nothing where it does not.

        model = regard.Reader().fit([("Who sold the mill?", passage), …], ["Émile Tisserand", …])
        model.predict([("Who bought it?", passage)])

    A row of X is a question and a passage: a pair, a mapping with `question` and `context`, or a row of a table with
    these columns, whatever others it has. A row of y is a text of the passage, several that are right, SQuAD's mapping
    of `text` and `answer_start`, or nothing (empty, or None); y may be left out where X has `answers`. `score` is F1
    by SQuAD's rules, from 0 to 100.
    """

    task = "answer"
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {
            "source": {**WORDS, "question": True, "unknown": "characters", "min_frequency": 2, "truncate": 600},
            "target": {"tokenizer": "span"},
            "max_length": 600,
        },
        "model": {
            **{"embed": 64, "spelling": {"filters": 32}, "attention": None, "decoder": {"type": "span"}},
            **{"dropout": 0.2, "encoder": {"type": "flow", "hidden": 64, "modelling": {"hidden": 64}}},
        },
        "train": {"label_smoothing": 0.0},
    }

    def _read(self, X: Any, y: Any) -> tuple[list[str], Sequence[Any]]:
        if y is None:
            y = column_of(X, "answers")
        if y is None:
            raise RegardError("Reader.fit needs y: the answer to each row of X, or a column answers in X.")
        return self._sources(X), [_right(row, i) for i, row in enumerate(rows_of(y, "y"))]

    def _sources(self, X: Any) -> list[str]:
        parts = [column_of(X, name) for name in ("question", "context")]
        if any(part is None for part in parts):
            return texts_of(X, "X")
        return texts_of({"question": parts[0], "context": parts[1]}, "X")


class Writer(Estimator):
    """Texts to more text: a language model of lines.

        model = regard.Writer().fit(lines)
        model.predict(["Once upon"])

    `score` is the negative nats per token, so that more is better.
    """

    task = "write"
    defaults: ClassVar[Mapping[str, Any]] = {
        "model": {"encoder": "none", "attention": None, "decoder": {"input_feeding": False}},
        "train": {"label_smoothing": 0.0},
        "search": {"method": "sample", "temperature": 0.8},
    }
    _supervised = False

    def _read(self, X: Any, y: Any) -> tuple[list[str], list[str]]:
        """Every row is what is to be written; there is no source."""
        lines = texts_of(X, "X")
        return lines, lines

    def _data(self, data: dict[str, Any], place: Path) -> dict[str, Any]:
        found = super()._data(data, place)
        kept = {key: found[key] for key in ("root", "cache", "max_bad_fraction")}
        kept |= {key: value for key, value in found.items() if key == "target"}
        return {**kept, **{split: {"text": f"{split}.txt"} for split in ("train", "valid")}}

    @staticmethod
    def _write(place: Path, splits: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        for name, rows in splits.items():
            text = "".join(" ".join(line.splitlines()) + "\n" for line, _ in rows)
            (place / f"{name}.txt").write_text(text, encoding="utf-8")

    def score(self, X: Any, y: Any = None) -> float:
        """The negative of nats per token."""
        predictor = self._fitted()
        ids = predictor.tokenizers["target"].encode(texts_of(X, "X"))
        tokens = np.array([token for line in ids for token in (*line, EOS)], dtype=np.int32)
        return -stream_scores(predictor.members[0].model, tokens)["nats"]


def _label(label: Any, row: int) -> Any:
    """A label that there is."""
    if _missing(label) or (isinstance(label, str) and not label.strip()):
        raise RegardError(f"y: row {row} has no label ({label!r}): leave the row out, or give it one.")
    return label


def _missing(value: Any) -> bool:
    """Nothing, as Python, pandas and NumPy say it."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and bool(np.isnan(value)))


def _right(row: Any, i: int) -> list[str]:
    """The right answers to a question, each with where it begins behind a tab, where that is told."""
    row = None if _missing(row) else row
    found, begins = (row.get("text"), row.get("answer_start")) if isinstance(row, Mapping) else (row, None)
    texts, starts = (_list(part) for part in (found, begins))
    if not all(isinstance(text, str) for text in texts):
        raise RegardError(
            f"y: row {i} is {type(row).__name__} {str(row)[:40]}, expected a text, several, or text and answer_start."
        )
    cleaned = [text.replace(TAG, " ") for text in texts]
    if len(starts) == len(cleaned):
        cleaned = [f"{text}{TAG}{start}" for text, start in zip(cleaned, starts, strict=True)]
    return cleaned or [""]


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _is_set(row: Any) -> bool:
    return isinstance(row, Iterable) and not isinstance(row, str | bytes | Mapping)


MODELS: dict[str, type[Estimator]] = {
    "Translator": Translator,
    "Summarizer": Summarizer,
    "Transducer": Transducer,
    "Classifier": Classifier,
    "Reader": Reader,
    "Writer": Writer,
}
"""What `regard` offers by these names."""
