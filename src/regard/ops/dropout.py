"""Dropout whose masks come from a counter: none at all without `noise`, that is, outside training."""

from jaxtyping import Float
from torch import Tensor

from regard.ops.noise import Noise


def dropout(x: Float[Tensor, "..."], drop: float, noise: Noise | None, name: str) -> Float[Tensor, "..."]:
    """Drop single elements of `x` (Srivastava et al. 2014)."""
    if noise is None or drop == 0.0:
        return x
    return x * noise.keep_mask(name, x.shape, drop, like=x)


def sequence_dropout(
    x: Float[Tensor, "batch steps dim"], drop: float, noise: Noise | None, name: str
) -> Float[Tensor, "batch steps dim"]:
    """Drop features of `x`, the same ones at every step of a sequence (Gal & Ghahramani 2016, section 4)."""
    if noise is None or drop == 0.0:
        return x
    return x * noise.keep_mask(name, (x.shape[0], 1, x.shape[2]), drop, like=x)


def sequence_mask(
    like: Float[Tensor, "batch ..."], dim: int, drop: float, noise: Noise | None, name: str
) -> Float[Tensor, "batch dim"] | None:
    """The mask alone, for loops over steps that apply it themselves; None when nothing is dropped."""
    if noise is None or drop == 0.0:
        return None
    return noise.keep_mask(name, (like.shape[0], dim), drop, like=like)
