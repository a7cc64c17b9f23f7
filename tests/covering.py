"""Few cases that hold many: every value once against the default, and all pairs of values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

Case = dict[str, Any]
CELLS = ["lstm", "gru", "rnn", "ssru", "intra", "attentive"]
"""Cells of each form: a state of two tensors, of one (with gates, without), without a product, with a tape. Alone every
cell is tested."""


def cases(axes: Mapping[str, Sequence[Any]], legal: Callable[[Case], bool] = lambda case: True) -> list[Case]:
    """A list in which each legal pair of values of two axes stands together at least once.

    An axis's first value is its default: the first cases change one axis each.
    """
    found = singles(axes, legal)
    everything = list(product(axes, legal))
    missing = set().union(*map(_pairs, everything)) - set().union(*map(_pairs, found))
    while missing:
        best = max(everything, key=lambda case: len(_pairs(case) & missing))
        found.append(best)
        missing -= _pairs(best)
    return found


def product(axes: Mapping[str, Sequence[Any]], legal: Callable[[Case], bool] = lambda case: True) -> Iterator[Case]:
    """Every legal case."""
    for values in itertools.product(*axes.values()):
        if legal(case := dict(zip(axes, values, strict=True))):
            yield case


def singles(axes: Mapping[str, Sequence[Any]], legal: Callable[[Case], bool] = lambda case: True) -> list[Case]:
    """Every value once: the first values, then the legal cases that change one axis each."""
    default = {name: values[0] for name, values in axes.items()}
    changed = [{**default, name: value} for name, values in axes.items() for value in values[1:]]
    return [default, *filter(legal, changed)]


def params(quick: Sequence[Case], every: Iterable[Case] = ()) -> list[Any]:
    """Cases for `parametrize`: those of `every` that are not among the quick ones are slow tests."""
    slow = [case for case in every if case not in quick]
    marked = [(case, ()) for case in quick] + [(case, (pytest.mark.slow,)) for case in slow]
    return [pytest.param(case, id=name(case), marks=marks) for case, marks in marked]


def slow(*values: Any) -> Any:
    """Values for `parametrize` that are for the full run."""
    return pytest.param(*values, marks=pytest.mark.slow)


def name(case: Case) -> str:
    """For the list of tests."""
    return "-".join(map(str, case.values()))


def _pairs(case: Case) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return set(itertools.combinations(case.items(), 2))
