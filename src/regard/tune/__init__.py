"""Searching for better settings of a recipe: what may change, the trials, the study that remembers them."""

from regard.tune.study import Tuned, tune

__all__ = ["Tuned", "tune"]
