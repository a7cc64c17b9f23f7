"""Learning from what was sampled, by what came of it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def reinforce(
    rewards: Float[Tensor, "batch steps"],
    valid: Bool[Tensor, "batch steps"],
    log_prob: Float[Tensor, "batch steps"],
    baseline: Float[Tensor, "batch steps"],
    lasting: bool = True,
) -> Float[Tensor, ""]:
    """Zero, with the gradient by `log_prob` of minus the expected sum of rewards, and one that fits the baseline.

        L = −Σ_t (R_t − b_t n_t) log p(s_t) + ½ Σ_t (R_t / n_t − b_t)²,   R_t = Σ_{t' ≥ t} r_t',   n_t = its terms

    Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning": a sample
    is answerable for the rewards that come after it. The first factor has no gradient, the baseline none but by the
    square; it predicts a mean reward, so that it means the same at the start of a sentence and at its end.

    rewards, valid    of each step, in nats; those that are not valid do not count
    lasting           False where a sample changes its own step alone: then R_t = r_t and n_t = 1
    """
    rewards = torch.where(valid, rewards, 0.0)
    to_come, steps = rewards, valid.to(rewards)  # R, n
    if lasting:
        to_come, steps = (part.flip(1).cumsum(1).flip(1) for part in (to_come, steps))
    steps = steps.clamp(min=1)
    advantage = (to_come - steps * baseline).detach()
    policy = -(advantage * log_prob)
    fit = 0.5 * (to_come / steps - baseline) ** 2
    loss = torch.where(valid, policy + fit, 0.0).sum()
    return loss - loss.detach()  # its value would say nothing beside a log-likelihood
