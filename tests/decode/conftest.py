"""A next-token model small enough to enumerate, and plain-Python searches to compare ours with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from regard.data.tokenizer import BOS, EOS
from regard.decode.config import SearchConfig
from regard.decode.outputs import Hypothesis
from regard.decode.protocol import StepOutput
from regard.decode.state import State

WORDS = (4, 5, 6)
VOCAB = 7


@dataclass
class ToySource:
    """Sentences are numbers of a table; `lengths` real steps each."""

    kinds: Tensor
    lengths: Tensor
    src_len: int

    @property
    def rows(self) -> int:
        return len(self.kinds)

    @property
    def valid(self) -> Tensor:
        return torch.arange(self.src_len) < self.lengths.unsqueeze(1)

    def select(self, rows: Tensor) -> ToySource:
        return ToySource(self.kinds[rows], self.lengths[rows], self.src_len)


class Toy:
    """Random scores of the next token given the sentence and the last two; random attention likewise."""

    def __init__(self, seed: int = 0, kinds: int = 6, dtype: torch.dtype = torch.float64, end: float = 0.0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.table = torch.randn(kinds, VOCAB, VOCAB, VOCAB, generator=draw, dtype=torch.float64).mul(1.5).to(dtype)
        self.table[..., EOS] += end  # how readily sentences end
        self.look = torch.rand(kinds, VOCAB, 5, generator=draw, dtype=torch.float64).to(dtype)
        self.log_probs: list | None = None  # of the table as it is when first asked for
        self.steps: list[int] = []

    def source(self, kinds: list[int], src_len: int = 5) -> ToySource:
        lengths = torch.tensor([1 + kind % 4 for kind in kinds], dtype=torch.int64)
        return ToySource(torch.tensor(kinds, dtype=torch.int64), lengths, src_len)

    def prepare(self, memories: list[list[int]]) -> ToySource:
        return self.source(memories[0])

    def start(self, source: ToySource, beam: int = 1) -> State:
        return {"before": torch.full((source.rows * beam,), BOS)}

    def step(self, tokens: Tensor, state: State, source: ToySource) -> tuple[StepOutput, State]:
        assert len(tokens) % 8 == 0, "rows must come in multiples of 8"
        self.steps.append(len(tokens))
        beam = len(tokens) // source.rows
        kinds = source.kinds.repeat_interleave(beam)
        scores = self.table[kinds, state["before"], tokens]
        weights = self.look[kinds, tokens, : source.src_len]
        valid = source.valid.repeat_interleave(beam, 0)[:, : weights.shape[1]]
        weights = weights * valid
        weights = weights / weights.sum(1, keepdim=True)
        weights = torch.nn.functional.pad(weights, (0, source.src_len - weights.shape[1]))
        return StepOutput(scores, weights=weights), {"before": tokens}

    def terms(self, kind: int, tokens: tuple[int, ...], finished: bool = True) -> list[float]:
        """Log-probabilities of the tokens and, if finished, the end."""
        path = (BOS, BOS, *tokens, EOS)[: len(tokens) + 2 + finished]
        if self.log_probs is None:
            self.log_probs = self.table.double().log_softmax(-1).tolist()
        return [self.log_probs[kind][a][b][c] for a, b, c in zip(path, path[1:], path[2:], strict=False)]

    def attention(self, kind: int, tokens: tuple[int, ...], finished: bool = True) -> Tensor:
        """(steps, real source steps)"""
        read = (BOS, *tokens)[: len(tokens) + finished]
        weights = self.look[kind, list(read), : 1 + kind % 4]
        return weights / weights.sum(1, keepdim=True)

    def score(self, kind: int, tokens: tuple[int, ...], config: SearchConfig, finished: bool = True) -> float:
        terms = self.terms(kind, tokens, finished)
        score = sum(terms) / max(len(terms), 1) ** config.length_penalty
        if config.coverage_penalty:
            covered = self.attention(kind, tokens, finished).double().sum(0).clamp(1e-4, 1.0)
            score += config.coverage_penalty * float(covered.log().sum())
        return score


def every_output(longest: int, words: tuple[int, ...] = WORDS) -> Iterator[tuple[int, ...]]:
    for length in range(longest + 1):
        yield from itertools.product(words, repeat=length)


def limit(kind: int, config: SearchConfig) -> int:
    most = int(config.max_length_ratio * (1 + kind % 4)) + config.max_length_extra
    return min(max(most, config.min_length, 1), config.max_length)


def repeats(tokens: tuple[int, ...], n: int) -> bool:
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return n > 0 and len(set(grams)) < len(grams)


def plain_beam(toy: Toy, kind: int, config: SearchConfig) -> list[tuple[tuple[int, ...], bool, float]]:
    """Beam search over lists, one sentence, every step to the limit or the stopping rule `beam`.

    With stop=bound it never stops early: what that rule must reproduce. Returns (tokens, finished, score).
    """
    live, pool = [()], []
    for step in range(limit(kind, config) + 1):
        candidates = []
        for parent, tokens in enumerate(live):
            total = sum(toy.terms(kind, tokens, finished=False))
            for token in (EOS, *WORDS):
                if token == EOS and step < config.min_length:
                    continue
                if token != EOS and repeats((*tokens, token), config.no_repeat_ngram):
                    continue
                term = toy.terms(kind, (*tokens, token) if token != EOS else tokens, finished=token == EOS)[-1]
                candidates.append((-(total + term), parent, token))
        candidates.sort(key=lambda one: one[0])
        ended = [parent for _, parent, token in candidates[: config.beam] if token == EOS]
        pool += [(live[parent], True, toy.score(kind, live[parent], config)) for parent in ended]
        pool.sort(key=lambda one: -one[2])
        pool = pool[: config.beam]
        going = [(*live[parent], token) for _, parent, token in candidates if token != EOS][: config.beam]
        if step == limit(kind, config) or not going:
            left = [tokens for parent, tokens in enumerate(live) if parent not in ended]
            cut = [(tokens, False, toy.score(kind, tokens, config, finished=False)) for tokens in left]
            return (pool + sorted(cut, key=lambda one: -one[2]))[: config.beam]
        if config.stop == "beam" and len(pool) == config.beam:
            return pool
        live = going
    raise AssertionError("unreachable")


def same_bits(one: list[list[Hypothesis]], two: list[list[Hypothesis]]) -> bool:
    """Equal in every field, attention included, to the last bit."""

    def flat(found: list[list[Hypothesis]]) -> list[list[tuple]]:
        return [[tuple(v for k, v in vars(h).items() if k != "weights") for h in outputs] for outputs in found]

    weights = zip(itertools.chain(*one), itertools.chain(*two), strict=True)
    return flat(one) == flat(two) and all(
        torch.equal(a.weights, b.weights) for a, b in weights if a.weights is not None
    )


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    return SimpleNamespace(
        Toy=Toy,
        WORDS=WORDS,
        VOCAB=VOCAB,
        every_output=every_output,
        limit=limit,
        repeats=repeats,
        plain_beam=plain_beam,
        same_bits=same_bits,
    )
