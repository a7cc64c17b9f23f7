"""Training of one trial, in a process of its own that ends with the one that began it.

python -m regard.tune.worker RECIPE RUN
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from regard.errors import RegardError
from regard.train.run import train
from regard.train.runfolder import Run, RunLockedError

POLL_SECONDS = 0.2


def main() -> None:
    recipe, run = sys.argv[1:]
    threading.Thread(target=_with_parent, daemon=True).start()
    _wait(Run(run), Path(recipe).read_bytes())
    try:
        train(recipe, run)
    except KeyboardInterrupt as stopped:
        sys.exit(getattr(stopped, "exit_code", 130))
    except (RegardError, OSError) as error:
        sys.exit(f"regard: {error}")


def _with_parent() -> None:
    """Nothing is ever written to our standard input: it ends when the parent does, however that ends."""
    os.read(0, 1)  # not sys.stdin, whose lock a thread must not hold when Python ends
    os.kill(os.getpid(), signal.SIGTERM)


def _wait(run: Run, recipe: bytes) -> None:
    """Until a worker whose parent was killed, and which saves itself, lets go of the run."""
    while True:
        try:
            with run.locked(recipe):
                return
        except RunLockedError:
            time.sleep(POLL_SECONDS)
        except RegardError:
            return  # which training will say


if __name__ == "__main__":
    main()
