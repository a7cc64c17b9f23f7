"""Small models that learn the tasks of synthetic.py: what they get right at which length, and what an update costs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.alone import spent
from benchmarks.synthetic import TASKS, Induction, Task, batch_of, training_steps
from regard.attend import COVERAGES, NORMALIZERS, SCOPES, SCORES, SelfAttention
from regard.attend.memory import Memory, valid_steps
from regard.encode.self_attentive import SelfAttentive
from regard.model import Seq2Seq, seeded
from regard.model_config import ModelConfig
from regard.ops.noise import Noise
from regard.train.config import TrainConfig
from regard.train.optimise import Optimiser
from regard.train.schedule import rate_factor, share_done

HIDDEN, EMBED = 64, 32
BATCH = {"copy": 32, "lookup": 32, "induction": 4}
"""Examples an update."""
SPAN = {"copy": (10, 60), "lookup": (6, 60), "induction": (128, 512)}
"""Steps of a training example, from and to."""
UPDATES = {"copy": 400, "lookup": 800, "induction": 400}
"""Twice what the plain dot product needs, or more."""
TRAINING, TEST = 1, 2
"""Seeds of the examples to learn from, and of those to be asked about; the former is the models' too."""
TEST_ROWS, TEST_STEPS, ROWS, INDUCED = 64, 6400, 16, 4
"""Test examples: 64; of copying, where an example has as many answers as steps, as many as give 6,400, from 8 to 64.
So many of them are read at once, and of induction."""

PLAIN = {"score": "dot", "dim": HIDDEN}
"""What each differs from by one part: the score that learns both tasks soonest, over the whole source, softmax."""
LEFT_OUT = {"concat", "local_m", "whole", "past", "softmax"}
"""The same as another here, or nearly: additive without a bias, a window of rate 1, and the parts of `PLAIN`. `past`
is for self-attention."""
SPECIAL: dict[str, dict[str, Any]] = {"scaled_dot": {"heads": 4}, "sum": {"coverage": {"type": "sum", "loss": 0.0}}}
"""Four heads, as one is much like `general`; of coverage the vector alone: its loss is for models that have learned."""
SELF: dict[str, Any] = {
    "past": "past",
    "window": {"type": "window", "causal": True},
    "lsh": {"type": "lsh", "causal": True},
}
"""Scopes of causal self-attention, with a recipe's default sizes."""


def models() -> dict[str, dict[str, ModelConfig]]:
    """Every model, by what it differs in and name."""
    kinds: dict[str, Any] = {"score": SCORES, "scope": SCOPES, "normalizer": NORMALIZERS, "coverage": COVERAGES}
    found: dict[str, dict[str, ModelConfig]] = {"score": {"none": _model("none")}}
    for kind, parts in kinds.items():
        usable = [name for name, part in parts.items() if name not in LEFT_OUT and not getattr(part, "itself", False)]
        found.setdefault(kind, {})
        found[kind] |= {name: _model({**PLAIN, kind: name, **SPECIAL.get(name, {})}) for name in usable}
    found["decoder"] = {"marginal": _model(PLAIN, {"type": "marginal", "order": 1, "monotonic": True})}
    return found


