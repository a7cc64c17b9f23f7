"""Decoding speed, and what share of it the machine's products alone would take: `python -m benchmarks.decode_speed`.

Sentences of Multi30k, as pieces, through encoder and search, 20 pieces each however good they are (minimum
and maximum length), so that every model and search does the same work. In turn with each batch its matrix products run
bare (benchmarks/limits.py): no engine can be faster. The weights are as they start: time does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.limits import Bare, Product, decoding_products, model
from benchmarks.train_speed import load_examples, quartiles
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences, sorted_batches
from regard.errors import RegardError
from regard.model import Seq2Seq, seeded

STEPS = 20
"""Pieces of every output, the end of sentence not counted."""
SETTINGS = ((64, 5), (64, 1), (1, 5), (1, 1))
"""Sentences in a batch, and beam."""


def forced(beam: int) -> SearchConfig:
    """A search whose outputs all have STEPS pieces."""
    length = {"min_length": STEPS, "max_length": STEPS, "max_length_ratio": 0.0, "max_length_extra": STEPS}
    return SearchConfig.model_validate({"method": "beam" if beam > 1 else "greedy", "beam": beam, **length})


def batch_products(hidden: int, vocab: int, lengths: Sequence[int], batch: int, beam: int) -> list[Product]:
    """The products of decoding sentences of these lengths, batch by batch, without padding; one step more for the end
    of sentence."""
    found = []
    for rows in sorted_batches(lengths, batch):
        src_len = round(sum(lengths[row] + 1 for row in rows) / len(rows))
        size = {"sentences": len(rows), "beam": beam, "src_len": src_len, "steps": STEPS + 1}
        found += decoding_products(model(hidden), vocab, **size)
    return found


def measure(
    built: Seq2Seq, hidden: int, vocab: int, sources: list[list[int]], batch: int, beam: int, rounds: int
) -> dict[str, Any]:
    """Seconds of decoding `sources` and of the products alone, in turn, after one uncounted round."""
    config, bare, parts = forced(beam), Bare(), built.for_search()
    products = batch_products(hidden, vocab, [len(source) for source in sources], batch, beam)
    ours, alone = [], []
    for round_ in range(rounds + 1):
        began = time.perf_counter()
        found = decode_sentences(*parts, sources, config, batch_sentences=batch)
        seconds = time.perf_counter() - began
        assert all(len(best[0].tokens) == STEPS for best in found), "every output has as many pieces as were forced"
        least = bare.run(products)
        if round_:
            ours.append(seconds)
            alone.append(least)
    speeds = [len(sources) / seconds for seconds in ours]
    return {
        "batch": batch,
        "beam": beam,
        "sentences": len(sources),
        "sentences_per_second": quartiles(speeds, 2),
        "ms_per_sentence": round(1000 * sum(ours) / len(ours) / len(sources), 2),
        "limit_sentences_per_second": round(len(sources) * rounds / sum(alone), 2),
        "fraction": round(sum(alone) / sum(ours), 3),
    }


def show(runs: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("hidden", "batch", "beam", "sentences/s (quartiles)", "ms each", "products alone", "fraction")
    for run in runs:
        low, middle, high = run["sentences_per_second"]
        table.add_row(
            str(run["hidden"]),
            str(run["batch"]),
            str(run["beam"]),
            f"{middle:,.1f} ({low:,.1f} … {high:,.1f})",
            f"{run['ms_per_sentence']:.1f}",
            f"{run['limit_sentences_per_second']:,.1f}",
            f"{run['fraction']:.0%}",
        )
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode_speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, action="append", help="default: 256 and 512")
    parser.add_argument("--sentences", type=int, default=256, help="how many; an eighth of them in batches of 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--root", help="folder that holds multi30k/ (default: REGARD_DATA)")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        examples, vocab = load_examples(given.root)
    except RegardError as error:
        print(f"skipped: {error}")
        return 0
    sources = [source[:-1] for source, _ in examples[: given.sentences]]
    console, runs = Console(), []
    for hidden in given.hidden or [256, 512]:
        built = seeded(1, Seq2Seq, model(hidden), source_vocab=vocab, target_vocab=vocab).eval()
        for batch, beam in SETTINGS:
            few = sources if batch > 1 else sources[: max(1, len(sources) // 8)]
            runs.append({"hidden": hidden, **measure(built, hidden, vocab, few, batch, beam, given.rounds)})
    show(runs, console)
    if not given.no_write:
        best = [run for run in runs if (run["batch"], run["beam"]) == (64, 5)]
        summary = "; ".join(
            f"hidden {run['hidden']}, beam 5: {run['sentences_per_second'][1]:,.0f} sentences/s, "
            f"{run['fraction']:.0%} of the products' speed"
            for run in best
        )
        values = {"summary": summary, "threads": given.threads, "vocab": vocab, "steps": STEPS, "runs": runs}
        print(results.write("decode-speed", "speed", values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
