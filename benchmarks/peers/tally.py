"""What a race comes to: rates, ratios, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.peers.protocol import STEPS

Answers = Sequence[Mapping[str, Any]]
"""A worker's answers to equal requests: `seconds`, and `tokens` or `sentences` done in them."""


def quartiles(values: Sequence[float], digits: int) -> list[float]:
    """25 %, 50 %, 75 %."""
    return [round(float(q), digits) for q in np.quantile(np.asarray(values), (0.25, 0.5, 0.75))]


def rate(answers: Answers, what: str) -> float:
    """Tokens or sentences a second over all answers."""
    done: float = sum(answer[what] for answer in answers)
    return done / sum(answer["seconds"] for answer in answers)


def training(facts: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """A side's line: its model, and how fast it trained. Useful arithmetic is 6 × the parameters that multiply × the
    tokens: forward, and twice that backward."""
    speed = rate(answers, "tokens")
    useful = facts["parameters"] - facts["tables"]
    return {
        **{key: facts[key] for key in ("version", "parameters", "shape")},
        "useful_parameters": useful,
        "tokens_per_second": round(speed, 1),
        "tokens_per_second_quartiles": quartiles([a["tokens"] / a["seconds"] for a in answers], 1),
        "useful_gflops": round(6 * useful * speed / 1e9, 1),
        "steps": len(answers),
        "tokens": sum(answer["tokens"] for answer in answers),
    }


def decoding(answers: Answers) -> dict[str, Any]:
    """A side's line: sentences a second, and where they came one by one the latency."""
    found: dict[str, Any] = {
        "sentences_per_second": round(rate(answers, "sentences"), 2),
        "sentences_per_second_quartiles": quartiles([a["sentences"] / a["seconds"] for a in answers], 2),
        "steps": answers[-1]["steps"],
    }
    if all(answer["sentences"] == 1 for answer in answers):
        milliseconds = [1000 * answer["seconds"] for answer in answers]
        found["latency_ms"] = round(statistics.median(milliseconds), 1)
        found["latency_ms_99"] = round(float(np.quantile(milliseconds, 0.99)), 1)
    return found


def ratio(ours: Answers, theirs: Answers, what: str) -> dict[str, Any]:
    """How many times as fast ours is: over everything, and the quartiles of the ratios turn by turn."""
    each = [(a[what] / a["seconds"]) / (b[what] / b["seconds"]) for a, b in zip(ours, theirs, strict=True)]
    return {"overall": round(rate(ours, what) / rate(theirs, what), 3), "quartiles": quartiles(each, 3)}


def summary(duels: Sequence[Mapping[str, Any]]) -> str:
    """One line for lists of results."""
    return "; ".join(
        f"{duel['name']}: failed" if "failed" in duel else f"{duel['ratio']['overall']:.2f} × {duel['name']}"
        for duel in duels
    )


def table(duels: Sequence[Mapping[str, Any]], size: str) -> Table:
    """Two lines for each peer, theirs and ours; one where it failed."""
    found = Table(title=f"{size}, one thread each", title_justify="left")
    for heading in ("", "parameters", "tokens/s (quartiles)", "GFLOP/s", "ratio", "padding", "MiB", "decoding"):
        found.add_column(heading, overflow="fold")
    for duel in duels:
        if "failed" in duel:
            found.add_row(duel["name"], *[""] * 6, duel["failed"])
            continue
        for who in ("peer", "regard"):
            found.add_row(*_line(duel, who))
        found.add_section()
    return found


def _line(duel: Mapping[str, Any], who: str) -> list[str]:
    its = duel[who]
    low, _, high = its["tokens_per_second_quartiles"]
    searches: Mapping[str, Any] = duel.get("decoding", {})
    return [
        duel["name"] if who == "peer" else "  Regard",
        f"{its['parameters'] / 1e6:.2f} M",
        f"{its['tokens_per_second']:,.0f} ({low:,.0f} … {high:,.0f})",
        f"{its['useful_gflops']:.1f}",
        _ratio(duel["ratio"]) if who == "regard" else "",
        f"{its['padding']['source']:.0%}, {its['padding']['target']:.0%}",
        f"{its['peak_mib']:,}",
        "\n".join(f"{search}: {_decoded(answer, who)}" for search, answer in searches.items()),
    ]


def _decoded(answer: Mapping[str, Any], who: str) -> str:
    """Speed, or the median latency; for ours with the ratio."""
    if "failed" in answer:
        return str(answer["failed"]) if who == "peer" else "–"
    its = answer[who]
    other = "" if its["steps"] == STEPS else f" ({its['steps']} steps)"
    speed = f"{its['latency_ms']:.0f} ms" if "latency_ms" in its else f"{its['sentences_per_second']:.1f}/s"
    return speed + other + (f", {_ratio(answer['ratio'])}" if who == "regard" else "")


def _ratio(its: Mapping[str, Any]) -> str:
    """Over everything, and the quartiles turn by turn."""
    return f"{its['overall']:.2f} × ({its['quartiles'][0]:.2f} … {its['quartiles'][2]:.2f})"
