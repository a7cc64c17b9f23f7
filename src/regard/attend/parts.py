"""The parts attention is put together from: one file each, one line here."""

from regard.attend.additive import AdditiveScore, ConcatScore
from regard.attend.coverage import Coverage
from regard.attend.hard import HardGumbel, HardSample
from regard.attend.local import LocalP
from regard.attend.location import LocationScore
from regard.attend.lsh import Hashed
from regard.attend.monotonic import Mocha, Monotonic
from regard.attend.normalizers import Softmax
from regard.attend.scope import WholeSource
from regard.attend.scores import DotScore, GeneralScore, ScaledDotScore
from regard.attend.sparse import Entmax15, Sparsemax
from regard.attend.trilinear import TrilinearScore
from regard.attend.window import Blocks, FixedWindow, LocalM, Past

SCORES = {
    "additive": AdditiveScore,
    "dot": DotScore,
    "general": GeneralScore,
    "concat": ConcatScore,
    "scaled_dot": ScaledDotScore,
    "location": LocationScore,
    "trilinear": TrilinearScore,
}
"""What `model.attention.score` in a recipe may name."""

SCOPES = {
    "whole": WholeSource,
    "window": FixedWindow,
    "local_m": LocalM,
    "local_p": LocalP,
    "blocks": Blocks,
    "past": Past,
    "lsh": Hashed,
}
"""What `model.attention.scope` may name."""

NORMALIZERS = {
    "softmax": Softmax,
    "sparsemax": Sparsemax,
    "entmax15": Entmax15,
    "hard": HardSample,
    "hard_gumbel": HardGumbel,
    "monotonic": Monotonic,
    "mocha": Mocha,
}
"""What `model.attention.normalizer` may name."""

STATELESS = {name: part for name, part in NORMALIZERS.items() if getattr(part, "stateless", False)}
"""Those that answer any number of queries at once: for attention that is no decoder's."""

COVERAGES = {"sum": Coverage}
"""What `model.attention.coverage` may name, besides `none`."""
