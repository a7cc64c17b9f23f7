"""Averages of the weights along the way: exponential (EMA), or over the last validations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class Average:
    """The weights to validate and to keep: an average of those that learn, or (without one) those themselves.

    ema           decay of avg ← d · avg + (1 − d) · w after each update, d = min(ema, (1 + t) / (10 + t)), so
                  that the first weights, which are noise, are forgotten quickly (t counts updates from 0)
    last          mean of the weights at the last so many validations
    """

    def __init__(self, parameters: Mapping[str, Tensor], *, ema: float = 0.0, last: int = 1) -> None:
        self.parameters = dict(parameters)
        self.ema, self.last = ema, last
        self.moving = self._copy() if ema else {}
        self.snapshots: list[dict[str, Tensor]] = []

    @torch.no_grad()
    def after_update(self, update: int) -> None:
        """Count the weights after update number `update` (from 0)."""
        if self.ema:
            decay = min(self.ema, (1 + update) / (10 + update))
            torch._foreach_lerp_(list(self.moving.values()), list(self.parameters.values()), 1.0 - decay)

    def at_validation(self) -> None:
        """Count the weights at a validation."""
        if self.last > 1:
            self.snapshots = [*self.snapshots[1 - self.last :], self._copy()]

    @torch.no_grad()
    def values(self) -> dict[str, Tensor]:
        """The averaged weights by name; empty where nothing is averaged."""
        if self.ema:
            return self.moving
        if self.snapshots:
            names = list(self.parameters)
            return {n: torch.stack([s[n] for s in self.snapshots]).mean(0) for n in names}
        return {}

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this block the parameters hold the averaged weights; after it, exactly what they held before."""
        values = self.values()
        before = self._copy() if values else {}
        self._put(values)
        try:
            yield
        finally:
            self._put(before)

    def tensors(self) -> dict[str, Tensor]:
        """All that resuming needs, by name."""
        found = {f"ema.{name}": value for name, value in self.moving.items()}
        for number, snapshot in enumerate(self.snapshots):
            found.update({f"last.{number}.{name}": value for name, value in snapshot.items()})
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for name, value in self.moving.items():
            value.copy_(tensors[f"ema.{name}"])
        first = next(iter(self.parameters))
        count = sum(f"last.{number}.{first}" in tensors for number in range(self.last))
        self.snapshots = [
            {n: tensors[f"last.{number}.{n}"].to(p.device, copy=True) for n, p in self.parameters.items()}
            for number in range(count)
        ]

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)
