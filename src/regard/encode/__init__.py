"""Encoders: from embedded steps to a `Memory`. One file each, one line here."""

from regard.encode.birnn import BiRNN
from regard.encode.memory import Memory, select_memory

ENCODERS = {"birnn": BiRNN}
"""What `model.encoder` in a recipe may name."""

__all__ = ["ENCODERS", "BiRNN", "Memory", "select_memory"]
