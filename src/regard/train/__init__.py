"""Training: the loop, optimisation, checkpoints, the run folder, the log.

Called, it trains (`regard/__init__.py` sees to that): `run = regard.train("demo-cmudict")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.train.run import train
    from regard.train.runfolder import Run

__all__ = ["Run", "train"]


def __getattr__(name: str) -> Any:
    # Heavy parts load when they are asked for, so that reading a recipe costs no torch.
    if name == "train":
        from regard.train.run import train

        return train
    if name == "Run":
        from regard.train.runfolder import Run

        return Run
    raise AttributeError(f"module 'regard.train' has no attribute {name!r}")
