"""Training: the loop, optimisation, checkpoints, the run folder, the log.

`regard.train` is this package and, called, trains: `run = regard.train("demo-cmudict")`. Python sets a
subpackage's name on its parent, so one name has to be both.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.train.run import train
    from regard.train.runfolder import Run

__all__ = ["Run", "train"]


class _Package(ModuleType):
    """This package, which can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Run:
        from regard.train.run import train

        return train(*args, **kwargs)


def __getattr__(name: str) -> Any:
    # Heavy parts load when they are asked for, so that reading a recipe costs no torch.
    if name == "train":
        from regard.train.run import train

        return train
    if name == "Run":
        from regard.train.runfolder import Run

        return Run
    raise AttributeError(f"module 'regard.train' has no attribute {name!r}")


sys.modules[__name__].__class__ = _Package
