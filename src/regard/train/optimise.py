"""AdamW over the parameters that learn: groups, clipping, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.train.config import TrainConfig


def matching(model: nn.Module, patterns: Iterable[str], key: str) -> dict[str, str]:
    """The parameters whose names match one of the patterns, each with the first that it matches.

    key   where the patterns stand in the recipe, for the error where one matches nothing
    """
    names = [name for name, _ in model.named_parameters()]
    found: dict[str, str] = {}
    for pattern in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            parts = ", ".join(sorted({name.split(".")[0] for name in names}))
            raise RegardError(
                f"{key}: no parameter matches {pattern!r}; parts are {parts}, and names look like {names[0]!r}."
            )
        found = {**dict.fromkeys(matched, pattern), **found}
    return found


def freeze(model: nn.Module, patterns: list[str]) -> list[str]:
    """Stop the parameters whose names match from learning; returns their names."""
    frozen = matching(model, patterns, "train.frozen")
    named = list(model.named_parameters())
    if len(frozen) == len(named):
        raise RegardError(f"train.frozen: {patterns} matches every parameter, so that nothing would learn.")
    for name, parameter in named:
        if name in frozen:
            parameter.requires_grad_(False)
    return [name for name, _ in named if name in frozen]


class Optimiser:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2), fused; weight decay on matrices only, rates by `train.rates`."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        self.clip = config.clip
        rates = dict(reversed(config.rates))  # of a pattern that stands there twice the first counts, too
        shares = matching(model, [pattern for pattern, _ in config.rates], "train.rates")
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
        for name, parameter in self.named.items():
            share = rates[shares[name]] if name in shares else 1.0
            groups.setdefault((parameter.ndim > 1, share), []).append(parameter)
        self.adamw = torch.optim.AdamW(
            [
                {"params": params, "weight_decay": config.weight_decay if matrices else 0.0, "share": share}
                for (matrices, share), params in groups.items()
                if params
            ],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )

    def norm(self) -> Tensor:
        """Norm of the whole gradient."""
        return nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None], foreach=True)

    def step(self, rate: float, norm: Tensor) -> None:
        """Clip the gradient, whose norm is known, update the weights, and drop the gradient."""
        if self.clip:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm, foreach=True)
        for group in self.adamw.param_groups:
            group["lr"] = rate * group["share"]
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """First and second moments and step counts, by parameter name."""
        return {
            f"{kind}.{name}": value
            for name, parameter in self.named.items()
            for kind, value in self.adamw.state.get(parameter, {}).items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for name, parameter in self.named.items():
            kinds = [kind for kind in ("step", "exp_avg", "exp_avg_sq") if f"{kind}.{name}" in tensors]
            if kinds:
                self.adamw.state[parameter] = {
                    kind: tensors[f"{kind}.{name}"].to(parameter.device, copy=True) for kind in kinds
                }
