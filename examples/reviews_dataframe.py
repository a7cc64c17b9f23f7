"""Reviews in a data frame: learn their labels, say how sure it is, and find the best settings by cross-validation.

    python examples/reviews_dataframe.py reviews.csv

The file has columns text and label; any table that pandas reads will do. The grid needs scikit-learn.
"""

import sys

import pandas as pd

import regard


def main(path: str) -> None:
    reviews = pd.read_csv(path).sample(frac=1.0, random_state=1)
    cut = len(reviews) * 4 // 5
    train, test = reviews[:cut], reviews[cut:]
    model = regard.Classifier(settings={"train.epochs": 4}).fit(train["text"], train["label"])
    print(f"right of {len(test)} others: {model.score(test['text'], test['label']):.0%}")
    for text, found in zip(test["text"][:3], model.predict_proba(test["text"][:3]), strict=True):
        print(dict(zip(model.classes_.tolist(), found.round(2).tolist(), strict=True)), text)
    print("kept:", model.save("reviews-model"))

    try:
        from sklearn.model_selection import GridSearchCV
    except ImportError:
        return
    grid = GridSearchCV(model, {"model__dropout": [0.2, 0.5]}, cv=2).fit(train["text"], train["label"])
    print("best of two:", grid.best_params_, f"{grid.best_score_:.0%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
