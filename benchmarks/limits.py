"""What this machine allows: `python -m benchmarks.limits`.

The matrix products that a training step and a decoding step cannot do without, each timed bare, by torch.mm at its own
shape: their sum is the least time that the step can take, and every speed is told as a fraction of it. Beside them the
machine's other rates: memory, element-wise functions, random numbers.

The list is made from the model's configuration, not from what our code does, so that work which we waste shows. For
decoding the rates of our own products (ops/packed.py, ops/int8.py) stand beside the library's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import results
from regard.model_config import ModelConfig
from regard.ops import native
from regard.ops.int8 import Int8Linear
from regard.ops.packed import PackedLinear

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Product:
    """(rows × inner) · (inner × columns), so many times a step; `batch` of them side by side where it is above one."""

    name: str
    rows: int
    inner: int
    columns: int
    times: int = 1
    batch: int = 1

    @property
    def flops(self) -> int:
        """Of all times, a multiplication and an addition counted as two."""
        return 2 * self.rows * self.inner * self.columns * self.times * self.batch

    def backward(self) -> Iterator[Product]:
        """The gradients: of the input as often as the product, of the weight once, after the loop.

        A batch of products has no weight: both of its factors are data, and each needs its gradient every time.
        """
        yield Product(f"{self.name}, input's gradient", self.rows, self.columns, self.inner, self.times, self.batch)
        if self.batch > 1:
            yield Product(f"{self.name}, other's gradient", self.inner, self.rows, self.columns, self.times, self.batch)
        else:
            yield Product(f"{self.name}, weight's gradient", self.inner, self.rows * self.times, self.columns)


def encoder_products(config: ModelConfig, rows: int, src_len: int) -> Iterator[Product]:
    """Reading `rows` sentences of `src_len` pieces, and what is done once for each of them."""
    encoder, decoder = config.encoder, config.decoder
    gates, directions = GATES[encoder.cell.type] * encoder.hidden, 2 if encoder.bidirectional else 1
    for layer in range(encoder.layers):
        size = directions * encoder.hidden if layer else config.embed
        yield Product("encoder, inputs", rows * src_len, size, gates, directions)
        yield Product("encoder, recurrence", rows, encoder.hidden, gates, directions * src_len)
    memory = directions * encoder.hidden
    states = 2 if decoder.cell.type == "lstm" else 1
    yield Product("bridge", rows, encoder.layers * memory, decoder.layers * states * decoder.hidden)
    attention = config.attention
    if attention is None:
        return
    if attention.heads > 1:
        yield Product("attention, heads' keys and values", rows * src_len, memory, attention.dim, 2)
        memory = attention.dim // attention.heads
    sizes = {"additive": attention.dim, "concat": attention.dim, "scaled_dot": attention.dim, "general": decoder.hidden}
    size = sizes.get(attention.score.type)
    if size is not None:
        size = size // attention.heads
        yield Product("attention, keys", rows * src_len * attention.heads, memory, size)


def decoder_products(config: ModelConfig, sentences: int, beam: int, src_len: int, steps: int) -> Iterator[Product]:
    """`steps` steps of sentences × beam rows, up to the features; with the target known (beam 1) the embeddings'
    share of the gates is one product."""
    decoder, attention = config.decoder, config.attention
    hidden, gates = decoder.hidden, GATES[decoder.cell.type] * decoder.hidden
    rows = sentences * beam
    memory = config.encoder.hidden * (2 if config.encoder.bidirectional else 1)
    context = 0 if attention is None else memory if attention.heads == 1 else attention.dim
    fed = (context if decoder.attend == "before" else 0) + (hidden if decoder.input_feeding else 0)
    yield Product("decoder, embeddings", rows * steps, config.embed, gates)
    if fed:
        yield Product("decoder, fed back", rows, fed, gates, steps)
    yield Product("decoder, recurrence", rows, hidden, gates, decoder.layers * steps)
    if decoder.layers > 1:
        yield Product("decoder, upper inputs", rows, hidden, gates, (decoder.layers - 1) * steps)
    if attention is not None:
        yield from _attention_products(config, sentences, beam, src_len, steps)
    combined = hidden + context + (config.embed if decoder.deep_output else 0)
    yield Product("decoder, features", rows, combined, hidden, steps)


def _attention_products(config: ModelConfig, sentences: int, beam: int, src_len: int, steps: int) -> Iterator[Product]:
    """Of one step after the other: queries, their products with the keys where the score is one, contexts."""
    attention, hidden = config.attention, config.decoder.hidden
    assert attention is not None
    memory = config.encoder.hidden * (2 if config.encoder.bidirectional else 1)
    rows, heads, score = sentences * beam, attention.heads, attention.score.type
    size = attention.dim // heads
    if heads > 1:
        yield Product("attention, heads' queries and merging", rows, hidden, attention.dim, 2 * steps)
        hidden, memory = size, size
    if score in ("additive", "concat", "scaled_dot"):
        yield Product("attention, query", rows * heads, hidden, size, steps)
    if score in ("additive", "concat"):
        yield Product("attention, scores", rows * heads * src_len, size, 1, steps)
    else:
        inner = size if score == "scaled_dot" else hidden
        yield Product("attention, scores", beam, inner, src_len, steps, sentences * heads)
    yield Product("attention, contexts", beam, src_len, memory, steps, sentences * heads)


def readout_products(config: ModelConfig, rows: int, vocab: int, times: int = 1) -> Iterator[Product]:
    """From features to a score for every piece."""
    yield Product("readout, projection", rows, config.decoder.hidden, config.embed, times)
    yield Product("readout, vocabulary", rows, config.embed, vocab, times)


def training_products(
    config: ModelConfig, vocab: int, *, rows: int, src_len: int, tgt_len: int, tokens: int | None = None
) -> list[Product]:
    """An update over a batch, forwards and backwards. `tokens`: real target pieces, which alone need a readout."""
    forward = [
        *encoder_products(config, rows, src_len),
        *decoder_products(config, rows, 1, src_len, tgt_len),
        *readout_products(config, tokens or rows * tgt_len, vocab),
    ]
    return [part for product in forward for part in (product, *product.backward())]


def decoding_products(
    config: ModelConfig, vocab: int, *, sentences: int, beam: int, src_len: int, steps: int
) -> list[Product]:
    """Translating a batch with a beam, `steps` pieces each; the embeddings' share comes step by step here."""
    decoder = []
    for product in decoder_products(config, sentences, beam, src_len, steps):
        if product.name == "decoder, embeddings":
            product = Product(product.name, sentences * beam, product.inner, product.columns, steps)
        decoder.append(product)
    return [
        *encoder_products(config, sentences, src_len),
        *decoder,
        *readout_products(config, sentences * beam, vocab, steps),
    ]


