"""Attention, put together from small parts: a scope, a score, a normalizer, coverage."""

from regard.attend.attention import Attended, Attention
from regard.attend.parts import COVERAGES, NORMALIZERS, SCOPES, SCORES
from regard.attend.pooling import POOLINGS
from regard.attend.self_attention import SelfAttention

__all__ = ["COVERAGES", "NORMALIZERS", "POOLINGS", "SCOPES", "SCORES", "Attended", "Attention", "SelfAttention"]
