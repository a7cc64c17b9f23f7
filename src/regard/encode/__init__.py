"""Encoders: from embedded steps to a `Memory`. One file each, one line here."""

from regard.attend.memory import Memory, select_memory
from regard.encode.birnn import BiRNN
from regard.encode.flow import Flow
from regard.encode.hierarchical import Hierarchical
from regard.encode.segments import segment_ids
from regard.encode.self_attentive import SelfAttentive

ENCODERS = {"birnn": BiRNN, "self_attentive": SelfAttentive}
"""What `model.encoder` in a recipe may name."""

DOCUMENT_ENCODERS = {**ENCODERS, "hierarchical": Hierarchical}
"""The same for tasks whose sources come in segments, and which tell the encoder `levels`."""

__all__ = [
    "DOCUMENT_ENCODERS",
    "ENCODERS",
    "BiRNN",
    "Flow",
    "Hierarchical",
    "Memory",
    "SelfAttentive",
    "segment_ids",
    "select_memory",
]
