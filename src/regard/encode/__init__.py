"""Encoders: from embedded steps to a `Memory`. One file each, one line here."""

from regard.attend.memory import Memory, select_memory
from regard.encode.birnn import BiRNN

ENCODERS = {"birnn": BiRNN}
"""What `model.encoder` in a recipe may name."""

__all__ = ["ENCODERS", "BiRNN", "Memory", "select_memory"]