def _model(attention: Any, decoder: dict[str, Any] | None = None) -> ModelConfig:
    """No input feeding, so that attention alone tells it where it has been, and no dropout: the data has no end."""
    return ModelConfig.model_validate(
        {
            "embed": EMBED,
            "tie": "none",
            "dropout": 0.0,
            "output_dropout": 0.0,
            "encoder": {"hidden": HIDDEN // 2},
            "attention": attention,
            "decoder": {"hidden": HIDDEN, **(decoder or {"input_feeding": False})},
        }
    )


class Learner:
    """A model and its optimizer, for a number of updates that is known beforehand."""

    def __init__(self, model: nn.Module, updates: int) -> None:
        self.model = model
        self.config = TrainConfig(
            epochs=None, updates=updates, learning_rate=0.01, warmup=min(50, updates // 8), weight_decay=0.0
        )
        self.optimiser = Optimiser(model, self.config)

    def update(self, number: int, loss: Tensor) -> None:
        loss.backward()
        factor = rate_factor(self.config, number, share_done(self.config, number, 0.0))
        self.optimiser.step(self.config.learning_rate * factor, self.optimiser.norm())


# Copy and lookup


def build(config: ModelConfig, task: Task) -> Seq2Seq:
    return seeded(TRAINING, Seq2Seq, config, source_vocab=task.vocab, target_vocab=task.vocab)


def update(learner: Learner, task: Task, number: int, rows: int, steps: int) -> float:
    """One update; nats for each token that was to be found."""
    model: Any = learner.model
    batch, scored = batch_of(task, TRAINING, range(rows * number, rows * (number + 1)), steps)
    noise = Noise(TRAINING, number)
    source = model.decoder.prepare([model.encode(batch.source, batch.source_lengths, noise)])
    sums = model.decoder.loss(source, batch.target_in, batch.target_out, scored, 0.0, noise)
    learner.update(number, sums.loss / scored.sum())
    return float(sums.nll) / int(scored.sum())


def learn(name: str, config: ModelConfig, updates: int) -> tuple[Seq2Seq, dict[str, Any]]:
    """A trained model, how long it took, and the loss at the end: the mean of the last tenth."""
    task, began, losses = TASKS[name], time.perf_counter(), list[float]()
    learner = Learner(build(config, task), updates)
    for number in range(updates):
        losses.append(update(learner, task, number, BATCH[name], training_steps(TRAINING, number, *SPAN[name])))
    found: Any = learner.model
    return found, {"seconds": round(time.perf_counter() - began, 1), "loss": _last(losses)}


@torch.inference_mode()
def answers(model: Any, task: Task, indices: Sequence[int], steps: int) -> list[list[bool]]:
    """For each example which of the tokens to be found have the highest score, with the right ones before them.

    Step by step as search goes, so that memory grows with the source alone. An example whose tokens are all right is
    one that greedy search writes without a mistake, and the other way round.
    """
    batch, scored = batch_of(task, TEST, indices, steps)
    source = model.decoder.prepare([model.encode(batch.source, batch.source_lengths)])
    state, right = model.decoder.start(source), []
    for told, due in zip(batch.target_in.T, batch.target_out.T, strict=True):
        output, state = model.decoder.step(told, state, source)
        right.append(output.scores.argmax(-1) == due)
    found = torch.stack(right, 1)
    return [row[asked].tolist() for row, asked in zip(found, scored, strict=True)]


def accuracy(model: Seq2Seq, name: str, lengths: Sequence[int], seconds: float) -> dict[str, Any]:
    """Shares of right tokens and of examples without a mistake, by length; not those that would take too long."""
    found: dict[str, Any] = {"tokens": {}, "sequences": {}, "examples": {}, "left_out": {}}
    expected = 0.0
    for before, steps in zip([lengths[0], *lengths], lengths, strict=False):
        expected *= (steps / before) ** 2
        if expected > seconds:
            found["left_out"][str(steps)] = f"would take about {expected:.0f} s"
            continue
        began = time.perf_counter()
        rows = TEST_ROWS if name == "lookup" else min(TEST_ROWS, max(8, TEST_STEPS // steps))
        parts = [range(first, min(first + ROWS, rows)) for first in range(0, rows, ROWS)]
        right = [row for part in parts for row in answers(model, TASKS[name], part, steps)]
        tokens = [each for row in right for each in row]
        found["tokens"][str(steps)] = round(sum(tokens) / len(tokens), 4)
        found["sequences"][str(steps)] = round(sum(map(all, right)) / rows, 4)
        found["examples"][str(steps)] = rows
        expected = time.perf_counter() - began
    return found


def modes(model: Seq2Seq) -> Iterator[str]:
    """Ways in which a trained model can be asked, by what is added to its name: monotonic attention has two."""
    yield ""
    for part in getattr(model.decoder, "attentions", []):
        if getattr(part.normalizer, "mode", None) == "expected":
            part.normalizer.mode = "hard"
            yield ", hard"


def update_cost(config: ModelConfig, rows: int, steps: int) -> dict[str, float]:
    """An update from copies of so many steps, after one from short ones: what `spent` says."""
    task = TASKS["copy"]
    learner = Learner(build(config, task), 8)
    update(learner, task, 0, rows, 8)
    return spent(lambda: update(learner, task, 1, rows, steps))


# Induction


class Predictor(nn.Module):
    """Symbols, an LSTM from left to right, one layer of causal self-attention, the value that comes next."""

    def __init__(self, scope: Any) -> None:
        super().__init__()
        settings = {"hidden": HIDDEN, "bidirectional": False, "attention": {"scope": scope, "dim": HIDDEN}}
        self.embedding = nn.Embedding(Induction.vocab, EMBED)
        self.encoder = SelfAttentive(SelfAttentive.Config.model_validate(settings), input_size=EMBED)
        self.value = nn.Linear(HIDDEN, Induction.values)

    def forward(self, symbols: Tensor) -> Tensor:
        """(batch, steps) → scores (batch, steps / 4, values) after each key of the latter half."""
        lengths = torch.full((len(symbols),), symbols.shape[1])
        memory = self.encoder(self.embedding(symbols), lengths)
        return self.value(memory.values[:, symbols.shape[1] // 2 :: 2])


def sequences(seed: int, indices: Sequence[int], steps: int) -> tuple[Tensor, Tensor]:
    """Examples, and the values that are to be predicted."""
    symbols = torch.stack([torch.from_numpy(Induction.example(seed, index, steps)) for index in indices]).long()
    return symbols, symbols[:, steps // 2 + 1 :: 2] - Induction.keys


def induce(scope: Any, updates: int, lengths: Sequence[int]) -> dict[str, Any]:
    """Learn from one scope; the share of values that are predicted, by length."""
    began, losses, rows = time.perf_counter(), list[float](), BATCH["induction"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TRAINING)
        learner = Learner(Predictor(scope), updates)
    for number in range(updates):
        steps = training_steps(TRAINING, number, *SPAN["induction"]) // 8 * 8
        symbols, values = sequences(TRAINING, range(rows * number, rows * (number + 1)), steps)
        loss = nn.functional.cross_entropy(learner.model(symbols).flatten(0, 1), values.flatten())
        learner.update(number, loss)
        losses.append(loss.item())
    found: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1), "loss": _last(losses), "tokens": {}}
    with torch.inference_mode():
        for steps in lengths:
            symbols, values = sequences(TEST, range(ROWS), steps)
            right = torch.cat([learner.model(part).argmax(-1) for part in symbols.split(INDUCED)]) == values
            found["tokens"][str(steps)] = round(right.double().mean().item(), 4)
    return found


def self_cost(scope: Any, steps: int) -> dict[str, float]:
    """A layer of self-attention over one sequence, forwards and backwards: what `spent` says."""
    torch.manual_seed(TRAINING)
    layer = SelfAttention(SelfAttention.Config.model_validate({"scope": scope, "dim": HIDDEN}), size=HIDDEN)

    def attend(steps: int) -> None:
        lengths, x = torch.tensor([steps]), torch.randn(1, steps, HIDDEN, requires_grad=True)
        memory = Memory(x, valid_steps(lengths, steps), lengths, torch.zeros(1, 1, 1))
        layer(memory, keep_weights=False)[0].values.sum().backward()

    attend(16)
    return spent(lambda: attend(steps))


def _last(losses: Sequence[float]) -> float:
    last = losses[-math.ceil(len(losses) / 10) :]
    return round(sum(last) / len(last), 4)
