"""Lemmas and features to forms in six languages: `python -m benchmarks.inflection --keep runs/inflection all`.

CoNLL-SIGMORPHON 2018 task 1: the recipes for 100, 1,000 and 10,000 training forms (low, medium, high), with each
language's files. Word error rates of every seed, and of all seeds as one ensemble, with intervals, on validation; with
--test on test, which is for the end. Accuracy, as the shared task says it, is 100 less that.
"""

from __future__ import annotations

from benchmarks.many import options, train_and_score

LANGUAGES = {"all": ["arabic", "finnish", "hebrew", "latin", "spanish", "turkish"]}
SIZES = ["low", "medium", "high"]


def files(language: str, size: str) -> list[str]:
    """Changes of a recipe, so that it is that of another language."""
    parts = {"train": f"train-{size}", "valid": "dev", "test": "test"}
    return [f"data.{split}.table=conll2018_inflection/{language}-{part}" for split, part in parts.items()]


def main() -> None:
    given = options("inflection", __doc__ or "", LANGUAGES, SIZES)
    names = [(language, size) for language in given.languages for size in given.kinds]
    recipes = {name: (f"transduce-conll2018-{name[1]}", files(*name)) for name in names}
    train_and_score("inflection", given, recipes)


if __name__ == "__main__":
    main()
