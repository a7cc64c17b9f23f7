"""Attention, put together from small parts: a scope, a score, a normalizer, coverage."""

from regard.attend.attention import Attended, Attention
from regard.attend.parts import COVERAGES, NORMALIZERS, SCOPES, SCORES
from regard.attend.pooling import POOLINGS
from regard.attend.self_attention import SelfAttention
from regard.attend.several import COMBINATIONS

__all__ = [
    "COMBINATIONS",
    "COVERAGES",
    "NORMALIZERS",
    "POOLINGS",
    "SCOPES",
    "SCORES",
    "Attended",
    "Attention",
    "SelfAttention",
]
