"""What is in the data: sizes, lengths, duplicates, overlap between splits. Look at it before training for hours.

Lengths are counted over all examples. Duplicates and overlap are counted over the first `COMPARED` examples of each
split (the report says so where that is not all), by 64-bit hashes: 16 bytes an example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.table import Table

from regard.data.config import MOST_TOKENS
from regard.data.store import SIDES, Pairs

COMPARED = 1_000_000
EDGES = (0, 1, 2, 5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400)
"""Lower ends of the bars of the length histogram, in tokens."""

Hashes = npt.NDArray[np.uint64]


def data_report(splits: Mapping[str, Pairs]) -> dict[str, Any]:
    """The report on prepared splits, as plain data that JSON can hold. The first split is the one trained on."""
    hashes = {name: _hashes(pairs) for name, pairs in splits.items()}
    report: dict[str, Any] = {"compared": COMPARED, "most_tokens": MOST_TOKENS, "splits": {}, "overlap": {}}
    for name, pairs in splits.items():
        report["splits"][name] = _split_report(pairs, *hashes[name])
    first = next(iter(splits))
    for name in splits:
        if name != first:
            sources, both = (int(np.isin(hashes[name][k], hashes[first][k]).sum()) for k in (0, 1))
            report["overlap"][name] = {"in": first, "sources": sources, "pairs": both, "of": len(hashes[name][0])}
    return report


def render(report: Mapping[str, Any]) -> Group:
    """The report as tables for a rich console."""
    return Group(_overview(report), _histogram(report))


def _split_report(pairs: Pairs, sources: Hashes, both: Hashes) -> dict[str, Any]:
    meta = pairs.meta
    kept = {key: meta[key] for key in ("examples", "lines", "bad", "first_bad", "too_long", "left_out_empty", "empty")}
    tokens = meta["tokens"]
    return {
        **kept,
        "tokens": tokens,
        "byte_rate": {side: meta["byte_pieces"][side] / max(1, tokens[side]) for side in SIDES},
        "not_found": meta.get("not_found", 0),
        "unknown": meta.get("unknown", dict.fromkeys(SIDES, 0)),
        "unwritable": meta.get("unwritable", 0),
        "lengths": {side: _lengths(lengths) for side, lengths in _sides(pairs).items()},
        "ratio": _ratio(pairs),
        "unscored": _unscored(pairs),
        "compared": len(sources),
        "duplicate_sources": len(sources) - len(np.unique(sources)),
        "duplicate_pairs": len(both) - len(np.unique(both)),
    }


def _unscored(pairs: Pairs) -> int:
    """Pairs with a side that validation and evaluation find too long."""
    sides = zip(*(_pieces(lengths) for lengths in _sides(pairs).values()), strict=True)
    return sum(int(((source > MOST_TOKENS) | (target > MOST_TOKENS)).sum()) for source, target in sides)


def _sides(pairs: Pairs) -> dict[str, npt.NDArray[np.int32]]:
    return {"source": pairs.source_lengths, "target": pairs.target_lengths}


def _lengths(lengths: npt.NDArray[np.int32]) -> dict[str, Any]:
    """Mean, quantiles and histogram, from a count of each length, taken piece by piece."""
    counts = np.zeros(1, dtype=np.int64)
    for piece in _pieces(lengths):
        found = np.bincount(piece, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    below = np.cumsum(counts)
    quantiles = {str(q): int(np.searchsorted(below, q / 100 * below[-1])) for q in (1, 50, 95, 99)}
    bars = [int(counts[low:high].sum()) for low, high in zip(EDGES, [*EDGES[1:], None], strict=True)]
    mean = float((counts * np.arange(len(counts))).sum() / max(1, below[-1]))
    return {"mean": mean, "longest": len(counts) - 1, "quantiles": quantiles, "histogram": bars}


def _ratio(pairs: Pairs) -> dict[str, float]:
    """Target tokens for each source token, over the compared examples that have both."""
    source = np.asarray(pairs.source_lengths[:COMPARED])
    target = np.asarray(pairs.target_lengths[:COMPARED])
    real = (source > 0) & (target > 0)
    if not real.any():
        return {}
    ratios = (target[real] / source[real]).astype(np.float32)
    low, middle, high = np.quantile(ratios, [0.01, 0.5, 0.99])
    apart = float(np.mean((ratios > 3 * middle) | (ratios < middle / 3)))
    return {"1": float(low), "50": float(middle), "99": float(high), "three_times_apart": apart}


def _hashes(pairs: Pairs) -> tuple[Hashes, Hashes]:
    """A hash of each source, and of each source with its first reference."""
    count = min(len(pairs), COMPARED)
    sources, both = np.empty(count, np.uint64), np.empty(count, np.uint64)
    for i in range(count):
        source, targets = pairs.original(i)
        digest = hashlib.blake2b(source.encode(), digest_size=8)
        sources[i] = int.from_bytes(digest.digest())
        digest.update(b"\0" + targets[0].encode())
        both[i] = int.from_bytes(digest.digest())
    return sources, both


def _pieces(lengths: npt.NDArray[np.int32], size: int = 2**20) -> list[npt.NDArray[np.int32]]:
    return [lengths[start : start + size] for start in range(0, len(lengths), size)]


def _overview(report: Mapping[str, Any]) -> Table:
    table = Table(title="Data", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in report["splits"]:
        table.add_column(name, justify="right")
    parts = list(report["splits"].values())

    def row(label: str, values: list[str]) -> None:
        if any(value not in ("0", "") for value in values):
            table.add_row(label, *values)

    sides = _told(report)
    plain = "source" not in sides
    row("lines" if plain else "examples", [f"{p['examples']:,}" for p in parts])
    row("bad lines, left out", [f"{p['bad']:,}" for p in parts])
    row("too long, left out", [f"{p['too_long']:,}" for p in parts])
    row("empty once cleaned, left out", [f"{p['left_out_empty']:,}" for p in parts])
    row("answers not in their passage", [f"{p.get('not_found', 0):,}" for p in parts])
    row(f"over {report['most_tokens']:,} tokens, not scored", ["", *(f"{p['unscored']:,}" for p in parts[1:])])
    for side in sides:
        row(f"{side} empty", [f"{p['empty'][side]:,}" for p in parts])
        row(f"{side} tokens", [f"{p['tokens'][side]:,}" for p in parts])
        row(f"{side} length: mean, 95 %, max", [_length_line(p["lengths"][side]) for p in parts])
        row(f"{side} tokens that are bytes", [f"{100 * p['byte_rate'][side]:.2f} %" for p in parts])
        row(f"{side} tokens unknown", [f"{p['unknown'][side]:,}" for p in parts])
    row("of these in no source, never written", [f"{p['unwritable']:,}" for p in parts])
    if not plain:
        row("target : source, middle, 1–99 %", [_ratio_line(p["ratio"]) for p in parts])
        row("ratio 3x off the middle", [f"{100 * p['ratio'].get('three_times_apart', 0):.2f} %" for p in parts])
    some = any(p["compared"] < p["examples"] for p in parts)
    note = f" (of the first {report['compared']:,})" if some else ""
    what = "lines" if plain else "pairs"
    if not plain:
        row(f"repeated sources{note}", [f"{p['duplicate_sources']:,}" for p in parts])
    row(f"repeated {what}{note}", [f"{p['duplicate_pairs']:,}" for p in parts])
    found = [report["overlap"].get(name) for name in report["splits"]]
    if not plain:
        row(f"sources in training too{note}", ["" if o is None else f"{o['sources']:,}" for o in found])
    row(f"{what} in training too{note}", ["" if o is None else f"{o['pairs']:,}" for o in found])
    bad = [line for p in parts for line in p["first_bad"]]
    table.caption = "\n".join(["bad lines, the first few:", *bad]) if bad else None
    return table


def _histogram(report: Mapping[str, Any]) -> Table:
    """Lengths of the first split."""
    name, part = next(iter(report["splits"].items()))
    table = Table(title=f"Lengths in tokens, {name}", title_justify="left")
    table.add_column("tokens", justify="right")
    sides = _told(report)
    for side in sides:
        table.add_column(side)
    bars = [part["lengths"][side]["histogram"] for side in sides]
    most = max(1, *(bar for side in bars for bar in side))
    for i, low in enumerate(EDGES):
        if any(side[i] for side in bars):
            high = EDGES[i + 1] - 1 if i + 1 < len(EDGES) else None
            label = f"{low}+" if high is None else str(low) if high == low else f"{low}–{high}"
            table.add_row(label, *(f"{'█' * round(24 * side[i] / most)} {side[i]:,}" for side in bars))
    return table


def _told(report: Mapping[str, Any]) -> list[str]:
    """The sides that there are: plain text has no source."""
    parts = report["splits"].values()
    return [side for side in SIDES if any(part["tokens"][side] for part in parts)]


def _length_line(lengths: Mapping[str, Any]) -> str:
    return f"{lengths['mean']:.1f}, {lengths['quantiles']['95']}, {lengths['longest']}"


def _ratio_line(ratio: Mapping[str, float]) -> str:
    return f"{ratio['50']:.2f}, {ratio['1']:.2f}–{ratio['99']:.2f}" if ratio else ""
