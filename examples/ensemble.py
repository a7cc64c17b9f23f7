"""Two runs of one recipe with different seeds, alone and together: the mean of their probabilities at every token.

    python examples/ensemble.py runs/words runs/words-2
"""

import sys

import regard
from regard.predict.evaluate import evaluate, split_examples


def main(*runs: str) -> None:
    for members in ([run] for run in runs):
        report(members)
    report(list(runs))


def report(members: list[str]) -> None:
    predictor = regard.load(members)
    result = evaluate(predictor, split_examples(predictor, "test"))
    scores = ", ".join(f"{one.label} {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in result.scores.values())
    print(" + ".join(members), scores, f"perplexity {result.perplexity.value:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
