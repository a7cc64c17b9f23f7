"""Which of several outputs is most like the others: minimum-Bayes-risk decoding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from regard.decode.config import SearchConfig
from regard.score.metric import Metric


def order(texts: Sequence[str], log_probs: Sequence[float], search: SearchConfig, metric: Metric | None) -> list[int]:
    """Places of what `search.compared()` found for one source, the best first; with a metric, each text once."""
    if metric is None:
        return list(range(len(texts)))
    return by_agreement(texts, metric, None if search.method == "sample" else log_probs)


def by_agreement(texts: Sequence[str], metric: Metric, log_probs: Sequence[float] | None = None) -> list[int]:
    """Places of different texts, the one of the highest expected score first; of equal ones the earlier.

        E[score of text i] = Σ_j p_j score(text i, with text j as its reference)

    log_probs   p_j is their share of the sum of probabilities, as of a beam's outputs (Kumar & Byrne 2004, "Minimum
                Bayes-risk decoding for statistical machine translation", equation 3); None: all count the same, as
                samples do (Eikema & Aziz 2020, "Is MAP decoding all you need?", equation 4)

    A text counts as its own reference, so that one that occurs twice is that much more likely.
    """
    first = {text: place for place, text in reversed(list(enumerate(texts)))}
    different = sorted(first, key=first.__getitem__)
    number = {text: i for i, text in enumerate(different)}
    logs = np.zeros(len(texts)) if log_probs is None else np.array(log_probs, dtype=np.float64)
    likely = np.exp(logs - logs.max())
    weights = np.bincount([number[text] for text in texts], weights=likely / likely.sum(), minlength=len(different))
    pairs = [(one, other) for one in different for other in different]
    rows = metric.statistics([one for one, _ in pairs], [[other] for _, other in pairs])
    scores = np.array([metric.of_sentence(row) for row in rows]).reshape(len(different), len(different))
    expected = (scores if metric.higher_is_better else -scores) @ weights
    return [first[different[i]] for i in np.argsort(-expected, kind="stable").tolist()]
