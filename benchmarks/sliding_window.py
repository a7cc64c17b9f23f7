"""What word overlap alone answers: `python -m benchmarks.sliding_window jaquad`.

Richardson, Burges & Renshaw 2013, "MCTest: a challenge dataset for the open-domain machine comprehension of text",
section 5.1: algorithm 1 (sliding window) less the distance of algorithm 2. For a candidate answer A and a question Q
with words S = A ∪ Q, over all windows of |S| words of the passage P

    sw = max_j Σ_i IC(P_{j+i}) [P_{j+i} ∈ S],   IC(w) = log(1 + 1 / count of w in P)
    d  = 1 / (|P| − 1) · (least number of words between one of Q and one of A, and 1), or 1 where either is not there

and the answer is that with the largest sw − d; stop words count for nothing in d. Theirs are given answers to choose
from. Here candidates are, whichever has the higher F1 on training data, the longest runs of words of the passage that
have no stop word, no mark and no word of the question, of at most MOST words; or its sentences, what stands between two
ends of sentences or lines. Stop words are the STOP most frequent words of the training passages. Words are MeCab's (IPA
dictionary) in Japanese, and elsewhere runs of letters and digits, lower-cased. It never says that there is no answer.

    jaquad                 dev; F1 of characters
    subjqa-restaurants     dev and test; F1 of words; a question is one q_review_id, its answers all of its rows'
    subjqa-electronics
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import regex

from benchmarks import results
from regard.data.files import find
from regard.data.segment import japanese
from regard.score import METRICS, interval

MOST, STOP, TRIED = 10, 100, 2000
SETS = ("jaquad", "subjqa-restaurants", "subjqa-electronics")
NOTHING = "ANSWERNOTFOUND"
_END = regex.compile(r"[.!?。！？\n]")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")

Span = tuple[int, int]


@dataclass(frozen=True)
class Question:
    text: str
    passage: str
    answers: list[str]
    """empty text: there is none"""


def english(text: str) -> list[Span]:
    """Where words are."""
    return [found.span() for found in _WORD.finditer(text)]


def mecab(text: str) -> list[Span]:
    """The same in Japanese."""
    spans, at = [], 0
    for piece in japanese(text):
        if _WORD.search(piece):
            spans.append((at, at + len(piece)))
        at += len(piece)
    return spans


def answer(question: Question, words: Callable[[str], list[Span]], stop: set[str], kind: str) -> str:
    """The best candidate's text; nothing where the passage has none."""
    spans = words(question.passage)
    passage = [question.passage[a:b].lower() for a, b in spans]
    asked = {question.text[a:b].lower() for a, b in words(question.text)}
    counts = Counter(passage)
    weight = np.array([np.log1p(1.0 / counts[word]) for word in passage])
    in_question = np.array([word in asked for word in passage], dtype=bool)
    where_asked = np.flatnonzero(in_question & np.array([word not in stop for word in passage], dtype=bool))
    best, text = -np.inf, ""
    found = (
        runs(question.passage, spans, passage, asked | stop) if kind == "runs" else sentences(question.passage, spans)
    )
    for first, last in found:
        own = set(passage[first:last])
        inside = in_question | np.array([word in own for word in passage])
        sums = np.concatenate([[0.0], np.cumsum(weight * inside)])
        width = min(len(asked | own), len(passage))
        window = float((sums[width:] - sums[:-width]).max())
        value = window - distance(where_asked, first, last, len(passage))
        if value > best:
            best, text = value, question.passage[spans[first][0] : spans[last - 1][1]]
    return text


def sentences(text: str, spans: Sequence[Span]) -> list[Span]:
    """Runs of words [first, last) that no end of a sentence stands between."""
    ends = [i for i in range(1, len(spans)) if _END.search(text[spans[i - 1][1] : spans[i][0]])]
    edges = [0, *ends, len(spans)]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def runs(text: str, spans: Sequence[Span], words: Sequence[str], without: set[str]) -> list[Span]:
    """Runs of words [first, last) that nothing but white space stands between."""
    found: list[Span] = []
    begun: int | None = None
    for i, word in enumerate([*words, ""]):
        joined = begun is not None and i < len(words) and not text[spans[i - 1][1] : spans[i][0]].strip()
        if begun is not None and (not joined or word in without or i - begun == MOST):
            found.append((begun, i))
            begun = None
        if begun is None and i < len(words) and word not in without:
            begun = i
    return found


def distance(asked: np.ndarray, first: int, last: int, length: int) -> float:
    """d of a candidate."""
    if not len(asked) or length < 2:
        return 1.0
    nearest = np.where(asked < first, first - asked, asked - last + 1).min()
    return max(1.0, float(nearest)) / (length - 1)


def stop_words(passages: Sequence[str], words: Callable[[str], list[Span]]) -> set[str]:
    counts = Counter(passage[a:b].lower() for passage in passages for a, b in words(passage))
    return {word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:STOP]}


def jaquad(split: str) -> list[Question]:
    with gzip.open(find(f"jaquad/{split}.json.gz", None), "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    paragraphs = (paragraph for article in articles for paragraph in article["paragraphs"])
    return [
        Question(one["question"], paragraph["context"], [each["text"] for each in one["answers"]])
        for paragraph in paragraphs
        for one in paragraph["qas"]
    ]


def subjqa(domain: str, split: str) -> list[Question]:
    raw = gzip.decompress(Path(find(f"subjqa/{domain}_{split}.csv.gz", None)).read_bytes()).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(raw)))
    together: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        together.setdefault(row["q_review_id"], []).append(row)
    return [
        Question(
            several[0]["question"],
            several[0]["review"].replace(NOTHING, ""),
            [row["human_ans_spans"].replace(NOTHING, "").strip() for row in several],
        )
        for several in together.values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sliding_window", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET", help=", ".join(SETS))
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    found = {}
    for name in given.sets:
        domain = name.partition("-")[2]
        words = english if domain else mecab
        training = subjqa(domain, "train") if domain else jaquad("train")
        stop = stop_words(list(dict.fromkeys(one.passage for one in training)), words)
        metrics = [METRICS[metric](characters=not domain) for metric in ("em", "answer_f1")]
        some, tried = training[:TRIED], {}
        for kind in ("runs", "sentences"):
            outputs = [answer(one, words, stop, kind) for one in some]
            tried[kind] = round(metrics[1].corpus(outputs, [one.answers for one in some]), 2)
        kind = max(tried, key=lambda one: tried[one])
        print(name, "F1 on training data:", tried, flush=True)
        for split in ("dev", "test") if domain else ("dev",):
            questions = subjqa(domain, split) if domain else jaquad(split)
            outputs = [answer(one, words, stop, kind) for one in questions]
            scores = {}
            for metric in metrics:
                rows = metric.statistics(outputs, [one.answers for one in questions])
                score = interval(metric, rows)
                scores[metric.name] = {
                    "value": round(score.value, 2),
                    "low": round(score.low, 2),
                    "high": round(score.high, 2),
                }
            found[f"{name} {split}"] = {"questions": len(questions), "candidates": kind, "training": tried, **scores}
            print(f"{name} {split}", found[f"{name} {split}"], flush=True)
    if not given.no_write:
        summary = "; ".join(f"{name}: F1 {one['answer_f1']['value']}" for name, one in found.items())
        print(
            results.write(
                "sliding-window", "baseline", {"summary": summary, "most": MOST, "stop": STOP, "found": found}
            )
        )


if __name__ == "__main__":
    main()
