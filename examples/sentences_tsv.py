"""Sentences and their translations in a TSV file: learn to translate, and look at what was looked at.

    python examples/sentences_tsv.py sentences.tsv translations.html

Ten thousand pairs are a beginning; `verbose=True` shows the training.
"""

import csv
import sys
from pathlib import Path

import regard


def main(table: str, page: str) -> None:
    with open(table, encoding="utf-8", newline="") as file:
        pairs = [row[:2] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 2]
    sources, targets = zip(*pairs, strict=True)
    model = regard.Translator(settings={"train.epochs": 6}, verbose=False).fit(sources, targets)
    print("BLEU of what was held out:", round(model.run_.best["bleu"], 1))
    answers = model.explain(sources[:5])
    for source, answer in zip(sources, answers, strict=False):
        print(source, "→", answer)
    Path(page).write_text(answers._repr_html_(), encoding="utf-8")  # what a notebook shows
    print("kept:", model.save("translator"), "and", page)


if __name__ == "__main__":
    main(*sys.argv[1:])
