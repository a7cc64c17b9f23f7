"""The learning rate as a pure function of the position, so that resuming needs nothing saved.

Warm-up × decay; the decays are those of torch.optim.lr_scheduler (LinearLR, CosineAnnealingLR), which the tests
hold them to, written over the share of the run that is done instead of over a count of updates: epochs may
differ by a batch, and the length need not be known beforehand.
"""

from __future__ import annotations

import math

from regard.train.config import TrainConfig


def share_done(config: TrainConfig, update: int, epochs_done: float) -> float:
    """How much of the run lies behind update number `update` (from 0), from 0 to 1.

    epochs_done   passes over the data so far, with its fraction
    With a limit on epochs and one on updates, the nearer end counts. The clock never does.
    """
    shares = [0.0]
    if config.epochs is not None:
        shares.append(epochs_done / config.epochs)
    if config.updates is not None:
        shares.append(update / config.updates)
    return min(1.0, max(shares))


def rate_factor(config: TrainConfig, update: int, done: float) -> float:
    """What the peak learning rate is multiplied by at update number `update` (from 0), in (0, 1]."""
    return _warmup(config, update) * _decay(config, update, done)


def _warmup(config: TrainConfig, update: int) -> float:
    """(t + 1) / warmup until it reaches one."""
    return min(1.0, (update + 1) / config.warmup) if config.warmup else 1.0


def _decay(config: TrainConfig, update: int, done: float) -> float:
    """From 1 to `final_fraction`; inverse_sqrt (Vaswani et al. 2017, equation 3) starts after warm-up."""
    final = config.final_fraction
    if config.schedule == "linear":
        return 1.0 - (1.0 - final) * done
    if config.schedule == "cosine":
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * done))
    if config.schedule == "inverse_sqrt":
        start = max(config.warmup, 1)
        return max(final, math.sqrt(start / max(update + 1, start)))
    return 1.0
