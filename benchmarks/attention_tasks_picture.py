"""The picture of a result of attention_tasks.py: accuracy, time, memory against length, a row for each kind of part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter
from PIL import Image

from benchmarks.synthetic import TASKS, Induction
from regard.picture import MUTED, check_path, save, style

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#a07000", "#5b3fa0", "#7f7f7f")
"""After Okabe and Ito: told apart whatever colours one sees."""
PLAIN, BLACK = "dot", "#222222"
"""What all differ from, in every row."""
ROWS = {
    "score": "score\n(over the whole source, softmax)",
    "normalizer": "normalizer\n(of the dot product)",
    "other": "scope, coverage, decoder\n(with the dot product)",
}

Curve = list[tuple[float, float]]


def draw(result: Mapping[str, Any], path: Path) -> Path:
    """Draw a result as it was read from its file; the path is returned."""
    path, groups = check_path(path), result["groups"]
    names = {
        "score": groups["score"],
        "normalizer": groups.get("normalizer", []),
        "other": [name for group in ("scope", "coverage", "decoder") for name in groups.get(group, [])],
    }
    rows = [row for row in ROWS if names[row]]
    with style():
        figure = Figure(figsize=(14.5, 2.75 * (len(rows) + 1) + 0.3), layout="constrained")
        grid = figure.subplots(len(rows) + 1, 5, width_ratios=[1, 1, 1, 1, 0.55], squeeze=False)
        for axes, row in zip(grid, rows, strict=False):
            _models(axes, result, [name for name in names[row] if name != PLAIN], ROWS[row])
        _self_attention(grid[-1], result)
        for axes in grid[0, :4]:
            axes.set_title(axes.get_title(), fontsize=10)
        save(figure, path)
    if path.suffix == ".png":  # some dozen colours: a quarter of the size
        with Image.open(path) as picture:
            few = picture.convert("RGB").quantize(96, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            few.save(path, optimize=True)
    return path


def _models(axes: Sequence[Axes], result: Mapping[str, Any], names: list[str], title: str) -> None:
    """A row: copying, looking up, milliseconds, MiB, legend."""
    colours = {PLAIN: BLACK, **dict(zip(names, COLOURS * len(names), strict=False))}
    dashed = False
    for panel, (task, scores) in zip(axes, result["tasks"].items(), strict=False):
        for name, score in scores.items():
            kind, _, mode = name.partition(", ")
            if kind in colours:
                dashed = dashed or bool(mode)
                _line(panel, _points(score["tokens"]), colours[kind], kind == PLAIN, mode, bool(score["left_out"]))
        _shares(panel, TASKS[task].chance, result["training_steps"][task], f"{task}: tokens right")
    for panel, key, label in ((axes[2], "ms", "ms an update"), (axes[3], "mib", "MiB more at the peak of it")):
        for name, spent in result["update"].items():
            if name in colours:
                points, cut = _spent(spent, key)
                _line(panel, points, colours[name], name == PLAIN, "", cut)
        _logarithmic(panel, label)
    for panel in axes[:4]:
        _steps(panel, result["lengths"])
    handles = [Line2D([], [], color=colour, linewidth=1.6, label=name) for name, colour in colours.items()]
    if dashed:
        handles.append(Line2D([], [], color=MUTED, linestyle="--", label="mode hard"))
    _legend(axes[4], handles, title)


def _self_attention(axes: Sequence[Axes], result: Mapping[str, Any]) -> None:
    """The last row: induction, milliseconds, MiB, legend."""
    colours = dict(zip(result["induction"], (BLACK, *COLOURS[1:]), strict=False))
    axes[1].set_axis_off()
    for name, colour in colours.items():
        _line(axes[0], _points(result["induction"][name]["tokens"]), colour)
        for panel, key in ((axes[2], "ms"), (axes[3], "mib")):
            points, cut = _spent(result["self_attention"][name], key)
            _line(panel, points, colour, cut=cut)
    _shares(axes[0], Induction.chance, result["training_steps"]["induction"], "induction: values right")
    _steps(axes[0], [int(steps) for steps in result["induction"][next(iter(colours))]["tokens"]])
    for panel, label in ((axes[2], "ms there and back"), (axes[3], "MiB more at the peak of it")):
        _logarithmic(panel, label)
        _steps(panel, result["self_lengths"])
    _legend(axes[4], [Line2D([], [], color=colour, label=name) for name, colour in colours.items()], "self-attention")


def _points(shares: Mapping[str, float]) -> Curve:
    return sorted((float(steps), share) for steps, share in shares.items())


def _spent(spent: Mapping[str, Any], key: str) -> tuple[Curve, bool]:
    """What could be measured, and whether something could not."""
    points = [(float(steps), max(cost[key], 0.1)) for steps, cost in spent.items() if isinstance(cost, dict)]
    return sorted(points), len(points) < len(spent)


def _line(panel: Axes, curve: Curve, colour: str, bold: bool = False, mode: str = "", cut: bool = False) -> None:
    """A curve; with a cross at its end, if it goes on where it could not be measured."""
    if not curve:
        return
    wide, dash = 2.0 if bold else 1.3, "--" if mode else "-"
    panel.plot(*zip(*curve, strict=True), color=colour, linewidth=wide, linestyle=dash, marker=".", ms=4)
    if cut:
        panel.plot(*curve[-1], "x", color=colour, ms=7, mew=1.6)


def _shares(panel: Axes, chance: float, span: Sequence[int], title: str) -> None:
    panel.axvspan(*span, color="#eef2f6", zorder=0)
    panel.axhline(chance, color=MUTED, linewidth=0.8, linestyle=":")
    panel.set_ylim(-0.02, 1.03)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_title(title, fontsize=10)


def _logarithmic(panel: Axes, title: str) -> None:
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.set_title(title, fontsize=10)


def _steps(panel: Axes, lengths: Sequence[int]) -> None:
    panel.set_xscale("log")
    panel.set_xticks(lengths, [f"{steps:,}" for steps in lengths])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(min(lengths) * 0.85, max(lengths) * 1.18)
    panel.grid(color="#e4e7eb", linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)


def _legend(panel: Axes, handles: list[Line2D], title: str) -> None:
    panel.set_axis_off()
    panel.legend(
        handles=handles, title=title, loc="center left", fontsize=8.5, title_fontsize=8.5, frameon=False,
        alignment="left", borderaxespad=0.0,
    )  # fmt: skip
