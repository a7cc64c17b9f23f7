"""The parts attention is put together from: one file each, one line here."""

from regard.attend.additive import AdditiveScore, ConcatScore
from regard.attend.normalizers import Softmax
from regard.attend.scope import FixedWindow, WholeSource
from regard.attend.scores import DotScore, GeneralScore, ScaledDotScore

SCORES = {
    "additive": AdditiveScore,
    "dot": DotScore,
    "general": GeneralScore,
    "concat": ConcatScore,
    "scaled_dot": ScaledDotScore,
}
"""What `model.attention.score` in a recipe may name."""

SCOPES = {"whole": WholeSource, "window": FixedWindow}
"""What `model.attention.scope` may name."""

NORMALIZERS = {"softmax": Softmax}
"""What `model.attention.normalizer` may name."""
