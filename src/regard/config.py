"""The base of every part's configuration.

A recipe file is these classes written down: each part keeps its own next to its code, and `regard.recipe`
puts them together.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Frozen, typed settings of one part; unknown keys are refused, defaults are validated too."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )
