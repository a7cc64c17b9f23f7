"""Learning curves: what metrics.jsonl says, as one picture."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from regard.errors import RegardError
from regard.fonts import lettering
from regard.picture import ACCENT, INK, MUTED, check_path, save, style
from regard.score import METRICS
from regard.train.log import read_metrics

Curve = list[tuple[float, float]]
"""(update, value), updates rising."""

SHADES = (INK, "#2a9d8f", "#8e6c00", "#7b4bb3")


def learning_curves(
    metrics: str | os.PathLike[str],
    path: str | os.PathLike[str],
    title: str,
    better: Mapping[str, bool] | None = None,
) -> Path:
    """Draw a run's losses, validation metrics and learning rate over updates; the path is returned.

    Best points are marked. A log that has only just begun, or lacks a kind of record, gives a picture of what
    there is; of records of the same update the last counts.

    metrics   metrics.jsonl of a run
    better    names of further metrics, True where higher is better; those of `regard.score.METRICS` are known

    learning_curves("runs/x/metrics.jsonl", "runs/x/curves.png", "Multi30k en→de")
    """
    path, metrics = check_path(path), Path(metrics)
    if not metrics.is_file():
        raise RegardError(f"{metrics}: no such file; learning curves are drawn from a run's metrics.jsonl.")
    directions = {name: metric.higher_is_better for name, metric in METRICS.items()} | dict(better or {})
    records = read_metrics(metrics)
    train, valid = _curves(records, "train"), _curves(records, "valid")
    shown = {name: curve for name, curve in valid.items() if name in directions}
    panels = 1 + bool(shown) + ("learning_rate" in train)
    look = lettering([title])
    with style():
        figure = Figure(figsize=(4.2 * panels + 0.4, 3.4), layout="constrained")
        figure.suptitle(look.label(title), fontsize=11, family=look.families)
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        _losses(axes.pop(0), train, valid)
        if shown:
            _scores(axes.pop(0), shown, directions)
        if axes:
            _line(axes[0], train["learning_rate"], "learning rate", MUTED)
            axes[0].set_ylim(bottom=0)
            axes[0].set_title("learning rate", fontsize=10)
        for one in figure.axes:
            one.set_xlabel("updates", fontsize=9)
            one.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            one.grid(color="#e4e7eb", linewidth=0.5)
            one.spines[["top", "right"]].set_visible(False)
            one.tick_params(labelsize=8)
        with warnings.catch_warnings():  # a busy machine is slow at finding a free corner for a legend
            warnings.filterwarnings("ignore", "Creating legend")
            return save(figure, path)


def _losses(axes: Axes, train: dict[str, Curve], valid: dict[str, Curve]) -> None:
    """Training loss (smoothed, if the recipe smooths) and −log p of validation, both per target token."""
    drawn = "loss" in train
    if drawn:
        whole = "cost" in train  # the loss is not of tokens then
        _line(axes, train["nll" if whole else "loss"], "training", MUTED)
    held_out = valid.get("loss") or [(x, math.log(y)) for x, y in valid.get("perplexity", []) if y > 0]
    if held_out:
        drawn = True
        _line(axes, held_out, "validation (log perplexity)", INK)
        _best(axes, held_out, higher=False)
    if drawn:
        axes.legend(fontsize=8, frameon=False, loc="upper right")  # where a falling loss is not
    else:
        axes.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", transform=axes.transAxes, color=MUTED)
    axes.set_title("loss per target token (nats)", fontsize=10)


def _scores(axes: Axes, curves: dict[str, Curve], directions: Mapping[str, bool]) -> None:
    for shade, (name, curve) in zip(SHADES * len(curves), curves.items(), strict=False):
        label = METRICS[name].label if name in METRICS else name
        _line(axes, curve, f"{label} ({'higher' if directions[name] else 'lower'} is better)", shade)
        _best(axes, curve, directions[name])
    axes.legend(fontsize=8, frameon=False)
    axes.set_title("validation", fontsize=10)


def _line(axes: Axes, curve: Curve, label: str, colour: str) -> None:
    few = len(curve) <= 40
    axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1.3, marker="." if few else "", ms=4, label=label)


def _best(axes: Axes, curve: Curve, higher: bool) -> None:
    """Mark the best point, its value where the curve is not; of equally good ones the first, as early stopping."""
    axes.margins(y=0.12)  # room for the value
    update, value = max(curve, key=lambda point: point[1] if higher else -point[1])
    axes.plot([update], [value], "o", color=ACCENT, ms=5, zorder=5)
    axes.annotate(
        f"{value:.4g}",
        (update, value),
        xytext=(0, 6 if higher else -13),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=ACCENT,
    )


def _curves(records: list[dict[str, Any]], kind: str) -> dict[str, Curve]:
    """Numbers of the records of one kind, by name; metrics in a dictionary of their own are taken out of it."""
    points: dict[str, dict[float, float]] = {}
    for record in records:
        update = record.get("update")
        if record.get("type", record.get("kind")) != kind or update is None or not _number(update):
            continue
        flat = dict(record)
        for value in record.values():
            if isinstance(value, dict):
                flat |= value
        for name, value in flat.items():
            if name != "update" and _number(value):
                points.setdefault(name, {})[update] = value
    return {name: sorted(curve.items()) for name, curve in points.items()}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
