"""Runs on their way to others.

card.py    what a reader should know of a model: README.md with the hub's metadata
hub.py     a run's folder to the Hugging Face hub, or to a folder of the same shape, and back
"""

from __future__ import annotations

from regard.export.card import model_card
from regard.export.hub import from_hub, push_to_hub

__all__ = ["from_hub", "model_card", "push_to_hub"]
