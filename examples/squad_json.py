"""Questions about passages, in a file of SQuAD's form: learn to find answers, count those found, and show one.

    python examples/squad_json.py questions.json answers.html

The same from the command line is a recipe: docs/answer.md.
"""

import json
import sys
from pathlib import Path

import regard


def main(file: str, page: str) -> None:
    articles = json.loads(Path(file).read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    held_out, learned = paragraphs[::10], [each for i, each in enumerate(paragraphs) if i % 10]
    model = regard.Reader(settings={"train.epochs": 4}).fit(rows(learned))
    asked = rows(held_out)
    found = model.explain(asked)
    for question, answer in zip(asked, found, strict=True):
        print(f"{question['question']} {answer or '(no answer)'}")
    print(f"F1 {model.score(asked, None):.1f} of {len(asked)} questions about passages never seen")
    Path(page).write_text(f"<meta charset='utf-8'>{found._repr_html_()}", encoding="utf-8")


def rows(paragraphs: list[dict]) -> list[dict]:
    """A row for each question."""
    return [
        {
            "question": asked["question"],
            "context": paragraph["context"],
            "answers": {key: [each[key] for each in asked["answers"]] for key in ("text", "answer_start")},
        }
        for paragraph in paragraphs
        for asked in paragraph["qas"]
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
