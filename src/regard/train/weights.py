"""A model's weights as named tensors, each stored once however many names it has in the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from regard.errors import RegardError


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; tied ones under their first name. Not copies."""
    return dict(_named(model))


@torch.no_grad()
def load_into(model: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Copy `tensors` into the model, which must have just these names and shapes; `where` they came from."""
    wanted = model_tensors(model)
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        names = ", ".join((missing or extra)[:3])
        raise RegardError(
            f"{where}: the weights do not belong to this model: {len(missing)} missing, {len(extra)} unknown "
            f"(such as {names}): was the recipe in the run folder changed?"
        )
    for name, target in wanted.items():
        if target.shape != tensors[name].shape:
            raise RegardError(
                f"{where}: {name} has shape {list(tensors[name].shape)}, the model needs {list(target.shape)}: was "
                f"the recipe or a tokenizer in the run folder changed?"
            )
        target.copy_(tensors[name])


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value
