"""Penalties of a recurrent layer's outputs."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def activation_penalty(
    outputs: Float[Tensor, "batch steps hidden"], ar: float, tar: float
) -> Float[Tensor, "batch steps"]:
    """ar · mean(h_t²) + tar · mean((h_t − h_{t−1})²) of each step; the first step changed from nothing.

    Merity, McCann & Socher 2017, "Revisiting activation regularization for language RNNs", AR and TAR. Theirs are
    norms, and the first is of outputs after dropout; a mean over features is the same for any size.
    """
    changes = pad((outputs[:, 1:] - outputs[:, :-1]).square().mean(-1), (1, 0))
    return ar * outputs.square().mean(-1) + tar * changes
