"""Training throughput against a careful plain PyTorch loop: `python -m benchmarks.train_speed`.

Same model size, batches, threads and dropout rates, in one process, step by step in turn, so that whatever else the
machine does hits both. A step is all of it: collating, loss, gradient, clipping, AdamW, and for us what the log counts.
In turn with them run the step's matrix products alone (benchmarks/limits.py): no loop can be faster.
A token is a target piece, the end mark counted, padding not.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import results
from benchmarks.limits import Bare, Product, training_products
from benchmarks.memory import peak_of
from benchmarks.plain_loop import PLACE, Example, PlainLoop
from regard.data.batches import Batch, collate
from regard.data.config import TextConfig
from regard.data.files import find, lines
from regard.data.tokenizer import EOS, Tokenizer
from regard.errors import RegardError
from regard.model import LossSums, Seq2Seq, seeded
from regard.model_config import ModelConfig
from regard.ops.noise import Noise
from regard.train.config import TrainConfig
from regard.train.display import Display
from regard.train.loop import Trainer
from regard.train.ranks import Ranks
from regard.train.runfolder import Run
from regard.train.signals import StopRequest

EMBED, VOCAB, DROPOUT, SMOOTHING = 256, 6000, 0.3, 0.1
WARM_UP = 6
"""Steps of each that are not counted: allocator, thread pool, weights of AdamW."""


class Pairs:
    """Prepared examples in memory, as the trainer reads them."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = [(np.array(x[:-1], np.int32), np.array(y, np.int32)) for x, y in examples]
        self.source_lengths = np.array([len(x) for x, _ in self.examples], np.int32)
        self.target_lengths = np.array([len(y) for _, y in self.examples], np.int32)

    def __len__(self) -> int:
        return len(self.examples)

    def ids(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.examples[i]

    def batch(self, indices: Sequence[int]) -> Batch:
        return collate(self, indices)

    def source_text(self, i: int) -> str:
        return f"example {i}"

    def in_epoch(self, epoch: int) -> Pairs:
        return self


def as_task(loss: Callable[[Seq2Seq, Batch, Noise | None, float], LossSums]) -> SimpleNamespace:
    """What a trainer asks of a task, for `Pairs`."""
    return SimpleNamespace(
        loss=loss,
        training=lambda prepared, seed: prepared.train,
        metrics={"perplexity": False},
        default_metric="perplexity",
    )


class OurLoop:
    """Regard's own update, `Trainer._update`, on batches that it is given."""

    def __init__(self, examples: Sequence[Example], *, vocab: int, hidden: int, threads: int, folder: Path) -> None:
        torch.set_num_threads(threads)
        self.model = seeded(1, Seq2Seq, our_config(hidden), source_vocab=vocab, target_vocab=vocab)
        self.trainer = Trainer(
            as_task(self._loss),
            SimpleNamespace(train=Pairs(examples)),
            self.model,
            TrainConfig(learning_rate=3e-3, weight_decay=0.01, clip=1.0, threads=threads, log_every=10**9),
            seed=1,
            run=Run(folder),
            device=torch.device("cpu"),
            display=Display(Console(quiet=True)),
            stop=StopRequest(),
            ranks=Ranks(),
            began=time.monotonic(),
        )

    def _loss(self, model: Seq2Seq, batch: Batch, noise: Noise | None, done: float) -> LossSums:
        return model.loss(batch, smoothing=SMOOTHING, noise=noise)

    def step(self, batch: Sequence[int]) -> None:
        self.trainer._update([np.asarray(batch, np.int64)])

    @property
    def loss(self) -> float:
        """Mean loss per target token since the log's last line."""
        sums = self.trainer.state.pass_sums
        return sums.loss / sums.tokens


def our_config(hidden: int) -> ModelConfig:
    """The model of sketch.py: one bi-LSTM, input-fed additive decoder, all embeddings tied."""
    return ModelConfig.model_validate(
        {
            "embed": EMBED,
            "tie": "all",
            "dropout": DROPOUT,
            "output_dropout": DROPOUT,
            "encoder": {"type": "birnn", "hidden": hidden},
            "decoder": {"type": "recurrent", "hidden": hidden},
            "attention": {"score": "additive", "dim": hidden},
        }
    )


def load_examples(root: str | None, sentences: int | None = None) -> tuple[list[Example], int]:
    """Multi30k en→de as ids of a joint BPE, and the vocabulary's size."""
    texts = []
    for language in ("en", "de"):
        path = find(f"multi30k/tok/train.lc.norm.tok.{language}.gz", root)
        texts.append([str(text) for _, text in lines(path)][:sentences])
    joint = Tokenizer.train(chain(*texts), TextConfig(tokenizer="bpe", vocab=VOCAB))
    pairs = zip(joint.encode(texts[0]), joint.encode(texts[1]), strict=True)
    return [([*x, EOS], y) for x, y in pairs], joint.size


def useful_parameters(model: nn.Module, vocab: int) -> int:
    """Parameters less embedding tables, where a table that is the output layer as well counts once, as that.

    6 × this × tokens/s is the usual estimate of a training step's useful arithmetic. Of the matrices with a row for
    every piece one is the output layer; any other is looked up and not multiplied.
    """
    sizes = [p.numel() for p in model.parameters() if p.ndim == 2 and p.shape[0] == vocab]
    return sum(p.numel() for p in model.parameters()) - sum(sizes[1:])


def products_of(examples: Sequence[Example], vocab: int, hidden: int, batch: Sequence[int]) -> list[Product]:
    """The matrix products of our update over a batch."""
    target = [len(examples[i][1]) + 1 for i in batch]
    return training_products(
        our_config(hidden),
        vocab,
        rows=len(batch),
        src_len=max(len(examples[i][0]) for i in batch),
        tgt_len=max(target),
        tokens=sum(target),
    )


def time_step(step: Callable[[Sequence[int]], None], batch: Sequence[int]) -> float:
    """Seconds of one step. Garbage is collected before, so that neither side pays for the other's."""
    gc.collect()
    began = time.perf_counter()
    step(batch)
    return time.perf_counter() - began


def race(examples: list[Example], vocab: int, hidden: int, steps: int, threads: int) -> dict[str, Any]:
    """Both loops in turn over the same batches."""
    with tempfile.TemporaryDirectory() as folder:
        plain = PlainLoop(examples, vocab=vocab, embed=EMBED, hidden=hidden)
        ours = OurLoop(examples, vocab=vocab, hidden=hidden, threads=threads, folder=Path(folder))
        batches = plain.batches()[: steps + WARM_UP]
        times: dict[str, list[float]] = {"regard": [], "plain": [], "products": []}
        runners = [("regard", ours.step), ("plain", plain.step)]
        for i, batch in enumerate(batches):
            for name, step in runners if i % 2 else reversed(runners):
                seconds = time_step(step, batch)
                if i >= WARM_UP:
                    times[name].append(seconds)
            seconds = Bare().run(products_of(examples, vocab, hidden, batch))
            if i >= WARM_UP:
                times["products"].append(seconds)
    tokens = [sum(len(examples[i][1]) + 1 for i in batch) for batch in batches[WARM_UP:]]
    faster = [p / r for r, p in zip(times["regard"], times["plain"], strict=True)]
    return {
        "hidden": hidden,
        "steps": len(tokens),
        "tokens": sum(tokens),
        "regard": side(ours.model, vocab, times["regard"], tokens) | {"loss": round(ours.loss, 3)},
        "plain": side(plain.model, vocab, times["plain"], tokens) | {"loss": round(plain.loss, 3)},
        "ratio": round(sum(times["plain"]) / sum(times["regard"]), 3),
        "ratio_quartiles": quartiles(faster, 3),
        "limit_tokens_per_second": round(sum(tokens) / sum(times["products"]), 1),
        "fraction": {name: round(sum(times["products"]) / sum(times[name]), 3) for name in ("regard", "plain")},
    }


def side(model: nn.Module, vocab: int, seconds: Sequence[float], tokens: Sequence[int]) -> dict[str, Any]:
    """Throughput of one loop."""
    speed = sum(tokens) / sum(seconds)
    useful = useful_parameters(model, vocab)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "useful_parameters": useful,
        "tokens_per_second": round(speed, 1),
        "tokens_per_second_quartiles": quartiles([t / s for t, s in zip(tokens, seconds, strict=True)], 1),
        "useful_gflops": round(6 * useful * speed / 1e9, 1),
    }


