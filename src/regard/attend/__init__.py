"""Attention, put together from small parts: a scope, a score, a normalizer."""

from regard.attend.attention import Attended, Attention
from regard.attend.parts import NORMALIZERS, SCOPES, SCORES

__all__ = ["NORMALIZERS", "SCOPES", "SCORES", "Attended", "Attention"]