class Bare:
    """Products and nothing else, in buffers that stay: what is timed against a real step, in turn with it.

    bare = Bare()
    bare.run(training_products(config, 6000, rows=64, src_len=14, tgt_len=15))      # seconds
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor]] = {}

    def run(self, products: Iterable[Product]) -> float:
        """Seconds of all of them, each as often as it is done."""
        for product in products:
            self._factors(product)  # not timed
        began = time.perf_counter()
        for product in products:
            self._run(product)
        return time.perf_counter() - began

    def rate(self, product: Product) -> float:
        """GFLOP/s of one product by the library, the median of some timings."""
        a, b, out = self._factors(product)
        multiply = torch.mm if product.batch == 1 else torch.bmm
        return _rate(product, lambda: multiply(a, b, out=out))

    def our_rates(self, product: Product) -> dict[str, float]:
        """The same by our packed products, where there are kernels; bits below a float's are not counted as work."""
        if product.batch > 1 or native.kernels() is None:
            return {}
        a, b, _ = self._factors(product)
        forms = {"packed": PackedLinear(b.T), "int8": Int8Linear(b.T)}
        return {name: round(_rate(product, partial(form, a)), 1) for name, form in forms.items()}

    def _run(self, product: Product) -> None:
        a, b, out = self._factors(product)
        multiply = torch.mm if product.batch == 1 else torch.bmm
        for _ in range(product.times):
            multiply(a, b, out=out)

    def _factors(self, product: Product) -> tuple[Tensor, Tensor, Tensor]:
        key = (product.batch, product.rows, product.inner, product.columns)
        if key not in self._buffers:
            lead = () if product.batch == 1 else (product.batch,)
            a = torch.randn(*lead, product.rows, product.inner)
            b = torch.randn(*lead, product.inner, product.columns)
            self._buffers[key] = a, b, torch.empty(*lead, product.rows, product.columns)
        return self._buffers[key]


def _rate(product: Product, work: Callable[[], Any], repeats: int = 5) -> float:
    """GFLOP/s, where one call of `work` is the product once."""
    calls = min(product.times, 8)

    def several() -> None:
        for _ in range(calls):
            work()

    return product.flops / product.times * calls / _median(several, repeats) / 1e9