def quartiles(values: Sequence[float], digits: int) -> list[float]:
    """25 %, 50 %, 75 %."""
    return [round(float(q), digits) for q in np.quantile(np.asarray(values), (0.25, 0.5, 0.75))]


def memory_child(which: str, hidden: int, threads: int, root: str | None) -> None:
    """Make a few updates with the largest batches; the parent watches the memory."""
    torch.set_num_threads(threads)
    random.seed(1)
    examples, vocab = load_examples(root)
    plain = PlainLoop(examples, vocab=vocab, embed=EMBED, hidden=hidden)
    batches = sorted(plain.batches(), key=lambda b: -len(b) * (len(examples[b[0]][0]) + len(examples[b[-1]][1])))[:6]
    loop: PlainLoop | OurLoop = plain
    if which == "regard":
        loop = OurLoop(examples, vocab=vocab, hidden=hidden, threads=threads, folder=Path(tempfile.mkdtemp()))
    if which != "nothing":
        for batch in batches:
            loop.step(batch)


def memory(hidden: int, threads: int, root: str | None) -> dict[str, int]:
    """Peak of anonymous memory in MiB of each loop alone, over a process that only loads model and data."""
    found = {}
    for which in ("nothing", "regard", "plain"):
        arguments = ["-m", "benchmarks.train_speed", "--child", which, "--hidden", str(hidden)]
        arguments += ["--threads", str(threads), *(["--root", root] if root else [])]
        found[which] = peak_of(arguments).anonymous / 2**20
    return {which: round(found[which] - found["nothing"]) for which in ("regard", "plain")}


