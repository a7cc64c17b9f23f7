"""What each attention costs beside the additive one: `python -m benchmarks.attention_cost`.

One part at a time differs from additive softmax attention over the whole source; the attention alone, a query after the
other as a decoder asks, forwards and backwards (training) and forwards for a beam (decoding). All of them in turn,
several times over; the ratio is of each round to the additive one of the same round, which has kernels, as concat and
the products have in decoding; the others run plain. `marginal` is a decoder, and not here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import cost
from benchmarks.cost import Found, Measured
from regard.attend import COVERAGES, NORMALIZERS, SCOPES, SCORES, Attention
from regard.attend.memory import Memory, valid_steps
from regard.ops.noise import Noise

FIRST = "additive"
SIZES = {"hidden": 256, "batch": 64, "steps": 20, "beam": 5, "rounds": 15}
"""Sentences in a batch, steps of each source."""
QUERIES = 20
"""Steps of a decoder, one after the other."""


def attentions() -> dict[str, Attention.Config]:
    """One part changed at a time, as a recipe would have it."""
    found = {name: Attention.Config(score=name) for name in SCORES}
    found |= {f"scope {name}": Attention.Config(scope=name) for name in SCOPES if name != "whole"}
    found |= {f"normalizer {name}": Attention.Config(normalizer=name) for name in NORMALIZERS if name != "softmax"}
    found["normalizer monotonic, hard"] = Attention.Config(normalizer={"type": "monotonic", "mode": "hard"})
    found |= {f"coverage {name}": Attention.Config(coverage=name) for name in COVERAGES}
    found |= {f"{name}, 4 heads": Attention.Config(score=name, heads=4) for name in (FIRST, "scaled_dot")}
    return {name: config for name, config in found.items() if config.conflict() is None}


def source(sentences: int, steps: int, size: int) -> Memory:
    """A batch of sentences of one length."""
    lengths = torch.full((sentences,), steps)
    values = torch.randn(sentences, steps, size, requires_grad=True)
    return Memory(values, valid_steps(lengths, steps), lengths, torch.zeros(sentences, 1, 1))


def train(attention: Attention, memory: Memory, queries: Tensor) -> float:
    """Seconds of a query, forwards and backwards."""
    noise, began = Noise(1, 1), time.perf_counter()
    attended = attention.prepare(memory)
    state, total = attention.start(attended), torch.zeros(())
    for step, query in enumerate(queries):
        context, _, state, _ = attention(query, attended, state, noise.under(str(step)))
        total = total + context.sum()
    total.backward()
    return (time.perf_counter() - began) / len(queries)


@torch.inference_mode()
def decode(attention: Attention, memory: Memory, queries: Tensor) -> float:
    """Seconds of a query for each of a beam, forwards."""
    began = time.perf_counter()
    attended = attention.prepare(memory)
    state = attention.start(attended, queries.shape[2])
    for query in queries:
        _, _, state, _ = attention(query, attended, state)
    return (time.perf_counter() - began) / len(queries)


def rounds(given: argparse.Namespace) -> Iterator[Measured]:
    """Seconds of every attention, training and decoding; the first round warms up."""
    torch.manual_seed(1)
    size, memory = given.hidden, source(given.batch, given.steps, given.hidden)
    built = {
        name: Attention(config.model_copy(update={"dim": size}), query_dim=size, memory_dim=size)
        for name, config in attentions().items()
    }
    one = torch.randn(QUERIES, given.batch, 1, size, requires_grad=True)
    beam = torch.randn(QUERIES, given.batch, given.beam, size)
    for _ in range(given.rounds + 1):
        yield {name: (train(part, memory, one), decode(part, memory, beam)) for name, part in built.items()}


def summary(found: Found) -> str:
    worst = max(found, key=lambda name: found[name]["training_ratio"])
    return (
        f"additive {found[FIRST]['training_ms']:.2f} ms a step in training; "
        f"{worst} {found[worst]['training_ratio']:.1f} times that"
    )


if __name__ == "__main__":
    cost.main("attention", __doc__ or "", SIZES, rounds, FIRST, summary)
