"""AdamW over the parameters that learn: groups, clipping, and its state as named tensors."""

from __future__ import annotations

from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.train.config import TrainConfig


def freeze(model: nn.Module, patterns: list[str]) -> list[str]:
    """Stop the parameters whose names match from learning; returns their names."""
    names = [name for name, _ in model.named_parameters()]
    parts = ", ".join(sorted({name.split(".")[0] for name in names}))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RegardError(
                f"train.frozen: no parameter matches {pattern!r}; parts are {parts}, and names look like {names[0]!r}."
            )
    frozen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if len(frozen) == len(names):
        raise RegardError(f"train.frozen: {patterns} matches every parameter, so that nothing would learn.")
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return frozen


class Optimiser:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2), fused; weight decay on matrices only."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        self.clip = config.clip
        matrices = [p for p in self.parameters if p.ndim > 1]
        vectors = [p for p in self.parameters if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
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
            group["lr"] = rate
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
