"""Why an output came out: pictures and reports about a trained model.

attention_picture.py   attention between source and target as a heat map
confusion_picture.py   which labels are taken for which
shaded_text.py         what a label rests on: the text, each word as dark as its weight
"""

from __future__ import annotations

from regard.explain.attention_picture import attention_picture
from regard.explain.confusion_picture import confusion_picture
from regard.explain.shaded_text import shaded_text

__all__ = ["attention_picture", "confusion_picture", "shaded_text"]
