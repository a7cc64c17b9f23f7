"""What every metric of texts is: rows of statistics, one per sentence, and a value made of their sum.

A metric that is a function of summed statistics can be resampled without looking at a text again: that is
what `regard.score.bootstrap` does for intervals and comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from regard.config import Config
from regard.errors import RegardError

References = Sequence[Sequence[str]]
"""One list per sentence with one or more references; their number may differ from sentence to sentence."""


class Metric(Config):
    """A score of texts against references, from sufficient statistics per sentence.

    Fields are the options that change the value; with all defaults it is what papers report:

        bleu = METRICS["bleu"](lowercase=True)
        rows = bleu.statistics(["ein Hund läuft ."], [["Ein Hund rennt .", "Ein Hund läuft ."]])
        bleu.from_statistics(rows.sum(axis=0))      # 100.0, the same as bleu.corpus(...)
    """

    name: ClassVar[str]  # the key in METRICS
    label: ClassVar[str]  # as papers write it
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str] = ""  # "%" for rates
    of_outputs_alone: ClassVar[bool] = False  # no reference is looked at, and a row may depend on those before it

    def corpus(self, hypotheses: Sequence[str], references: References) -> float:
        """The value over all sentences."""
        return self.from_statistics(self.statistics(hypotheses, references).sum(axis=0))

    def statistics(self, hypotheses: Sequence[str], references: References) -> np.ndarray:
        """Sufficient statistics, float64 (sentences, k); sums of rows are what `from_statistics` reads."""
        check_texts(hypotheses, references)
        return np.array(self._rows(hypotheses, references), dtype=np.float64)

    def from_statistics(self, sums: np.ndarray) -> float:
        """The value that belongs to summed rows, (k,)."""
        raise NotImplementedError

    def of_sentence(self, row: np.ndarray) -> float:
        """The value of one sentence alone, by its row, (k,); as `from_statistics`, but where that is for corpora."""
        return self.from_statistics(row)

    def signature(self, references: References) -> str:
        """What a number needs beside it to be reproduced: references, case, tokens, version."""
        raise NotImplementedError

    def _rows(self, hypotheses: Sequence[str], references: References) -> list[list[float]]:
        raise NotImplementedError


def check_texts(hypotheses: Sequence[str], references: References) -> None:
    """Refuse what no metric can score, with the counts or the sentence at fault."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise RegardError("scoring: expected a list of outputs and a list of lists of references, found one string.")
    if len(hypotheses) != len(references):
        raise RegardError(
            f"scoring: {len(hypotheses):,} outputs but references for {len(references):,} sentences; "
            "give one list of references for each output."
        )
    if not len(hypotheses):
        raise RegardError("scoring: no sentences; give at least one output with its references.")
    for number, (hypothesis, several) in enumerate(zip(hypotheses, references, strict=True), start=1):
        if not isinstance(hypothesis, str):
            raise RegardError(f"scoring: output {number:,} is {type(hypothesis).__name__}, expected a string.")
        if isinstance(several, str):
            raise RegardError(
                f"scoring: the references of sentence {number:,} are one string; expected a list of strings, "
                "even where there is only one reference."
            )
        if not several or not all(isinstance(one, str) for one in several):
            raise RegardError(
                f"scoring: sentence {number:,} has no reference or one that is not a string; "
                "each sentence needs at least one."
            )


def nrefs(references: References) -> str:
    """Number of references as sacreBLEU's signature writes it: `1`, `4`, or `var` where it varies."""
    counts = {len(several) for several in references}
    return str(counts.pop()) if len(counts) == 1 else "var"
