"""Words to sounds in many languages: `python -m benchmarks.g2p --keep runs/g2p low`.

SIGMORPHON 2021 task 1: the recipe of each language (soft attention) and its `-hard` one (exact hard monotonic), with
several seeds. Then the word error rate of each run, and of all seeds of a recipe as one ensemble, with intervals, on
validation; with --test on test, which is for the end.

    python -m benchmarks.g2p --keep runs/g2p low --seeds 5
    python -m benchmarks.g2p --keep runs/g2p low --seeds soft=5,hard=2 --mix soft=3,hard=2 --test
"""

from __future__ import annotations

from benchmarks.many import options, train_and_score

TRACKS = {"low": ["ady", "gre", "ice", "ita"], "medium": ["dut", "fre", "geo", "hun", "jpn_hira", "kor"]}
KINDS = {"soft": "", "hard": "-hard"}


def main() -> None:
    given = options("g2p", __doc__ or "", TRACKS, list(KINDS))
    names = [(language, kind) for language in given.languages for kind in given.kinds]
    recipes = {name: (f"transduce-sigmorphon2021-{name[0]}{KINDS[name[1]]}", ()) for name in names}
    train_and_score("g2p", given, recipes)


if __name__ == "__main__":
    main()
