"""Why an output came out: pictures and reports about a trained model.

attention_picture.py   attention between source and target as a heat map
"""

from __future__ import annotations

from regard.explain.attention_picture import attention_picture

__all__ = ["attention_picture"]
