"""Same output whatever the batch: `python -m benchmarks.invariance RUN`.

The run's test split is decoded with batches of 1, 7, 64 and 1,000 sentences, greedily and with a beam of 5, on one
and on two threads, in float32 and float64. Within a thread count, texts and scores must be identical, bit for bit.
Between thread counts texts must be; whether scores are too is shown. The first of the n-best must be the 1-best for
every n.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.process import start_python, tail
from regard.train.runfolder import Run

BATCHES = (1, 7, 64, 1000)
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"method": "greedy"},
    "beam 5": {"method": "beam", "beam": 5},
    **{f"beam 5, {n} best": {"method": "beam", "beam": 5, "n_best": n} for n in range(2, 6)},
}
N_BEST_BATCH = 64
"""The n-best are decoded with this batch size alone."""

Answer = tuple[str, str, str]
"""Text, and score and log-probability in hexadecimal: equal strings are equal bits."""
Answers = dict[str, list[Answer]]
"""By "search / batch"."""


def decode(run: Path, threads: int, precision: str, sentences: int | None) -> tuple[Answers, dict[str, float]]:
    """The best answer to every test sentence, for every search and batch; and the seconds each took."""
    from regard.data.prepare import prepare_split
    from regard.predict import load

    predictor = load(run, device="cpu", threads=threads, precision=precision)
    data = predictor.recipe.data
    pairs = prepare_split(data.test or data.valid, data, predictor.tokenizers)
    texts = predictor.task.examples(pairs)[0][:sentences]
    answers: Answers = {}
    seconds: dict[str, float] = {}
    for search, options in SEARCHES.items():
        for batch in BATCHES if "n_best" not in options else [N_BEST_BATCH]:
            began = time.monotonic()
            found = predictor.predict(texts, batch=batch, **{"n_best": 1, **options})
            seconds[f"{search} / {batch}"] = round(time.monotonic() - began, 2)
            answers[f"{search} / {batch}"] = [
                (best.text, float(best.score).hex(), float(best.log_prob).hex()) for best, *_ in found
            ]
    return answers, seconds


def differences(one: Sequence[Answer], two: Sequence[Answer]) -> dict[str, Any]:
    """How two lists of answers differ: texts, bits, and the largest gap between scores of equal texts."""
    assert len(one) == len(two), "both answer the same sentences"
    texts = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a[0] != b[0]]
    bits = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if tuple(a) != tuple(b)]
    gaps = [abs(float.fromhex(one[i][1]) - float.fromhex(two[i][1])) for i in bits if i not in set(texts)]
    return {"texts": len(texts), "bits": len(bits), "largest_gap": max(gaps, default=0.0), "first": bits[:5]}


def check(answers: Mapping[tuple[int, str], Answers]) -> list[dict[str, Any]]:
    """Every comparison: of batches, of n-best, of thread counts. Each row says whether it must hold bit for bit."""
    rows = []
    for (threads, precision), found in answers.items():
        setting = {"threads": threads, "precision": precision}
        for search in ("greedy", "beam 5"):
            base = found[f"{search} / {BATCHES[0]}"]
            for batch in BATCHES[1:]:
                row = differences(base, found[f"{search} / {batch}"])
                rows.append({**setting, "what": f"{search}, batch {batch} against {BATCHES[0]}", "strict": True, **row})
        for search in SEARCHES:
            if search.endswith("best"):
                row = differences(found[f"beam 5 / {N_BEST_BATCH}"], found[f"{search} / {N_BEST_BATCH}"])
                rows.append({**setting, "what": f"first of {search} against 1 best", "strict": True, **row})
    first = min(threads for threads, _ in answers)
    for (threads, precision), found in answers.items():
        for search in ("greedy", "beam 5") if threads != first else ():
            row = differences(answers[first, precision][f"{search} / 64"], found[f"{search} / 64"])
            what = f"{search}, {threads} threads against {first}"
            rows.append({"threads": threads, "precision": precision, "what": what, "strict": False, **row})
    for row in rows:
        row["holds"] = row["texts"] == 0 and (row["bits"] == 0 or not row["strict"])
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("precision", "threads", "comparison", "texts differ", "bits differ", "largest gap", "")
    for row in rows:
        word = "identical" if not row["bits"] else "same texts" if row["holds"] else "DIFFERS"
        gap = f"{row['largest_gap']:.1e}" if row["bits"] else ""
        cells = (row["precision"], row["threads"], row["what"], row["texts"], row["bits"], gap, word)
        table.add_row(*map(str, cells))
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.invariance", description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder with weights")
    parser.add_argument("--sentences", type=int, help="only so many of the test split's first")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", nargs="+", default=["float32", "float64"])
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        found = decode(given.run, given.threads[0], given.precision[0], given.sentences)
        given.child.write_text(json.dumps(found), encoding="utf-8")
        return 0
    answers: dict[tuple[int, str], Answers] = {}
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="regard-invariance-") as temporary:
        for precision in given.precision:
            for threads in given.threads:
                out, output = (Path(temporary) / f"{precision}-{threads}.{kind}" for kind in ("json", "txt"))
                arguments = ["-m", "benchmarks.invariance", str(given.run.resolve()), "--child", str(out)]
                arguments += ["--threads", str(threads), "--precision", precision]
                arguments += ["--sentences", str(given.sentences)] if given.sentences else []
                process = start_python(arguments, output=output, environment={"OMP_NUM_THREADS": str(threads)})
                if process.wait():
                    print(tail(output))
                    return 2
                found, took = json.loads(out.read_text(encoding="utf-8"))
                answers[threads, precision], seconds[f"{precision}, {threads} threads"] = found, took
                print(f"{precision}, {threads} threads: {sum(took.values()):.0f} s", flush=True)
    rows = check(answers)
    show(rows)
    good = all(row["holds"] for row in rows)
    count = len(next(iter(next(iter(answers.values())).values())))
    exact = sum(not row["bits"] for row in rows)
    summary = f"{count} sentences: {exact} of {len(rows)} comparisons bit for bit, {'' if good else 'NOT '}all hold"
    print(summary)
    if not given.no_write:
        recipe = Run(given.run).recipe
        values = {"summary": summary, "run": given.run.name, "recipe_hash": recipe.hash(), "seed": recipe.seed}
        values |= {"weights_sha256": Run(given.run).info["weights_sha256"], "threads": given.threads}
        print(results.write("invariance", "invariance", {**values, "comparisons": rows, "seconds": seconds}))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
