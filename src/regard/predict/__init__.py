"""From a trained run to answers: what the command line, a server and notebooks call.

predictor = load("runs/multi30k")
predictor(["ein Hund läuft ."])                               # ['a dog is running .']
[[best, second]] = predictor.predict(["ein Hund läuft ."], n_best=2)
best.score, best.tokens, best.token_log_probs

member.py       one run made ready: recipe, tokenizers, model
predictor.py    Predictor: search, one road for a sentence and for a million
shortlist.py    which words each source word suggests, learned from a run's training data
prediction.py   what comes back
options.py      search options of a call over those of the recipe
wanted.py       what outputs are to begin with, or to have in them
language.py     a language model beside the runs
forced.py       scoring given targets by teacher forcing
lines.py        text lines from a stream, with limits
stream.py       lines in, answers out, a chunk at a time
formats.py      answers as text, TSV or JSON lines
calibrate.py    the temperature of a run that decides on labels
labels.py       the probability of every label
evaluate.py     outputs against references: scores, intervals, signatures
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regard.data.config import MOST_TOKENS
from regard.errors import RegardError
from regard.predict.language import LANGUAGE_WEIGHT
from regard.predict.member import load_member
from regard.predict.prediction import Prediction
from regard.predict.predictor import Predictor

__all__ = ["Prediction", "Predictor", "load"]


def load(
    path: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    max_source_length: int = MOST_TOKENS,
    overrides: Sequence[str] = (),
    int8: bool = False,
    shortlist: bool = False,
    language_model: str | Path | None = None,
    language_weight: float = LANGUAGE_WEIGHT,
) -> Predictor:
    """A run folder, or several as an ensemble, ready to predict.

        predictor = load("runs/demo-cmudict")
        both = load(["runs/first", "runs/second"])      # the mean of their probabilities

    device              `auto` (a GPU if torch sees one), `cpu`, `cuda` or `cuda:1`
    threads             torch's threads, for the whole process; None leaves them as they are
    precision           float32 or float64; None: as the weights were written
    max_source_length   tokens; a longer text gets an empty answer that says so
    int8                approximate: weights of 7 bits, rows of 8; less time
    shortlist           approximate: only words that the source suggests; `regard shortlist RUN` learns them, once
    language_model      a run of task write with the same target vocabulary, whose opinion of what is written counts
    language_weight     so much of the model's own (shallow fusion); scores are of both together
    overrides           `key=value`, for keys of the recipe that the weights do not depend on, as `search.beam=10`
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise RegardError("load: no run folder given; name at least one.")
    if threads is not None:
        import torch

        if threads < 1:
            raise RegardError(f"threads: {threads}; at least one is needed.")
        torch.set_num_threads(threads)
    approximate = dict(int8=int8, shortlist=shortlist)
    members = [
        load_member(one, device=device, precision=precision, overrides=overrides, **approximate) for one in paths
    ]
    language = None
    if language_model is not None:
        language = load_member(language_model, device=device, precision=precision)
    named = [name for name, wanted in approximate.items() if wanted]
    return Predictor(
        members,
        max_source_length=max_source_length,
        approximate=named,
        language=language,
        language_weight=language_weight,
    )
