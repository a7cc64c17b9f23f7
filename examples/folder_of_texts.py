"""A folder for each kind of text, a text in each file: learn to tell them apart, and show what a decision rests on.

    python examples/folder_of_texts.py texts shown.html

The same from the command line is a recipe with `data.train.classes`: docs/classify.md.
"""

import sys
from pathlib import Path

import regard
from regard.explain import confusion_picture, shaded_text


def main(folder: str, page: str) -> None:
    files = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    texts, kinds = [path.read_text(encoding="utf-8") for path in files], [path.parent.name for path in files]
    held_out = range(0, len(texts), 5)
    learned = [i for i in range(len(texts)) if i not in held_out]
    model = regard.Classifier(settings={"train.epochs": 4, "train.class_weights": "balanced"})
    model.fit([texts[i] for i in learned], [kinds[i] for i in learned])
    found = model.predict([texts[i] for i in held_out])
    for i, kind in zip(held_out, found, strict=True):
        print(files[i], "is", kinds[i], "and was taken for" if kind != kinds[i] else "and was found to be", kind)
    confusion_picture(found.tolist(), [kinds[i] for i in held_out], "confusion.png")
    [one] = model.explain([texts[held_out[0]]]).details or []
    if one.attention is not None and one.source_tokens is not None:
        shaded_text(one.source_tokens, one.attention[0].tolist(), [(one.text, one.probability)], page)


if __name__ == "__main__":
    main(*sys.argv[1:])
