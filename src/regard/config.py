"""The base of every part's configuration.

A recipe file is these classes written down: each part keeps its own next to its code, and `regard.recipe`
puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator


class Config(BaseModel):
    """Frozen, typed settings of one part; unknown keys are refused, defaults are validated too."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )


def choice(parts: Mapping[str, type]) -> Any:
    """The type of a recipe key that names one of `parts`, with that part's own settings.

    In YAML `scope: whole` and `scope: {type: window, width: 5}` both work; settings without a type are the first
    part's. Every part in `parts` carries a nested `Config` whose field `type` is the literal of its own name, so a new
    part needs no line here.

        class Settings(Config):
            scope: choice(SCOPES) = "whole"
    """
    configs = tuple(part.Config for part in parts.values())  # type: ignore[attr-defined]
    for name, config in zip(parts, configs, strict=True):
        assert config.model_fields["type"].default == name, f"{config} says another type than its name {name!r}"
    return Annotated[
        Annotated[Union[configs], Discriminator("type")] if len(configs) > 1 else configs[0],  # noqa: UP007
        BeforeValidator(partial(_named, next(iter(parts)))),
    ]


def optional(part: Any) -> Any:
    """The type of a recipe key that may also say `none`."""
    return Annotated[part | None, BeforeValidator(lambda value: None if value == "none" else value)]


def _named(first: str, value: Any) -> Any:
    if isinstance(value, str):
        return {"type": value}
    return {"type": first, **value} if isinstance(value, Mapping) else value