def show(runs: Sequence[dict[str, Any]], threads: int) -> None:
    table = Table("hidden", "loop", "parameters", "tokens/s (quartiles)", "useful GFLOP/s", "peak MiB")
    for run in runs:
        for name in ("regard", "plain"):
            its = run[name]
            low, _, high = its["tokens_per_second_quartiles"]
            table.add_row(
                str(run["hidden"]),
                name,
                f"{its['parameters']:,}",
                f"{its['tokens_per_second']:,.0f} ({low:,.0f} … {high:,.0f})",
                f"{its['useful_gflops']:.1f}",
                str(run["peak_mib"][name]) if "peak_mib" in run else "",
            )
    console = Console()
    console.print(table)
    for run in runs:
        low, middle, high = run["ratio_quartiles"]
        console.print(
            f"hidden {run['hidden']}: Regard is {run['ratio']:.2f} times as fast (per step: {low:.2f}, {middle:.2f}, "
            f"{high:.2f}) on {threads} thread{'s' * (threads > 1)}; the products alone would take "
            f"{run['fraction']['regard']:.0%} of our time ({run['limit_tokens_per_second']:,.0f} tokens/s), "
            f"{run['fraction']['plain']:.0%} of the plain loop's"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, action="append", help="default: 256 and 512")
    parser.add_argument("--steps", type=int, default=60, help="counted steps of each loop (default 60)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--root", help="folder that holds multi30k/ (default: REGARD_DATA)")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory of each loop out")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    hiddens = given.hidden or [256, 512]
    if not PLACE.is_file():
        print(f"skipped: the plain loop to compare with is not here ({PLACE}).")
        return 0
    if given.child:
        memory_child(given.child, hiddens[0], given.threads, given.root)
        return 0
    torch.set_num_threads(given.threads)
    try:
        examples, vocab = load_examples(given.root)
    except RegardError as error:
        print(f"skipped: {error}")
        return 0
    runs = []
    for hidden in hiddens:
        run = race(examples, vocab, hidden, given.steps, given.threads)
        if not given.no_memory:
            run["peak_mib"] = memory(hidden, given.threads, given.root)
        runs.append(run)
    show(runs, given.threads)
    if not given.no_write:
        summary = "; ".join(f"hidden {r['hidden']}: {r['regard']['tokens_per_second']:,.0f} tokens/s, "
                            f"{r['ratio']:.2f} × the plain loop" for r in runs)  # fmt: skip
        data = "Multi30k tok/ en→de, joint BPE 6000"
        values = {"summary": summary, "data": data, "threads": given.threads, "runs": runs}
        print(results.write("train-speed", "speed", values))
    return int(any(run["ratio"] < 1 for run in runs))


if __name__ == "__main__":
    sys.exit(main())
