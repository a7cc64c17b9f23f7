"""A task small enough to train in a second: copy a word of few letters, with a model of two matrices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from regard.data.batches import Batch, collate
from regard.data.tokenizer import PAD
from regard.recipe import Recipe
from regard.train.config import TrainConfig
from regard.train.display import Display
from regard.train.log import MetricsLog
from regard.train.loop import Trainer
from regard.train.ranks import Ranks
from regard.train.runfolder import Run
from regard.train.signals import StopRequest

VOCAB = 12


class Words:
    """Pairs of equal words, made from a seed."""

    def __init__(self, count: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.words = [random.integers(4, VOCAB, random.integers(1, 7)).astype(np.int32) for _ in range(count)]
        self.source_lengths = self.target_lengths = np.array([len(word) for word in self.words], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.words)

    def ids(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.words[i], self.words[i]

    def batch(self, indices: Any) -> Batch:
        return collate(self, indices)

    def in_epoch(self, epoch: int) -> Words:
        return self

    def source_text(self, i: int) -> str:
        return "".join(chr(93 + int(piece)) for piece in self.words[i])


class Copier(nn.Module):
    """The letter at each place, and the one before it, through two layers with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(VOCAB, 16)
        self.target = nn.Embedding(VOCAB, 16)
        self.hidden = nn.Linear(32, 24)
        self.output = nn.Linear(24, VOCAB)

    def forward(self, batch: Any, noise: Any) -> Tensor:
        width = batch.target_in.shape[1]
        source = nn.functional.pad(batch.source, (0, max(0, width - batch.source.shape[1])))[:, :width]
        x = torch.cat([self.source(source), self.target(batch.target_in)], -1)
        x = torch.tanh(self.hidden(x))
        return self.output(x if noise is None else x * noise.keep_mask("hidden", x.shape, 0.1, like=x))


@dataclass
class Copy:
    """The task; `hook(task, batch)` may spoil a batch, `values` are what validations report when given."""

    hook: Callable[..., Tensor] | None = None
    values: Iterator[float] | None = None
    metrics = {"perplexity": False, "accuracy": True}  # noqa: RUF012
    default_metric = "perplexity"

    def build(self) -> Copier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return Copier()

    def training(self, prepared: Any, seed: int) -> Words:
        return prepared.train

    def loss(self, model: Copier, batch: Any, noise: Any, done: float = 1.0) -> Any:
        logits = model(batch, noise)
        kept = batch.target_out != PAD
        loss = nn.functional.cross_entropy(logits[kept], batch.target_out[kept], reduction="sum")
        correct = (logits[kept].argmax(-1) == batch.target_out[kept]).sum()
        if self.hook is not None and noise is not None:
            loss = self.hook(loss, batch, noise)
        return SimpleNamespace(loss=loss, nll=loss.detach(), tokens=batch.tokens, correct=correct, cost=0.0, judged=0)

    def validate(self, model: Copier, prepared: Any, *, full: bool) -> dict[str, float]:
        assert not model.training and not torch.is_grad_enabled()
        batch = collate(prepared.valid, range(len(prepared.valid)))
        sums = self.loss(model, batch, None)
        value = float(torch.exp(sums.loss / batch.tokens))
        if self.values is not None and not full:
            value = next(self.values)
        return {"perplexity": value, "accuracy": 100 * float(sums.correct) / batch.tokens}


DEFAULTS = dict(
    epochs=3, batch_tokens=40, learning_rate=1e-2, warmup=5, save_every=7, validate_every=0, log_every=5, threads=1
)


def make_trainer(folder: Path, task: Copy | None = None, /, *, console: Console | None = None, **keys: Any) -> Trainer:
    """A trainer writing to `folder`, resumed where the folder has a checkpoint."""
    task, config = task or Copy(), TrainConfig(**{**DEFAULTS, **keys})
    model = task.build().to(torch.float64 if config.precision == "float64" else torch.float32)
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    if not (folder / "run.json").exists():
        run.write_info(status="training")
    trainer = Trainer(
        task,
        SimpleNamespace(train=Words(150, 1), valid=Words(40, 2)),
        model,
        config,
        seed=1,
        run=run,
        device=torch.device("cpu"),
        display=Display(console or Console(quiet=True)),
        stop=StopRequest(),
        ranks=Ranks(),
        began=time.monotonic(),
    )
    trainer.report.log = MetricsLog(folder / "metrics.jsonl", trainer.resume(folder / "checkpoint") or 0)
    return trainer


@pytest.fixture
def trainer() -> Iterator[Callable[..., Trainer]]:
    """`make_trainer`, whose logs are closed after the test."""
    made = []

    def make(*args: Any, **keys: Any) -> Trainer:
        made.append(make_trainer(*args, **keys))
        return made[-1]

    yield make
    for each in made:
        assert each.report.log is not None
        each.report.log.close()


@pytest.fixture
def copy_task() -> type[Copy]:
    return Copy


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SYLLABLES = ("ka", "to", "mi", "re", "su", "no", "la")


def words(count: int, first: int) -> list[str]:
    """Different words of one to four syllables."""
    found = []
    for number in range(first, first + count):
        text = ""
        while number:
            number, digit = divmod(number, len(SYLLABLES))
            text += SYLLABLES[digit]
        found.append(text)
    return found


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Recipe]:
    """Recipes over a small file: spell a word backwards."""
    for name, first, count in (("train", 1, 240), ("valid", 1000, 30)):
        lines = [f"{word}\t{word[::-1]}\n" for word in words(count, first)]
        (tmp_path / f"{name}.tsv").write_text("".join(lines))

    def recipe(**keys: Any) -> Recipe:
        training = {"epochs": 2, "batch_tokens": 200, "warmup": 5, "save_every": 4, "threads": 1}
        training |= {"device": "cpu", "metric": "perplexity"}  # untrained, every word is wrong: WER chooses nothing
        small = {"type": "recurrent", "hidden": 12}
        values = {
            "task": "transduce",
            "data": {
                "root": str(tmp_path),
                "train": {"table": "train.tsv"},
                "valid": {"table": "valid.tsv"},
                "source_column": 0,
                "target_column": 1,
                "source": {"tokenizer": "char"},
                "target": {"tokenizer": "char"},
            },
            "model": {
                "embed": 8,
                "encoder": {"type": "birnn", "hidden": 12},
                "attention": {"dim": 8},
                "decoder": small,
            },
            "search": {"beam": 2},
            "train": {**training, **keys.pop("train", {})},
            **keys,
        }
        return Recipe.from_dict(values)

    return recipe
