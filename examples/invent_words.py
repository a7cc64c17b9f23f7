"""A list of words, one a line: learn how they are spelled, and invent more like them.

    python examples/invent_words.py names.txt

Names of people, places or medicines: a few thousand make a model that can be told from chance.
"""

import sys
from pathlib import Path

import regard

LETTERS = {"data.target.tokenizer": "char", "data.target.vocab": 2000, "model.embed": 32, "model.decoder.hidden": 128}


def main(path: str) -> None:
    words = [word for word in Path(path).read_text(encoding="utf-8").split("\n") if word.strip()]
    model = regard.Writer(settings={**LETTERS, "train.epochs": 10, "train.batch_tokens": 400}).fit(words)
    begun = sorted({word[0] for word in words})[:10]
    for seed in (1, 2):
        print(*model.predict(begun, max_length=20, seed=seed), sep=", ")
    new = model.predict(begun, max_length=20, seed=3)
    print("of these not in the list:", sum(word not in words for word in new), "of", len(new))


if __name__ == "__main__":
    main(*sys.argv[1:])
