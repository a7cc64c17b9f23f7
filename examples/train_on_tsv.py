"""Train on a table of your own: source, a tab, target. A tenth of the sources is kept for validation and test.

    python examples/train_on_tsv.py words.tsv runs/mine

The table's sources are read letter by letter and its targets symbol by symbol, as for pronunciations, inflected forms
or transliterations. For sentences: task translate, and no source and target (BPE on both sides).
"""

import sys
from pathlib import Path

import regard


def recipe_for(table: Path) -> regard.Recipe:
    name = str(table.absolute())
    return regard.Recipe.from_dict(
        {
            "task": "transduce",
            "data": {
                "train": {"table": name, "percent": [0, 90]},
                "valid": {"table": name, "percent": [90, 95]},
                "test": {"table": name, "percent": [95, 100]},
                "source": {"tokenizer": "char"},
                "target": {"tokenizer": "word"},
            },
            "model": {"embed": 64, "encoder": {"hidden": 96}, "decoder": {"hidden": 128}, "attention": {"dim": 96}},
            "train": {"epochs": 2, "learning_rate": 5e-3, "batch_tokens": 800, "warmup": 100},
        }
    )


def main(table: str, folder: str) -> None:
    run = regard.train(recipe_for(Path(table)), folder)  # resumes, if it was stopped before
    print("validation:", run.best)
    words = ["abbey", "quartz", "windmill"]
    for word, output in zip(words, regard.load(run.path)(words), strict=True):
        print(word, "→", output)


if __name__ == "__main__":
    main(*sys.argv[1:])
