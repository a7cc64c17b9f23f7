"""What sentences in groups of similar length give where documents are read: `python -m benchmarks.documents`.

A hierarchical recipe's own data and model, with first weights: batches of training forwards and backwards, and
batches of documents answered. Each is run with its sentences in groups, and with all of them filled up to the
longest, in turn; ratios are of the two.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results
from regard.data.batches import BatchPlan, collate
from regard.decode.engine import decode_sentences
from regard.encode import segments
from regard.model import seeded
from regard.ops.noise import Noise
from regard.recipe import load_recipe
from regard.tasks import TASKS


@contextlib.contextmanager
def one_group() -> Iterator[None]:
    """All sentences of a batch padded to the longest."""
    with patch.object(segments, "of_similar_length", lambda lengths: [torch.arange(len(lengths))]):
        yield


def jobs(name: str, batches: int) -> dict[str, list[tuple[int, Callable[[], Any]]]]:
    """For training and for answering, source tokens and work of each batch."""
    recipe = load_recipe(name)
    task = TASKS[recipe.task](recipe)
    prepared = task.prepare()
    model: Any = seeded(1, task.build, prepared.tokenizers)
    pairs, tokens = prepared.train, recipe.train.batch_tokens
    plan = BatchPlan(pairs.source_lengths, pairs.target_lengths, tokens=tokens, seed=1)

    def train(batch: Any) -> None:
        model.loss(batch, noise=Noise(1, 1)).loss.backward()

    taken = [collate(pairs, indices) for _, indices in zip(range(batches), plan.epoch(0), strict=False)]
    training = [(int(batch.source_lengths.sum()), lambda batch=batch: train(batch)) for batch in taken]
    sources = prepared.tokenizers["source"].encode(task.examples(prepared.valid)[0][: 64 * batches])
    parts = [sources[first : first + 64] for first in range(0, len(sources), 64)]
    encode, decoder = model.for_search()
    config = task.open_ended(recipe.search)
    answering = [
        (sum(map(len, part)), lambda part=part: decode_sentences(encode, decoder, part, config)) for part in parts
    ]
    return {"training": training, "answering": answering}


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.documents", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("recipe", nargs="?", default="classify-imdb")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found, table = {}, Table("", "tokens/s", "tokens/s, one group", "times")
    for kind, work in jobs(given.recipe, given.batches).items():
        pairs = []
        work[0][1]()  # to warm up
        for _, batch in work:
            grouped = seconds(batch)
            with one_group():
                pairs.append((grouped, seconds(batch)))
        tokens = sum(count for count, _ in work)
        speeds = [round(tokens / sum(each)) for each in zip(*pairs, strict=True)]
        times = round(statistics.median(whole / grouped for grouped, whole in pairs), 2)
        found[kind] = {"tokens_per_second": speeds[0], "one_group_tokens_per_second": speeds[1], "times": times}
        table.add_row(kind, *map(str, found[kind].values()))
    Console().print(table)
    if not given.no_write:
        told = ", ".join(f"{kind} {each['times']} times as fast" for kind, each in found.items())
        values = {"summary": f"{given.recipe}: {told}", "threads": 1, "recipe": given.recipe, "found": found}
        print(results.write("documents", "speed", values))


if __name__ == "__main__":
    main()
