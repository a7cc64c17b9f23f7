"""`Predictor`: texts in, outputs out, in the same order, and the same whatever else is asked at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from regard.data.config import MOST_TOKENS, POINTERS
from regard.data.store import target_ids
from regard.data.text import TAG
from regard.data.tokenizer import EOS, TURN_END, unnamed
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences, prepare_sources
from regard.decode.ensemble import Ensemble
from regard.decode.fusion import Fused
from regard.decode.outputs import Hypothesis
from regard.decode.protocol import Decoder
from regard.decode.search import as_chosen
from regard.errors import RegardError
from regard.predict.forced import score_forced
from regard.predict.language import LANGUAGE_WEIGHT, check_language
from regard.predict.member import Member
from regard.predict.options import choose
from regard.predict.prediction import END_MARK, Prediction
from regard.predict.wanted import prefix_ids, required_ids, search_for, to_constraints
from regard.score.agreement import order
from regard.score.metric import Metric

CHARACTERS_PER_TOKEN = 20
"""A text of more characters than this for each allowed token is refused before it is tokenised."""
BATCH = 64
"""Sentences searched together; more is hardly faster on a CPU, and changes no output."""

MOST_ROWS = 2**13
"""Hypotheses at once: each has a score for every piece of the vocabulary, 32 KB with 8,000 pieces."""
MOST_REMEMBERED = 2**26
"""Numbers in the caches of hypotheses at once, 256 MB."""
MOST_CELLS = 2**18
"""Hypotheses × source steps at once: additive attention computes a vector for each, 1 KB with 256 numbers."""


@dataclass(frozen=True)
class Asked:
    """A text as the model reads it."""

    text: str
    ids: list[int]
    problem: str | None = None
    begun: list[int] = field(default_factory=list)
    """what the output has to begin with"""
    required: list[list[int]] = field(default_factory=list)
    """phrases that must be in it"""


class Predictor:
    """A run, or several as an ensemble, that answers texts. `regard.load` makes one.

    predictor = regard.load("runs/multi30k")
    predictor(["ein Hund läuft ."], beam=10)                         # the best output's text
    predictor.predict(["ein Hund läuft ."], n_best=3)[0][0].score    # n-best, with scores
    predictor.score(["ein Hund läuft ."], ["a dog runs ."])          # what the model thinks of given outputs
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        max_source_length: int = MOST_TOKENS,
        approximate: Sequence[str] = (),
        language: Member | None = None,
        language_weight: float = LANGUAGE_WEIGHT,
    ) -> None:
        assert members, "a predictor needs a member"
        if max_source_length < 1:
            raise RegardError(f"max_source_length: {max_source_length}; at least one token is needed.")
        self.members = list(members)
        if max_source_length >= POINTERS and any(member.model.copies for member in members):
            raise RegardError(f"max_source_length: a model that copies reads fewer than {POINTERS:,} tokens.")
        self.approximate = list(approximate)
        """what its decoding leaves out for speed: int8, shortlist; nothing by default"""
        self.max_source_length = max_source_length
        first = self.members[0]
        channels = max(1, first.tokenizers["source"].channels)
        self.max_characters = CHARACTERS_PER_TOKEN * channels * max_source_length
        self.recipe, self.task, self.tokenizers = first.recipe, first.task, first.tokenizers
        for other in self.members[1:]:
            _check_together(first, other)
        self.decoder: Decoder = first.decoder if len(members) == 1 else Ensemble([member.decoder for member in members])
        self.language = language
        if language is not None:
            check_language(self.members, language, language_weight)
            self.decoder = Fused(self.decoder, language.decoder, language_weight)

    def __repr__(self) -> str:
        return f"Predictor({', '.join(repr(str(member.run.path)) for member in self.members)})"

    def __call__(self, texts: Sequence[str], **options: Any) -> list[str]:
        """The best output of each text; options as in `predict`."""
        return [outputs[0].text for outputs in self.predict(texts, **options)]

    def search_config(self, **options: Any) -> SearchConfig:
        """The recipe's search with these options over it."""
        return choose(self.recipe.search, options)

    def predict(
        self,
        texts: Sequence[str],
        *,
        search: SearchConfig | None = None,
        batch: int = BATCH,
        prefix: str | Sequence[str] | None = None,
        constraints: Sequence[str] | Sequence[Sequence[str]] | None = None,
        attention: bool = False,
        strict: bool = False,
        first: int = 0,
        name: Callable[[int], str] | None = None,
        done: Callable[[int], None] | None = None,
        **options: Any,
    ) -> list[list[Prediction]]:
        """The n-best outputs of each text, best first, in the order of the texts; one at least for each.

        Of task write the texts are beginnings, which outputs begin with.

        search      how to search; default: the recipe's, changed by `options` (beam=, n_best=, temperature=, …)
        batch       sentences at a time: memory and speed, never the result
        prefix      text that every output begins with, or one for each text
        constraints words, or several in a row, that must be in every output, or a list of them for each text (an output
                    that was cut off may lack some)
        attention   return attention weights and alignments
        strict      raise for a text that is too long, rather than answer it with an empty output and a `problem`
        first       the number of the first text, from 0: with the seed it fixes what sampling draws
        name        what to call text i in errors; default: its number from 1
        done        called with the number of texts after each batch
        """
        config = search_for(self, search, options)
        metric, wide = self.task.compared_by(config), config.compared()
        self._check_attention(attention)
        if batch < 1:
            raise RegardError(f"batch: {batch} sentences; at least one is needed.")
        read = self._asked(texts, prefix)
        if constraints is not None:
            each = required_ids(self, constraints, len(read), config)
            read = [replace(one, required=phrases) for one, phrases in zip(read, each, strict=True)]
        if strict:
            for i, one in enumerate(read):
                if one.problem:
                    raise RegardError(f"{name(i) if name else f'text {first + i + 1}'}: {one.problem}")
        blank = [END_MARK] if attention else None
        answers = [[Prediction(problem=one.problem, source_tokens=blank)] for one in read]
        live = [i for i, one in enumerate(read) if self._said(one)]
        if done is not None and len(live) < len(read):
            done(len(read) - len(live))
        for chosen, size in self._batch_sizes([self._said(read[i]) for i in live], wide, batch):
            rows = [live[i] for i in chosen]
            found = decode_sentences(
                self._encode,
                self.decoder,
                [read[row].ids for row in rows],
                wide,
                batch_sentences=size,
                prefix=[read[row].begun for row in rows] if any(read[row].begun for row in rows) else None,
                constraints=to_constraints(self, [read[row].required for row in rows]),
                ids=[first + row for row in rows],
                keep_weights=attention,
                device=self.members[0].device,
                done=done,
            )
            for row, hypotheses in zip(rows, found, strict=True):
                answers[row] = self._ranked(hypotheses, read[row], config, metric, attention)
        return answers

    def _ranked(
        self, found: Sequence[Hypothesis], one: Asked, config: SearchConfig, metric: Metric | None, attention: bool
    ) -> list[Prediction]:
        """What was found for a text, the best first. metric   `Task.compared_by`'s"""
        known = unnamed(self.tokenizers, one.text)
        several = [self._finish(each, one.ids, known, attention) for each in found]
        best = order([each.text for each in several], [each.log_prob for each in several], config, metric)
        return [several[place] for place in best[: config.n_best]]

    @torch.inference_mode()
    def as_written(
        self, text: str, *, search: SearchConfig | None = None, number: int = 0, **options: Any
    ) -> Iterator[str]:
        """The output for one text, in pieces, each as soon as it is chosen: that of `predict`, put together.

        Of task write, what goes on from the text, without it. Greedy search or a single sample, as an option or in the
        recipe; `number` is what `first` is in `predict`.
        """
        config = search_for(self, search, options)
        if config.mbr is not None:
            raise RegardError("token by token: search.mbr chooses among whole outputs; set it to null.")
        [one] = self._asked([text], None)
        if one.problem:
            raise RegardError(f"text: {one.problem}")
        if not len(one.ids) and not self.task.continues:
            return
        source = prepare_sources(self._encode, self.decoder, [one.ids], self.members[0].device)
        known, tokens = unnamed(self.tokenizers, one.text), list(one.begun)
        shown = found = self.task.finish(tokens, self.tokenizers, known)
        for token in as_chosen(self.decoder, source, config, prefix=one.begun, number=number):
            tokens.append(token)
            found = self.task.finish(tokens, self.tokenizers, known)
            if not found.endswith("\ufffd"):  # a character of which there are some bytes yet
                yield found[len(shown) :]
                shown = found
        if found != shown:
            yield found[len(shown) :]

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        search: SearchConfig | None = None,
        batch: int = BATCH,
        attention: bool = False,
        **options: Any,
    ) -> list[Prediction]:
        """Each given target as if search had found it: log-probability, score, and both per token.

            predictor.score(["ein Hund läuft ."], ["a dog runs ."])[0].log_prob

        Computed by teacher forcing, all tokens known beforehand. Search options say how a log-probability becomes
        a score. A text or target that is too long is answered with an empty output and a `problem`.
        """
        if self.language is not None:
            raise RegardError("score: gives what the model itself thinks; load it without the language model.")
        if len(sources) != len(targets):
            raise RegardError(f"score: {len(sources):,} sources and {len(targets):,} targets; give one for each.")
        config = search_for(self, search, options)
        self._check_attention(attention)
        read = self.read_each(sources)
        told = self._told(read, targets)
        answers = [Prediction(problem=one.problem or two.problem) for one, two in zip(read, told, strict=True)]
        live = [i for i, answer in enumerate(answers) if not answer.problem]
        single = config.model_copy(update={"method": "greedy", "n_best": 1})
        lengths = [max(len(read[i].ids), len(told[i].ids)) for i in live]
        for chosen, size in self._batch_sizes(lengths, single, batch):
            rows = [live[i] for i in chosen]
            found = score_forced(
                [member.model for member in self.members],
                [read[row].ids for row in rows],
                [told[row].ids for row in rows],
                config,
                batch_sentences=size,
                keep_weights=attention,
                device=self.members[0].device,
            )
            for row, hypothesis in zip(rows, found, strict=True):
                known = self.tokenizers["target"].unnamed(told[row].text) | unnamed(self.tokenizers, read[row].text)
                answers[row] = self._finish(hypothesis, read[row].ids, known, attention)
        return answers

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as a source; one that is too long is an error."""
        found = self.read_each(texts)
        for i, one in enumerate(found, start=1):
            if one.problem:
                raise RegardError(f"text {i}: {one.problem}")
        return [one.ids for one in found]

    def _encode(self, ids: Tensor, lengths: Tensor) -> Sequence[Any]:
        """What the decoder prepares from: a memory, or each model's own."""
        memories = [member.encode(ids, lengths) for member in self.members]
        own = memories[0] if len(memories) == 1 else memories
        if self.language is None:
            return own
        nothing = torch.full((len(ids), 1), EOS, device=ids.device)
        return [own, self.language.encode(nothing, torch.ones(len(ids), dtype=torch.int64))]

    def _asked(self, texts: Sequence[str], prefix: str | Sequence[str] | None) -> list[Asked]:
        """Texts as search takes them: sources, or, of task write, what outputs begin with."""
        if self.task.continues:
            if prefix is not None:
                raise RegardError("prefix: outputs begin with the texts themselves; leave it out.")
            return [Asked(one.text, [], one.problem, one.ids) for one in self.read_each(texts, "target")]
        read, begun = self.read_each(texts), prefix_ids(self, prefix, len(texts))
        return [replace(one, begun=ids) for one, ids in zip(read, begun, strict=True)] if begun else read

    def _said(self, one: Asked) -> int:
        """Tokens of what was asked. Nothing asked has an empty answer, whatever it was to begin with."""
        return len(one.begun if self.task.continues else one.ids)

    def read_each(self, texts: Sequence[str], side: str = "source") -> list[Asked]:
        """Ids of each text, or why it is refused; characters first, as tokenising a book takes its time. Where the
        recipe reads the beginning alone, or the last turns, the rest is no reason."""
        if isinstance(texts, str):
            raise RegardError("predict: expected a list of texts, found one text; put it in a list.")
        texts = list(texts)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise RegardError(f"predict: text {i + 1} is {type(text).__name__}, expected str.")
        config = self.tokenizers[side].config
        texts = [self.tokenizers[side].kept(text, self.max_characters) for text in texts]
        shorter = "shorten it, split it, or raise max_source_length (--max-source-length)."
        tagged = config.tags and len(self.recipe.data.source_columns()) > 1  # each text of the data has a tab
        short = [text if len(text) <= self.max_characters else "" for text in texts]
        read = []
        for text, (ids, problem) in zip(texts, self._encoded(short, side), strict=True):
            if problem:
                pass
            elif len(text) > self.max_characters:
                problem = f"{len(text):,} characters, more than {self.max_characters:,}; {shorter}"
            elif len(ids) > self.max_source_length:
                problem = f"{len(ids):,} tokens, more than {self.max_source_length:,}; {shorter}"
            elif len(ids) and tagged and TAG not in text:
                problem = "no tab, and this run was trained on texts with tags behind one: TEXT, tab, TAGS (--tag)."
            elif strange := self.tokenizers[side].strange_tags(text):
                problem = f"no text of the training data had the tag {strange[0]!r}."
            elif config.question and len(ids) and TURN_END not in ids:
                problem = "no passage: expected QUESTION, tab, PASSAGE."
                if config.truncate is not None and len(ids) == config.truncate:
                    problem = f"the question alone has {config.truncate:,} tokens, and no more are read; ask shorter."
            read.append(Asked(text, [] if problem else ids, problem))
        return read

    def _encoded(self, texts: Sequence[str], side: str) -> Iterator[tuple[Any, str | None]]:
        """What stands for each text, and why nothing does: not every text is a series."""
        tokenizer = self.tokenizers[side]
        if not tokenizer.config.numeric:
            yield from ((ids, None) for ids in tokenizer.encode(texts))
            return
        for text in texts:
            try:
                yield tokenizer.encode([text])[0], None
            except RegardError as error:
                yield [], str(error)

    def _told(self, sources: Sequence[Asked], targets: Sequence[str]) -> list[Asked]:
        """Ids of what is to be scored; of an answer, where in its source it stands."""
        told = self.read_each(targets, "target")
        if not self.tokenizers["target"].config.pointing:
            return told
        missing = "the answer is not in the passage, or not in what is read of it; give a part of the passage."
        texts = ["" if one.problem else one.text for one in sources]
        pairs = zip(told, target_ids(self.tokenizers, texts, [one.text for one in told]), strict=True)
        return [replace(one, ids=ids, problem=one.problem or (None if ids else missing)) for one, ids in pairs]

    def _check_attention(self, wanted: bool) -> None:
        for member in self.members if wanted else []:
            if not member.model.attends:
                raise RegardError(f"{member.run.path}: this model has no attention, so there is none to show.")

    def _batch_sizes(self, lengths: list[int], config: SearchConfig, batch: int) -> Iterator[tuple[list[int], int]]:
        """Positions, and how many of them to search together: fewer where sentences are long or beams wide."""
        hypotheses = config.width * config.samples
        models = [member.recipe.model for member in self.members]
        remembered = sum(one.cache.size * one.decoder.hidden for one in models if one.cache)
        kept = MOST_REMEMBERED // remembered if remembered else MOST_ROWS
        sizes: dict[int, list[int]] = {}
        for position, length in enumerate(lengths):
            most = min(MOST_ROWS // hypotheses, MOST_CELLS // (hypotheses * (length + 1)), kept // hypotheses)
            sizes.setdefault(max(1, min(batch, most)), []).append(position)
        for size, positions in sizes.items():
            yield positions, size

    def _finish(self, found: Hypothesis, source: list[int], known: Mapping[int, str], attention: bool) -> Prediction:
        """known   what ids beyond the vocabulary stand for"""
        return Prediction(
            text=self.task.finish(found.tokens, self.tokenizers, known),
            score=found.score,
            log_prob=found.log_prob,
            tokens=self.tokenizers["target"].pieces(found.tokens, known),
            token_log_probs=found.token_log_probs,
            finished=found.finished,
            ids=found.tokens,
            source_tokens=[*self.tokenizers["source"].pieces(source, known), END_MARK] if attention else None,
            attention=found.weights,
        )


def _check_together(first: Member, other: Member) -> None:
    """Members of an ensemble read and write the same pieces, on one device and in one precision."""
    for side in ("target", "source"):
        one, two = first.tokenizers[side], other.tokenizers[side]
        if one.to_json() != two.to_json():
            raise RegardError(
                f"an ensemble needs one {side} vocabulary: {first.run.path} has {one.size:,} {side} pieces, "
                f"{other.run.path} has {two.size:,}{' others' if one.size == two.size else ''}; "
                "train both on the same data with the same tokenizer settings."
            )
    if first.recipe.task != other.recipe.task:
        raise RegardError(
            f"an ensemble does one task: {first.run.path} was trained to {first.recipe.task}, "
            f"{other.run.path} to {other.recipe.task}."
        )
    dtypes = [next(member.model.parameters()).dtype for member in (first, other)]
    if dtypes[0] != dtypes[1]:
        raise RegardError(
            f"an ensemble has one precision: {first.run.path} is in {str(dtypes[0]).removeprefix('torch.')}, "
            f"{other.run.path} in {str(dtypes[1]).removeprefix('torch.')}; set precision to one for both."
        )
