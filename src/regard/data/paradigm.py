"""Other forms of a lemma that training data has, shown to the model beside the lemma.

Retrieval for inflection: what the lemma does not tell (a vowel's length, a broken plural, a conjugation class) often
stands in a form that was seen. Kann, Cotterell & Schütze 2017, "Neural multi-source morphological reinflection", read
several forms of a lemma too; here they are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from regard.data.text import TAG

MARK = "‖"
"""Stands after each form that is shown."""
SHOWN = "~"
"""Begins each tag of a form that is shown."""


class Form(NamedTuple):
    """One cell of a paradigm."""

    text: str
    tags: tuple[str, ...]


class Paradigms:
    """What is known of each lemma. In cleaned sources each tag has a tab before it.

    >>> known = Paradigms.learn([("amo\\tPRS\\t1\\tPL", "amāmus"), ("amo\\tINF", "amāre")])
    >>> known.show("amo\\tPRS\\t1\\tSG", 1)
    'amāmus‖amo\\tPRS\\t1\\tSG\\t~PRS\\t~1\\t~PL'
    """

    def __init__(self, forms: Mapping[str, Sequence[Form]]) -> None:
        self.forms = forms

    @classmethod
    def learn(cls, pairs: Iterable[tuple[str, str]]) -> Paradigms:
        """From cleaned sources, which are a lemma and its tags, and cleaned targets."""
        forms: dict[str, dict[Form, None]] = {}
        for source, target in pairs:
            lemma, *tags = source.split(TAG)
            forms.setdefault(lemma, {})[Form(target, tuple(tags))] = None
        return cls({lemma: tuple(found) for lemma, found in forms.items()})

    def show(self, source: str, most: int) -> str:
        """A cleaned source with up to `most` known forms before its lemma, and their tags after its own: those that
        have most tags in common with it (of tags in either, the share that both have); the likest is next to the lemma.

        A form with just the tags that are asked for is no help but the answer, and never shown: training and prediction
        see the same.
        """
        lemma, *tags = source.split(TAG)
        asked = set(tags)
        others = [form for form in self.forms.get(lemma, ()) if set(form.tags) != asked]
        others.sort(key=lambda form: -_alike(asked, set(form.tags)))  # stable: the first in the data among equals
        near = others[:most]
        shown = [form.text + MARK for form in reversed(near)]
        return TAG.join(["".join(shown) + lemma, *tags, *(SHOWN + tag for form in near for tag in form.tags)])

    def to_json(self) -> Any:
        """What `of_json` reads: plain lists."""
        return [[lemma, [[form.text, *form.tags] for form in found]] for lemma, found in self.forms.items()]

    @classmethod
    def of_json(cls, content: Any) -> Paradigms:
        """ValueError or TypeError where it is no such thing."""
        forms = {
            str(lemma): tuple(Form(str(text), tuple(map(str, tags))) for text, *tags in found)
            for lemma, found in content
        }
        return cls(forms)


def _alike(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, len(one | other))
