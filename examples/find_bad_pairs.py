"""Which pairs of a table does a trained run find least likely? Often they are wrong: a slipped line, another language.

    python examples/find_bad_pairs.py runs/words words.tsv 10

Prints that many pairs, the worst first, with the mean log-probability of a target token.
"""

import sys
from pathlib import Path

import regard


def main(run: str, table: str, count: str) -> None:
    rows = [line.split("\t") for line in Path(table).read_text(encoding="utf-8").splitlines()]
    sources, targets = [row[0] for row in rows], [row[1] for row in rows]
    scored = regard.load(run).score(sources, targets, length_penalty=1)
    order = sorted(range(len(rows)), key=lambda i: scored[i].score)
    for i in [i for i in order if not scored[i].problem][: int(count)]:
        print(f"line {i + 1}\t{scored[i].score:.2f}\t{sources[i]}\t{targets[i]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