def machine_rates(numbers: int = 1 << 20, repeats: int = 15) -> dict[str, float]:
    """10⁹ numbers a second of element-wise work and random numbers in cache-sized pieces; GB/s of a large copy."""
    x, y, out = (torch.rand(numbers) for _ in range(3))
    noise = torch.empty(numbers, dtype=torch.uint8)
    large, copy = torch.rand(1 << 26), torch.empty(1 << 26)  # 256 MiB each
    works: dict[str, Callable[[], Any]] = {
        "add": lambda: torch.add(x, y, out=out),
        "multiply in place": lambda: out.mul_(1.0001),
        "tanh": lambda: torch.tanh(x, out=out),
        "sigmoid": lambda: torch.sigmoid(x, out=out),
        "exp": lambda: torch.exp(x, out=out),
        "Bernoulli": lambda: out.bernoulli_(0.7),
        "random bytes": lambda: noise.random_(),
    }
    found = {name: numbers / _median(work, repeats) / 1e9 for name, work in works.items()}
    found["copy, GB/s"] = 2 * 4 * large.numel() / _median(lambda: copy.copy_(large), 5) / 1e9  # read and written
    return {name: round(rate, 3) for name, rate in found.items()}


def _median(work: Callable[[], Any], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def told(products: list[Product], bare: Bare, ours: bool = False) -> list[dict[str, Any]]:
    """Products with their rates and the milliseconds they take, the longest first.

    ours   with the rates of our own products, which decoding uses
    """
    rows = []
    for product in products:
        rate = bare.rate(product)
        shape = f"{product.rows}×{product.inner}·{product.inner}×{product.columns}"
        shape = f"{product.batch} × {shape}" if product.batch > 1 else shape
        rows.append(
            {"product": product.name, "shape": shape, "times": product.times, "gflops": round(rate, 1),
             "ms": round(product.flops / rate / 1e6, 2), **(bare.our_rates(product) if ours else {})}
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row["ms"])


def show(title: str, rows: list[dict[str, Any]], units: float, unit: str, console: Console) -> dict[str, Any]:
    """A table of products; and their sum as a speed."""
    total = sum(row["ms"] for row in rows)
    forms = [form for form in ("packed", "int8") if any(form in row for row in rows)]
    heads = ("product", "shape", "times", "GFLOP/s", "ms", "share", *(f"{form}, GFLOP/s" for form in forms))
    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        numbers = f"{row['times']:,}", f"{row['gflops']:.1f}", f"{row['ms']:.2f}", f"{row['ms'] / total:.0%}"
        table.add_row(row["product"], row["shape"], *numbers, *(str(row.get(form, "")) for form in forms))
    console.print(table)
    work = sum(row["gflops"] * row["ms"] for row in rows) / total
    console.print(f"{title}: {total:.1f} ms at least, {work:.1f} GFLOP/s, {1000 * units / total:,.0f} {unit} at most\n")
    return {"title": title, "ms": round(total, 2), f"{unit}": round(1000 * units / total, 1), "products": rows}


def model(hidden: int) -> ModelConfig:
    """Embeddings of 256, one bi-LSTM, an input-fed decoder with additive attention, all of one size."""
    sizes = {"encoder": {"hidden": hidden}, "decoder": {"hidden": hidden}, "attention": {"dim": hidden}}
    return ModelConfig.model_validate({"embed": 256, "tie": "all", **sizes})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, action="append", help="default: 256 and 512")
    parser.add_argument("--vocab", type=int, default=6000)
    parser.add_argument("--rows", type=int, default=64, help="sentences in a batch (default 64)")
    parser.add_argument("--src-len", type=int, default=14)
    parser.add_argument("--tgt-len", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console, bare, steps = Console(), Bare(), []
    rates = machine_rates()
    for hidden in given.hidden or [256, 512]:
        config, lengths = model(hidden), {"src_len": given.src_len, "tgt_len": given.tgt_len}
        products = training_products(config, given.vocab, rows=given.rows, **lengths)
        tokens = given.rows * given.tgt_len
        steps.append(show(f"training, hidden {hidden}", told(products, bare), tokens, "tokens/s", console))
        for sentences, beam in ((given.rows, 5), (given.rows, 1), (1, 5)):
            products = decoding_products(
                config, given.vocab, sentences=sentences, beam=beam, src_len=given.src_len, steps=20
            )
            title = f"decoding, hidden {hidden}, {sentences} sentence{'s' * (sentences > 1)}, beam {beam}"
            steps.append(show(title, told(products, bare, ours=True), sentences, "sentences/s", console))
    table = Table("rate", "10⁹ a second")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.2f}")
    console.print(table)
    if not given.no_write:
        summary = "; ".join(f"{s['title']}: {s['ms']:.1f} ms" for s in steps if s["title"].startswith("training"))
        values = {"summary": summary, "threads": given.threads, "vocab": given.vocab, "rates": rates, "steps": steps}
        print(results.write("limits", "limits", values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
