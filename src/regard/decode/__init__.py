"""Decoders, what they write with (readouts), and search. One file each, one line here."""

from regard.decode.config import SearchConfig
from regard.decode.copy import CopyReadout
from regard.decode.deep import DeepDecoder
from regard.decode.ensemble import Ensemble
from regard.decode.labels import LabelDecoder
from regard.decode.marginal import MarginalDecoder
from regard.decode.outputs import Hypothesis
from regard.decode.protocol import Decoder, Source, StepOutput
from regard.decode.readout import SoftmaxReadout
from regard.decode.recurrent import RecurrentDecoder
from regard.decode.rescore import score_targets
from regard.decode.search import SEARCHES, search
from regard.decode.spans import SpanDecoder
from regard.decode.state import State, select

DECODERS = {
    "recurrent": RecurrentDecoder,
    "deep": DeepDecoder,
    "marginal": MarginalDecoder,
    "labels": LabelDecoder,
    "span": SpanDecoder,
}
"""What `model.decoder` in a recipe may name."""

READOUTS = {"softmax": SoftmaxReadout, "copy": CopyReadout}
"""What `model.readout` may name."""

__all__ = [
    "DECODERS",
    "READOUTS",
    "SEARCHES",
    "CopyReadout",
    "Decoder",
    "DeepDecoder",
    "Ensemble",
    "Hypothesis",
    "LabelDecoder",
    "MarginalDecoder",
    "RecurrentDecoder",
    "SearchConfig",
    "SoftmaxReadout",
    "Source",
    "SpanDecoder",
    "State",
    "StepOutput",
    "score_targets",
    "search",
    "select",
]
