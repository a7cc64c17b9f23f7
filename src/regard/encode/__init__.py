"""Encoders: from embedded steps to a `Memory`. One file each, one line here."""

from regard.attend.memory import Memory, select_memory
from regard.encode.birnn import BiRNN
from regard.encode.self_attentive import SelfAttentive

ENCODERS = {"birnn": BiRNN, "self_attentive": SelfAttentive}
"""What `model.encoder` in a recipe may name."""

__all__ = ["ENCODERS", "BiRNN", "Memory", "SelfAttentive", "select_memory"]
