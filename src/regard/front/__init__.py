"""Models as scikit-learn has them: `fit`, `predict`, `score`, over lists, arrays, data frames and data sets.

model = regard.Classifier().fit(reviews, labels)
model.predict(["What a lovely film."])

columns.py     what users have, as lists of texts
estimator.py   the one class: data to a recipe, a recipe to a run, a run to answers
models.py      a thin class for each task
answers.py     outputs, which a notebook shows with what was looked at
"""

from __future__ import annotations

from regard.front.answers import Answers
from regard.front.estimator import Estimator
from regard.front.models import MODELS, Classifier, Reader, Summarizer, Transducer, Translator, Writer

__all__ = ["MODELS", "Answers", "Classifier", "Estimator", "Reader", "Summarizer", "Transducer", "Translator", "Writer"]
