"""Scores: metrics of texts, their intervals, and the paired comparison of two systems.

A value is a function of statistics summed over sentences, so an interval is a matter of summing other draws:

    metric = METRICS["bleu"](tokenize="none", lowercase=True)
    rows = metric.statistics(hypotheses, references)        # references: one list of strings per sentence
    print(interval(metric, rows), metric.signature(references))

    metric.py        what a metric is: statistics per sentence, a value of their sum
    translation.py   BLEU, chrF, TER (sacreBLEU)
    edits.py         WER, PER, CER, exact
    distinct.py      distinct-1, distinct-2
    answers.py       exact match and F1 of answers to questions
    labels.py        accuracy, F1: macro, micro, of one label
    rouge.py         ROUGE-1, ROUGE-2, ROUGE-L (rouge-score)
    bootstrap.py     interval, paired
    calibration.py   whether probabilities are what they say; the temperature that mends them
    perplexity.py    perplexity, from log-probabilities rather than texts
"""

from __future__ import annotations

from regard.score.answers import AnswerF1, ExactMatch
from regard.score.bootstrap import Interval, Paired, interval, paired
from regard.score.distinct import Distinct1, Distinct2
from regard.score.edits import Cer, Exact, Per, Wer
from regard.score.labels import Accuracy, F1Macro, F1Micro
from regard.score.metric import Metric
from regard.score.perplexity import Perplexity, Told, perplexity
from regard.score.rouge import Rouge1, Rouge2, RougeL
from regard.score.translation import Bleu, Chrf, Ter

TEXT_METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "ter": Ter,
    "wer": Wer,
    "per": Per,
    "cer": Cer,
    "exact": Exact,
    "rouge1": Rouge1,
    "rouge2": Rouge2,
    "rougel": RougeL,
    "distinct1": Distinct1,
    "distinct2": Distinct2,
}
METRICS: dict[str, type[Metric]] = {
    **TEXT_METRICS,
    "accuracy": Accuracy,
    "f1_macro": F1Macro,
    "f1_micro": F1Micro,
    "em": ExactMatch,
    "answer_f1": AnswerF1,
}

__all__ = [
    "METRICS",
    "TEXT_METRICS",
    "Interval",
    "Metric",
    "Paired",
    "Perplexity",
    "Told",
    "interval",
    "paired",
    "perplexity",
]
