"""Memory for each line of training data: `python -m benchmarks.ten_million`.

Parallel text is generated onto the disk, prepared and trained on for a few updates, in a fresh process: once with few
lines, once with many. What the peak of anonymous memory grows by, divided by the lines that were added, must stay
within 16 bytes: data belongs in files, mapped when they are read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.memory import Peak, peak_of
from regard.recipe import Recipe

LIMIT = 16.0
"""Bytes a line."""
WORDS = 20_000
"""Distinct words a side: as many as a million lines of real text have within its frequent ones."""
BLOCK = 50_000
"""Lines made at a time."""


@cache
def words(seed: int) -> np.ndarray:
    """Distinct made-up words of two to five syllables."""
    random = np.random.default_rng(seed)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    drawn = random.integers(0, len(syllables), (2 * WORDS, 5)).tolist()
    counts = random.integers(2, 6, 2 * WORDS).tolist()
    made = dict.fromkeys("".join(syllables[i] for i in row[:n]) for row, n in zip(drawn, counts, strict=True))
    assert len(made) >= WORDS, "half of the draws are new words"
    return np.array(list(made)[:WORDS], dtype=object)


def blocks(lines: int, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """Source and target lines of 2 to 14 words, drawn by Zipf's law; a target is its source word by word, backwards."""
    source_words, target_words = words(seed), words(seed + 1)
    share = 1.0 / np.arange(1, WORDS + 1)
    edges = np.cumsum(share / share.sum())
    for first in range(0, lines, BLOCK):
        random = np.random.default_rng([seed, first])
        lengths = random.integers(2, 15, min(BLOCK, lines - first))
        drawn = np.minimum(np.searchsorted(edges, random.random(int(lengths.sum()))), WORDS - 1)
        said, answered = source_words[drawn].tolist(), target_words[drawn].tolist()
        spans = [*pairwise([0, *np.cumsum(lengths).tolist()])]
        yield [" ".join(said[a:b]) for a, b in spans], [" ".join(answered[a:b][::-1]) for a, b in spans]


def write_text(folder: Path, name: str, lines: int, seed: int) -> None:
    """name.source and name.target, as plain text."""
    with (
        open(folder / f"{name}.source", "w", encoding="utf-8") as source,
        open(folder / f"{name}.target", "w", encoding="utf-8") as target,
    ):
        for source_lines, target_lines in blocks(lines, seed):
            source.write("\n".join(source_lines) + "\n")
            target.write("\n".join(target_lines) + "\n")


def make_recipe(folder: Path, tokenizer: str) -> Recipe:
    """A small model: its memory is the same however many lines there are."""
    text = {"tokenizer": tokenizer, "vocab": 4000}
    return Recipe.from_dict(
        {
            "task": "translate",
            "data": {
                "root": str(folder),
                "cache": str(folder / "cache"),
                "train": {"source": "train.source", "target": "train.target"},
                "valid": {"source": "valid.source", "target": "valid.target"},
                "source": text,
                "target": text,
            },
            "model": {
                "embed": 64,
                "encoder": {"hidden": 64},
                "decoder": {"hidden": 64},
                "attention": {"dim": 64},
            },
            "train": {"epochs": None, "updates": 20, "threads": 1, "validate_sentences": 20},
            "search": {"method": "greedy"},
        }
    )


def measure(lines: int, tokenizer: str, place: str | None) -> dict[str, Any]:
    """Generate, then prepare and begin to train in a process of its own; its peak and what it took."""
    with tempfile.TemporaryDirectory(prefix="regard-lines-", dir=place) as temporary:
        folder = Path(temporary)
        began = time.monotonic()
        write_text(folder, "train", lines, seed=1)
        write_text(folder, "valid", 200, seed=3)
        generated = time.monotonic() - began
        text_bytes = sum(path.stat().st_size for path in folder.glob("train.*"))
        recipe_file = folder / "recipe.yaml"
        recipe_file.write_text(make_recipe(folder, tokenizer).to_yaml(), encoding="utf-8")
        run = folder / "run"
        peak = peak_of(
            ["-c", "from regard.cli import main; main()", "train", str(recipe_file), "--run", str(run)],
            environment={"OMP_NUM_THREADS": "1"},
            phase=lambda: "training" if (run / "metrics.jsonl").exists() else "preparing",
        )
        disk = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
    return {
        "lines": lines,
        "text_bytes": text_bytes,
        "prepared_bytes": disk,
        "generating_seconds": round(generated, 1),
        "seconds": peak.seconds,
        **tell(peak),
    }


def tell(peak: Peak) -> dict[str, Any]:
    """A peak for the record, in bytes."""
    return {"peak_bytes": peak.anonymous, "peak_at_seconds": peak.at_seconds, "peak_bytes_by_phase": peak.phases}


def in_words(run: dict[str, Any]) -> str:
    """One line for a measured run, in MiB."""
    phases = ", ".join(f"{name} {size / 2**20:,.1f}" for name, size in run["peak_bytes_by_phase"].items())
    return (
        f"{run['lines']:,} lines: peak {run['peak_bytes'] / 2**20:,.1f} MiB of anonymous memory ({phases}), "
        f"{run['seconds']:,.0f} s, prepared data {run['prepared_bytes'] / 2**20:,.0f} MiB"
    )


def verdict(few: dict[str, Any], many: dict[str, Any], limit: float = LIMIT) -> tuple[bool, float]:
    """Whether the bytes for each further line are within the limit, and how many they are."""
    growth = (many["peak_bytes"] - few["peak_bytes"]) / (many["lines"] - few["lines"])
    return growth <= limit, growth


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ten_million", description=__doc__.partition("\n")[0])
    parser.add_argument("--few", type=int, default=100_000, help="lines of the first run (default 100,000)")
    parser.add_argument("--many", type=int, default=10_000_000, help="lines of the second run (default 10,000,000)")
    parser.add_argument("--tokenizer", default="bpe", choices=["char", "word", "bpe", "unigram"])
    parser.add_argument("--place", help="folder for temporary files: about 450 bytes a line (default: the system's)")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    runs = []
    for lines in (given.few, given.many):
        runs.append(measure(lines, given.tokenizer, given.place))
        print(in_words(runs[-1]), flush=True)
    good, growth = verdict(runs[0], runs[1])
    summary = f"{growth:.2f} bytes of anonymous memory a line from {given.few:,} to {given.many:,} lines"
    print(f"{summary}: {'within' if good else 'ABOVE'} the limit of {LIMIT:.0f}")
    if not given.no_write:
        values = {"summary": summary, "limit": LIMIT, "bytes_per_line": growth, "within": good, "threads": 1}
        values |= {"tokenizer": given.tokenizer, "runs": runs}
        print(results.write("ten-million", "memory", values))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
