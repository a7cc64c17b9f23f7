"""A further process of a run with `train.processes` above 1: python -m regard.train.worker RECIPE.yaml RUN"""

from __future__ import annotations

import sys

from regard.errors import RegardError
from regard.train.signals import ignore_signals


def main(arguments: list[str]) -> int:
    """Train as the rank that the environment says; rank 0 has prepared the data and holds the run's lock."""
    ignore_signals()  # before the imports that take seconds
    from regard.recipe import load_recipe
    from regard.train.ranks import PeerLost
    from regard.train.run import train

    recipe, folder = arguments
    try:
        train(load_recipe(recipe), folder)
    except PeerLost:
        return 2  # rank 0 has said why
    except RegardError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
