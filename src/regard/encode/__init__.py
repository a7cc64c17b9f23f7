"""Encoders: from embedded steps to a `Memory`. One file each, one line here."""

from regard.attend.memory import Memory, select_memory
from regard.encode.birnn import BiRNN
from regard.encode.encoder import Encoder
from regard.encode.flow import Flow
from regard.encode.hierarchical import Hierarchical
from regard.encode.nothing import Nothing
from regard.encode.question_flow import QuestionFlow
from regard.encode.segments import segment_ids
from regard.encode.self_attentive import SelfAttentive

ENCODERS = {"birnn": BiRNN, "self_attentive": SelfAttentive}
"""Those that read any sequence."""

OPTIONAL_ENCODERS: dict[str, type[Encoder]] = {
    **ENCODERS,
    "hierarchical": Hierarchical,
    "flow": QuestionFlow,
    "none": Nothing,
}
"""What `model.encoder` in a recipe may name: also where sources are turns, or question and passage, and where there is
no source."""

__all__ = [
    "ENCODERS",
    "OPTIONAL_ENCODERS",
    "BiRNN",
    "Flow",
    "Hierarchical",
    "Memory",
    "Nothing",
    "QuestionFlow",
    "SelfAttentive",
    "segment_ids",
    "select_memory",
]
