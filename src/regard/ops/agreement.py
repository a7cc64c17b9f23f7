"""R-Drop: two readings of one example, with different dropout, should say the same."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.ops.loss import NllSums, chunked_nll


def disagreement(
    one: Float[Tensor, "rows outcomes"], other: Float[Tensor, "rows outcomes"], *, each: bool = False
) -> Float[Tensor, "rows"]:
    """½ KL(p ‖ q) + ½ KL(q ‖ p) = ½ Σ_v (p_v − q_v) (log p_v − log q_v), in nats.

    Liang et al. 2021, "R-Drop: regularized dropout for neural networks" (arXiv:2106.14448), equation 2.

    one, other   log p and log q; −∞ in both is impossible in both, and adds nothing
    each         these are the log-odds of so many decisions, yes or no: the sum over them, by the same formula
    """
    possible = ~(one.isneginf() & other.isneginf())
    apart = one.masked_fill(~possible, 0.0) - other.masked_fill(~possible, 0.0)
    p, q = (one.sigmoid(), other.sigmoid()) if each else (one.exp(), other.exp())
    return 0.5 * ((p - q) * apart).sum(-1)


def summed_nll(
    features: Float[Tensor, "twice dim"],
    weight: Float[Tensor, "vocab dim"],
    bias: Float[Tensor, "vocab"] | None,
    targets: Int[Tensor, "twice"],
    smoothing: float = 0.0,
    agreement: float = 0.0,
) -> NllSums:
    """`chunked_nll`, with `agreement` of two readings of each token: so many times how far they are apart is added.

    features, targets   with `agreement`: of the first readings, then of the second, in the same order

    As there, in chunks of tokens, with gradients made in the forward pass.
    """
    if agreement:  # both readings of a token side by side, so that a chunk has whole pairs
        assert len(features) == len(targets) and len(features) % 2 == 0, "each token twice"
        features, targets = (torch.stack(part.chunk(2), 1).flatten(0, 1) for part in (features, targets))
    return chunked_nll(features, weight, bias, targets, smoothing, agreement)
