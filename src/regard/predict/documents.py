"""Texts of several sentences, with tags and placeholders: each sentence is answered, and the text put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import regex

from regard.data.segment import splitter
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.predict.markup import UNITS, UNSPACED, Mark, put, take
from regard.predict.options import choose
from regard.predict.prediction import Prediction
from regard.predict.predictor import BATCH, Predictor

_UNSPACED_END = regex.compile(rf"(?:{UNSPACED}|[。！？…」』）])\Z")


@dataclass(frozen=True)
class _Text:
    """A text taken apart."""

    sentences: list[str]
    marks: list[Mark]


class Documents:
    """A predictor for texts as people write them, one a line.

        documents = Documents(load("runs/bible-en-fr"), sentences="en", markup=True)
        [[answer]] = documents.predict(["<b>He went.</b> Did {name} see it?"])

    sentences   language (ISO 639-1) by whose rules texts are cut into sentences; None: each text is one
    markup      tags, placeholders and addresses do not reach the model, and stand in the answer where what was around
                them went, as attention says (a model without attention: at the same share of the sentence)

    A text has one output, the best. Where a sentence cannot be answered the text has none, and a `problem`.
    """

    def __init__(self, predictor: Predictor, *, sentences: str | None = None, markup: bool = False) -> None:
        if predictor.tokenizers["source"].config.tags:
            raise RegardError("sentences and markup are taken out of texts, and this run's have tags: leave them out.")
        self.predictor, self.markup = predictor, markup
        self._cut = _splitter(sentences)

    def predict(
        self,
        texts: Sequence[str],
        *,
        search: SearchConfig | None = None,
        batch: int = BATCH,
        prefix: str | None = None,
        constraints: Sequence[Sequence[str]] | None = None,
        attention: bool = False,
        strict: bool = False,
        first: int = 0,
        name: Callable[[int], str] | None = None,
        done: Callable[[int], None] | None = None,
        **options: Any,
    ) -> list[list[Prediction]]:
        """As `Predictor.predict`; `done` is told once, of all texts. What only a sentence can have is refused."""
        config = choose(search or self.predictor.recipe.search, options)
        if config.n_best > 1 or prefix is not None or constraints is not None or attention:
            raise RegardError(
                "with sentences or markup a text's one output is put together: no n-best, prefix, constraints, "
                "alignments."
            )
        if config.method == "sample":
            raise RegardError("search.method sample: texts of several sentences are answered by greedy or beam search.")
        parts = [self._part(text) for text in texts]
        flat = [sentence for part in parts for sentence in part.sentences]
        looked = self.markup and any(part.marks for part in parts) and self._attends
        found = self.predictor.predict(flat, search=config, batch=batch, attention=looked)
        answers, at = [], 0
        for number, part in enumerate(parts):
            outputs = [several[0] for several in found[at : at + len(part.sentences)]]
            at += len(part.sentences)
            answer = self._whole(part, outputs)
            if strict and answer.problem:
                raise RegardError(f"{name(number) if name else f'text {first + number + 1}'}: {answer.problem}")
            answers.append([answer])
        if done is not None:
            done(len(texts))
        return answers

    @property
    def _attends(self) -> bool:
        return all(member.model.attends for member in self.predictor.members)

    def _part(self, text: str) -> _Text:
        plain, marks = take(text) if self.markup else (text, [])
        return _Text([sentence for sentence in self._cut(plain) if sentence.strip()], marks)

    def _whole(self, part: _Text, outputs: Sequence[Prediction]) -> Prediction:
        """The outputs of a text's sentences as one, with its marks."""
        for number, output in enumerate(outputs, start=1):
            if output.problem:
                of = f"sentence {number}: " if len(outputs) > 1 else ""
                return Prediction(problem=of + output.problem)
        text = together([output.text for output in outputs])
        if part.marks:
            where: list[int | None] = []
            before = 0
            for sentence, output in zip(part.sentences, outputs, strict=True):
                units = UNITS.findall(sentence)
                where += [None if unit is None else before + unit for unit in self._where(sentence, units, output)]
                before += len(units)
            text = put(text, part.marks, where)
        total = sum(output.log_prob for output in outputs)
        return Prediction(text=text, score=total, log_prob=total, finished=all(output.finished for output in outputs))

    def _where(self, sentence: str, source: Sequence[str], output: Prediction) -> list[int | None]:
        """For each unit of an output the unit of its sentence that it came from. source   the units of the sentence"""
        target = UNITS.findall(output.text)
        if not source:
            return [None] * len(target)
        if output.attention is None:
            return [min(i * len(source) // len(target), len(source) - 1) for i in range(len(target))]
        tokenizers, task = self.predictor.tokenizers, self.predictor.task
        [ids] = tokenizers["source"].encode([sentence])
        unnamed = tokenizers["source"].unnamed(sentence)
        read, of_source = _units(lambda count: tokenizers["source"].decode(ids[:count], unnamed), len(ids))
        _, of_target = _units(lambda count: task.finish(output.ids[:count], tokenizers, unnamed), len(output.ids))
        raw = _same_units(source, read)
        weights = [[0.0] * len(source) for _ in target]
        for row, units in zip(output.attention.tolist(), of_target, strict=False):
            for weight, under in zip(row, of_source, strict=False):
                for i in units:
                    for j in under:
                        weights[i][raw[j]] += weight
        return [max(range(len(source)), key=each.__getitem__) if any(each) else None for each in weights]


def together(sentences: Sequence[str]) -> str:
    """Sentences as one text; where a script puts no space between words, none is between sentences."""
    text = ""
    for sentence in filter(None, sentences):
        text += (" " if text and not _UNSPACED_END.search(text) else "") + sentence
    return text


def _same_units(raw: Sequence[str], read: Sequence[str]) -> list[int]:
    """For each unit of a cleaned sentence the unit of the sentence: the same, or where those around it stand."""
    found, first, last = [0] * len(read), 0, 0
    blocks = SequenceMatcher(None, [unit.lower() for unit in raw], [unit.lower() for unit in read], autojunk=False)
    for block in blocks.get_matching_blocks():
        for i in range(last, block.b):  # among those between, or at what stands before them
            between = first + (i - last) * (block.a - first) // (block.b - last)
            found[i] = min(between, len(raw) - 1) if block.a > first else max(first - 1, 0)
        for i in range(block.size):
            found[block.b + i] = block.a + i
        first, last = block.a + block.size, block.b + block.size
    return found


def _units(prefix: Callable[[int], str], tokens: int) -> tuple[list[str], list[list[int]]]:
    """The units of a text, and for each token those that it is a part of, told by the text of the first tokens."""
    ends, whole = [len(prefix(count)) for count in range(tokens + 1)], prefix(tokens)
    spans = [match.span() for match in UNITS.finditer(whole)]
    under = [
        [unit for unit, (low, high) in enumerate(spans) if low < end and begin < high] for begin, end in pairwise(ends)
    ]
    return [whole[low:high] for low, high in spans], under


def _splitter(language: str | None) -> Callable[[str], Sequence[str]]:
    if language is None:
        return lambda text: [text]
    if not regex.fullmatch("[a-z]{2,3}", language):
        raise RegardError(f"--sentences {language}: give a language by its ISO 639 code, such as en, fr or ja.")
    return splitter(language)
