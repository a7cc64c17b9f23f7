"""Scores: metrics of texts, their intervals, and the paired comparison of two systems.

A value is a function of statistics summed over sentences, so an interval is a matter of summing other draws:

    metric = METRICS["bleu"](tokenize="none", lowercase=True)
    rows = metric.statistics(hypotheses, references)        # references: one list of strings per sentence
    print(interval(metric, rows), metric.signature(references))

    metric.py        what a metric is: statistics per sentence, a value of their sum
    translation.py   BLEU, chrF, TER (sacreBLEU)
    edits.py         WER, PER, CER, exact
    bootstrap.py     interval, paired
    perplexity.py    perplexity of summed log-probabilities
"""

from __future__ import annotations

from regard.score.bootstrap import Interval, Paired, interval, paired
from regard.score.edits import Cer, Exact, Per, Wer
from regard.score.metric import Metric
from regard.score.perplexity import perplexity
from regard.score.translation import Bleu, Chrf, Ter

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "ter": Ter,
    "wer": Wer,
    "per": Per,
    "cer": Cer,
    "exact": Exact,
}

__all__ = ["METRICS", "Interval", "Metric", "Paired", "interval", "paired", "perplexity"]
