"""What holds for every entry of TEXT_METRICS, and the messages about input that cannot be scored."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from regard.errors import RegardError
from regard.score import TEXT_METRICS, perplexity

every = pytest.mark.parametrize("name", TEXT_METRICS)
compared = pytest.mark.parametrize("name", [name for name in TEXT_METRICS if not TEXT_METRICS[name].of_outputs_alone])
HYPOTHESES = ["k ae t", "d ao g z", "", "F IH SH", "a b"]
REFERENCES = [["k ae t"], ["d ao g", "d aa g"], ["b er d"], ["f ih sh", "f ih"], ["a b", "b a", "a"]]


@every
def test_entry_is_complete(name):
    metric = TEXT_METRICS[name]()
    assert metric.name == name and metric.label and metric.unit in ("", "%") and type(metric).__doc__
    assert isinstance(metric.higher_is_better, bool)
    signature = metric.signature([["a", "b"]])
    if metric.of_outputs_alone:
        assert signature == metric.signature(REFERENCES) != "" and "nrefs" not in signature
    else:
        assert f"nrefs:{2}" in signature and "nrefs:var" in metric.signature(REFERENCES)


@compared
def test_perfect_output_has_the_best_value_and_worse_output_a_worse_one(name):
    metric = TEXT_METRICS[name]()
    references = [["the cat sat on the mat"], ["a dog lay under the house", "one dog lay there"]]
    perfect = metric.corpus([several[-1] for several in references], references)
    assert perfect == pytest.approx(100.0 if metric.higher_is_better else 0.0)
    worse = metric.corpus(["the cat sat on a mat", "dog"], references)
    assert (worse < perfect) if metric.higher_is_better else (worse > perfect)


@compared
def test_statistics_are_per_sentence(name):
    """A sentence's row depends on that sentence alone: shuffling, or leaving others out, moves rows only."""
    metric = TEXT_METRICS[name]()
    rows = metric.statistics(HYPOTHESES, REFERENCES)
    order = random.Random(1).sample(range(5), 5)
    shuffled = metric.statistics([HYPOTHESES[i] for i in order], [REFERENCES[i] for i in order])
    np.testing.assert_array_equal(shuffled, rows[order])
    for i in range(5):
        np.testing.assert_array_equal(metric.statistics([HYPOTHESES[i]], [REFERENCES[i]])[0], rows[i])


@every
def test_lowercase(name):
    if "lowercase" not in TEXT_METRICS[name].model_fields:  # ROUGE has no cases
        assert TEXT_METRICS[name]().corpus(["ABCD EF GH IJ"], [["abcd ef gh ij"]]) == pytest.approx(100.0)
        return
    assert TEXT_METRICS[name](lowercase=True).corpus(["ABCD EF GH IJ"], [["abcd ef gh ij"]]) in (
        pytest.approx(100),
        0.0,
    )
    if name == "cer":
        return  # the three spaces are right in either case: by hand below
    mixed = TEXT_METRICS[name](lowercase=False).corpus(["ABCD EF GH IJ"], [["abcd ef gh ij"]])
    assert mixed == pytest.approx(0.0 if TEXT_METRICS[name].higher_is_better else 100.0)


@every
def test_bad_input(name):
    metric = TEXT_METRICS[name]()
    with pytest.raises(RegardError, match="2 outputs but references for 1 sentences"):
        metric.statistics(["a", "b"], [["a"]])
    with pytest.raises(RegardError, match="no sentences"):
        metric.statistics([], [])
    with pytest.raises(RegardError, match="references of sentence 2 are one string"):
        metric.statistics(["a", "b"], [["a"], "b"])
    with pytest.raises(RegardError, match="sentence 1 has no reference"):
        metric.statistics(["a"], [[]])
    with pytest.raises(RegardError, match="output 1 is NoneType"):
        metric.statistics([None], [["a"]])
    with pytest.raises(RegardError, match="found one string"):
        metric.statistics("a", [["a"]])


def test_perplexity():
    assert perplexity(5 * np.log(8), 5) == pytest.approx(8)
    assert perplexity(1e6, 1) == pytest.approx(math.exp(700))
    with pytest.raises(RegardError, match="0 target tokens"):
        perplexity(1.0, 0)
