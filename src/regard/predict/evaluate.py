"""Outputs against references: scores with intervals and signatures, and how they came about.

predictor = load("runs/multi30k")
result = evaluate(predictor, split_examples(predictor, "test"))
print(result.scores["bleu"], result.signatures["bleu"])       # BLEU 39.1 [38.2, 40.0] nrefs:1|case:mixed|…
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regard.data.batches import Indices
from regard.data.config import DataConfig, SplitConfig
from regard.data.files import expanded
from regard.data.prepare import Pairs, prepare_split
from regard.data.read import split_files
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.predict.predictor import BATCH, Predictor
from regard.predict.stream import CHUNK
from regard.score import Interval, Perplexity, Told, interval
from regard.score.calibration import calibration_error
from regard.score.metric import Metric
from regard.train.machine import commit

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Examples:
    """What outputs are compared with."""

    name: str
    """`test` and the like, or the source file"""
    files: list[str]
    pairs: Pairs


@dataclass(frozen=True)
class Evaluation:
    """Scores of a run on some data, with all that is needed to find the same numbers again."""

    runs: list[dict[str, Any]]
    data: dict[str, Any]
    search: SearchConfig
    cache: dict[str, Any] | None
    """the first run's, where it has one"""
    commit: str | None
    """of the checkout that measured, which may not be the one that trained; None outside one"""
    approximate: list[str]
    """what was left out for speed, in training or in decoding"""
    metrics: list[Metric]
    scores: dict[str, Interval]
    signatures: dict[str, str]
    perplexity: Interval
    told: Told
    """what perplexity and accuracy are of"""
    sentences: int
    refused: int
    """texts too long to be answered; their outputs are empty, and count"""
    unscored: int
    """pairs with a side that is too long, left out of perplexity and accuracy"""
    bad: int
    """lines of the data that could not be read, left out"""
    first_bad: str
    """the first of them, with its file, number and reason; empty: there is none"""
    seconds: float
    """for finding the outputs alone"""
    calibration_error: float | None
    """expected, of the best outputs' probabilities, in percent; None where an output is not one label"""
    outputs: list[str]
    references: list[list[str]]
    statistics: dict[str, np.ndarray]

    @property
    def sentences_per_second(self) -> float:
        return self.sentences / self.seconds if self.seconds else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but texts and statistics."""
        return {
            "runs": self.runs,
            "data": self.data,
            "search": self.search.model_dump(mode="json"),
            "cache": self.cache,
            "commit": self.commit,
            "approximate": self.approximate,
            "scores": {
                name: {**asdict(score), "signature": self.signatures[name]} for name, score in self.scores.items()
            },
            "perplexity": self.perplexity.value,
            "perplexity_interval": [self.perplexity.low, self.perplexity.high],
            "accuracy": self.told.accuracy,
            "calibration_error": self.calibration_error,
            "sentences": self.sentences,
            "refused": self.refused,
            "unscored": self.unscored,
            "bad": self.bad,
            "first_bad": self.first_bad,
            "seconds": round(self.seconds, 3),
            "sentences_per_second": round(self.sentences_per_second, 2),
        }


def split_examples(predictor: Predictor, split: str = "test") -> Examples:
    """A split of the recipe that the run was trained with."""
    data = predictor.recipe.data
    if split not in SPLITS:
        raise RegardError(f"data: there is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    chosen: SplitConfig | None = getattr(data, split)
    if chosen is None:
        raise RegardError(
            f"{predictor.members[0].run.path}: its recipe has no data.{split}; choose --data valid, "
            "or name files with --source and --references."
        )
    return _prepared(predictor, split, chosen, data)


def file_examples(predictor: Predictor, source: str | Path, references: Sequence[str | Path]) -> Examples:
    """Parallel text: line i of `source` goes with line i of every file of references. No line is passed over."""
    if not references:
        raise RegardError(f"{source}: no references; name one file or more with --references.")
    split = SplitConfig(source=_absolute(source), target=[_absolute(path) for path in references])
    data = predictor.recipe.data.model_copy(update={"max_bad_fraction": 0.0, "format": "auto"})
    return _prepared(predictor, Path(source).name, split, data)


def evaluate(
    predictor: Predictor,
    data: Examples,
    *,
    search: SearchConfig | None = None,
    batch: int = BATCH,
    done: Callable[[int], None] | None = None,
) -> Evaluation:
    """Answer every source with the recipe's search, or another, and score the best outputs.

    Several runs are one ensemble; their perplexity is that of the mean of their probabilities.
    """
    predictor.task.check_scorers()
    cache = predictor.recipe.model.cache
    kept = _scored(predictor, data)
    config = (search or predictor.recipe.search).model_copy(update={"n_best": 1})
    sources, references = predictor.task.examples(data.pairs)
    outputs: list[str] = []
    confidence: list[float] = []
    refused = 0
    began = time.perf_counter()
    metrics = predictor.task.scorers()
    if predictor.approximate and not metrics:
        what = ", ".join(predictor.approximate)
        raise RegardError(f"{what}: a language model's perplexity is that of the exact model; leave it out.")
    for first in range(0, len(sources) if metrics else 0, CHUNK):  # so that memory holds tokens of a chunk only
        together = sources[first : first + CHUNK]
        found = predictor.predict(together, search=config, batch=batch, first=first, done=done)
        outputs += [several[0].text for several in found]
        confidence += [several[0].probability if several[0].text else math.nan for several in found]
        refused += sum(several[0].problem is not None for several in found)
    seconds = time.perf_counter() - began
    one_label = predictor.recipe.data.target.tokenizer == "label"
    statistics = {metric.name: metric.statistics(outputs, references) for metric in metrics}
    told = _told(predictor, data.pairs, kept)
    return Evaluation(
        runs=[_describe(member.run.path, member.run.info) for member in predictor.members],
        data={"name": data.name, "files": data.files},
        search=config,
        cache=cache and cache.model_dump(),
        commit=commit(),
        approximate=[*predictor.approximate, *_trained_approximately(predictor)],
        metrics=metrics,
        scores={metric.name: interval(metric, statistics[metric.name]) for metric in metrics},
        signatures={metric.name: metric.signature(references) for metric in metrics},
        perplexity=interval(Perplexity(), told.statistics),
        told=told,
        sentences=len(sources),
        refused=refused,
        unscored=len(data.pairs) - len(kept),
        bad=data.pairs.meta["bad"],
        first_bad=next(iter(data.pairs.meta["first_bad"]), ""),
        seconds=seconds,
        calibration_error=_calibration(confidence, outputs, references) if one_label else None,
        outputs=outputs,
        references=references,
        statistics=statistics,
    )


def _calibration(confidence: list[float], outputs: list[str], references: list[list[str]]) -> float | None:
    """Of texts that the model was asked about: an empty one, or one that is too long, has an empty answer."""
    asked = np.isfinite(confidence)
    right = np.array([output in several for output, several in zip(outputs, references, strict=True)])
    return calibration_error(np.array(confidence)[asked], right[asked]) if asked.any() else None


def _trained_approximately(predictor: Predictor) -> list[str]:
    return sorted({what for member in predictor.members for what in member.recipe.train.approximations})


def _scored(predictor: Predictor, data: Examples) -> Indices:
    """The pairs of which the predictor reads both sides: `predictor.score` refuses the same ones."""
    kept = predictor.task.scored(data.pairs, predictor.max_source_length, data.name)
    if predictor.task.continues:
        return kept
    texts = [(data.pairs.source_text(int(i)), data.pairs.target_texts(int(i))[0]) for i in kept]
    return kept[[max(map(len, both)) <= predictor.max_characters for both in texts]]


def _told(predictor: Predictor, pairs: Pairs, kept: Indices) -> Told:
    """Of the pairs' first targets, ends counted; for one model token accuracy too."""
    if len(predictor.members) == 1:
        return predictor.task.told(predictor.members[0].model, pairs, kept)
    if predictor.task.continues:
        raise RegardError("evaluate: perplexity of several language models together is not to be had; name one run.")
    sources, targets = [], []
    for i in kept.tolist():
        source, references = pairs.original(i)
        sources.append(source)
        targets.append(references[0] if predictor.task.points else pairs.target_texts(i)[0])  # with its place
    told, per_token = predictor.score(sources, targets), predictor.task.per_token
    counted = [(-one.log_prob, len(one.token_log_probs) if per_token else 1) for one in told]
    return Told(np.array(counted, dtype=np.float64), None)


def _prepared(predictor: Predictor, name: str, split: SplitConfig, data: DataConfig) -> Examples:
    about = predictor.recipe.about
    files = [split.hub] if split.hub else [str(path) for path in split_files(split, data, about)]
    pairs = prepare_split(split, data, predictor.tokenizers, about=about)
    if not len(pairs):
        raise RegardError(f"{name}: no examples in {', '.join(files)}; nothing can be evaluated.")
    return Examples(name, files, pairs)


def _absolute(path: str | Path) -> str:
    """Named on the command line, so below the working directory and not below data.root."""
    return str(expanded(path, "--source or --references").absolute())


def _describe(path: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """Which run, and which of its weights."""
    return {
        "path": str(path),
        "status": info.get("status"),
        "update": info.get("best_update"),
        "weights_sha256": str(info["weights_sha256"][0]),
    }
