"""Same output whatever the batch: bit for bit, on one machine and number of threads.

The toy model's answers to words of many lengths, in batches of 1, 7, 64 and 1,000. A process for each number of
threads, as torch's is one for the whole process.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BATCHES = (1, 7, 64, 1000)
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"method": "greedy"},
    "beam": {"beam": 5},
    "n-best": {"beam": 5, "n_best": 5},
    "sample": {"method": "sample", "n_best": 2, "temperature": 1.2},
    "coverage": {"beam": 4, "coverage_penalty": 0.2, "no_repeat_ngram": 3},
}

ANSWER = """
import json, sys
import torch
from regard.predict import load
run, threads, precision, batches, searches, words = json.loads(sys.stdin.read())
predictor = load(run, device="cpu", threads=threads, precision=precision)
assert torch.get_num_threads() == threads
for name, options in searches.items():
    for batch in batches:
        found = predictor.predict(words, batch=batch, attention=True, **options)
        print(json.dumps([name, batch, [
            [[one.text, one.score.hex(), one.log_prob.hex(), [x.hex() for x in one.token_log_probs],
              one.attention.double().sum().item().hex() if one.attention is not None else None] for one in each]
            for each in found
        ]]))
"""


def words(count: int) -> list[str]:
    """Many lengths, some of them alone; letters the model knows and letters it does not."""
    draw = random.Random(3)
    found = ["".join(draw.choices("abcdefghxyé", k=draw.randint(0, 12))) for _ in range(count - 3)]
    return [*found, "a" * 40, "h" * 23, "abcd" * 8]


def answers(run: Path, threads: int, precision: str, texts: list[str]) -> dict[str, dict[int, Any]]:
    """Of every search, for every batch size; floats as hexadecimal, so that equal means every bit."""
    request = json.dumps([str(run), threads, precision, BATCHES, SEARCHES, texts])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", ANSWER]
    done = subprocess.run(command, input=request, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[int, Any]] = {name: {} for name in SEARCHES}
    for name, batch, outputs in map(json.loads, done.stdout.splitlines()):
        found[name][batch] = outputs
    return found


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_batch_and_threads(toy_run: Path, precision: str) -> None:
    texts = words(70)
    by_threads = {threads: answers(toy_run, threads, precision, texts) for threads in (1, 2)}
    for threads, found in by_threads.items():
        for name, of_batch in found.items():
            for batch in BATCHES:
                assert of_batch[batch] == of_batch[1], f"{name}, batch {batch}, {threads} threads, {precision}"
        firsts = [each[:1] for each in found["n-best"][64]]
        assert firsts == found["beam"][64], "the first of the n-best is the 1-best"
    # Threads may round otherwise, and that changes no text here.
    for name in SEARCHES:
        one, two = ([[out[0] for out in each] for each in by_threads[threads][name][64]] for threads in (1, 2))
        assert one == two, f"{name}, {precision}: texts differ between 1 and 2 threads"
