"""Learning from what was sampled, by what came of it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def reinforce(
    rewards: Float[Tensor, "batch steps"],
    valid: Bool[Tensor, "batch steps"],
    log_prob: Float[Tensor, "batch steps"],
    baseline: Float[Tensor, "batch steps"],
) -> Float[Tensor, ""]:
    """A loss whose gradient by `log_prob` is that of the expected sum of rewards, negative, and that fits the baseline.

        L = −Σ_t (R_t − b_t n_t) log p(s_t) + ½ Σ_t (R_t / n_t − b_t)²,   R_t = Σ_{t' ≥ t} r_t',   n_t = its terms

    Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
    section 4: a sample is answerable for the rewards that come after it. The first factor has no gradient, the baseline
    none but by the square; it predicts a mean reward, so that it means the same at the start of a sentence and at its
    end.

    rewards, valid    of each step, in nats; those that are not valid do not count
    """
    rewards = torch.where(valid, rewards, 0.0)
    to_come = rewards.flip(1).cumsum(1).flip(1)  # R
    steps = valid.flip(1).cumsum(1).flip(1).clamp(min=1)  # n
    advantage = (to_come - steps * baseline).detach()
    policy = -(advantage * log_prob)
    fit = 0.5 * (to_come / steps - baseline) ** 2
    return torch.where(valid, policy + fit, 0.0).sum()
