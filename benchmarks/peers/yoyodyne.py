"""Yoyodyne 0.5.27: bidirectional LSTM and `SoftAttentionLSTMModel`, attention before the cell, no input feeding.

The step is the model's `training_step` on its own `Batch` (from its collator), with backward, clipping and Adam around
it as Lightning's loop has them, but without that loop, which costs extra. It shuffles and has no bucketing, so that it
gets random batches. One table holds the embeddings of both languages, as its untied index has them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, STEPS, Task, chunks, parameters, serve, stand_in

stand_in("wandb", "maxwell", "maxwell.actions", "maxwell.sed")  # experiment tracking, transducers

from yoyodyne import special  # noqa: E402
from yoyodyne.data.collators import Collator  # noqa: E402
from yoyodyne.data.datasets import Item  # noqa: E402
from yoyodyne.models import SoftAttentionLSTMModel  # noqa: E402
from yoyodyne.models.modules.rnn import LSTMEncoder  # noqa: E402

MARKS = len(special.SPECIAL)
NEVER = -1e4
"""Added to the bias of the end mark while decoding, since the library has no shortest length."""


class Yoyodyne:
    def __init__(self, task: Task) -> None:
        torch.manual_seed(1)
        warnings.filterwarnings("ignore", message=".*self.log.*")
        self.task = task
        size, targets = task.size, task.pieces("tgt")
        self.model = SoftAttentionLSTMModel(
            compute_accuracy=False,
            decoder_hidden_size=size.decoder,
            decoder_layers=size.layers,
            decoder_dropout=DROPOUT,
            embedding_size=size.embed,
            max_target_length=STEPS,
            optimizer=lambda weights: torch.optim.Adam(weights, lr=LEARNING_RATE),
            source_encoder=LSTMEncoder(
                embedding_size=size.embed, hidden_size=size.encoder, layers=size.layers, dropout=DROPOUT
            ),
            target_vocab_size=MARKS + targets,
            vocab_size=MARKS + targets + task.pieces("src"),
        )
        (self.optimizer,), _ = self.model.configure_optimizers()
        self.collate = Collator(has_features=False, has_target=True)
        self.collate_tests = Collator(has_features=False, has_target=False)
        pairs = zip(task.ids("train.src"), task.ids("train.tgt"), strict=True)
        self.items = [Item(self._source(source), target=self._target(target)) for source, target in pairs]
        self.tests = [Item(self._source(source)) for source in task.ids("test.src")]

    def _source(self, pieces: Sequence[int]) -> torch.Tensor:
        """Its index has target pieces first; a source has both marks."""
        first = MARKS + self.task.pieces("tgt")
        return torch.tensor([special.START_IDX, *(piece + first for piece in pieces), special.END_IDX])

    def _target(self, pieces: Sequence[int]) -> torch.Tensor:
        return torch.tensor([*(piece + MARKS for piece in pieces), special.END_IDX])

    def facts(self) -> dict[str, Any]:
        size = self.task.size
        return {
            "version": version("yoyodyne"),
            "parameters": parameters(self.model),
            "tables": parameters(self.model.embeddings),
            "shape": {
                **{"attention": "additive", "attend": "before", "input_feeding": False},
                **{"embed": size.embed, "encoder_hidden": size.encoder, "decoder_hidden": size.decoder},
                **{"layers": size.layers, "batches": "random"},
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        batch = self.collate([self.items[row] for row in rows])
        loss = self.model.training_step(batch, 0)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return int(batch.target.lengths().sum())

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        steps, bias = 0, self.model.classifier.bias.data
        self.model.beam_width = beam
        self.model._trainer = SimpleNamespace(validating=False, sanity_checking=False)  # it asks whether it validates
        self.model.eval()
        bias[special.END_IDX] += NEVER
        try:
            with torch.no_grad():
                for some in chunks(rows, batch):
                    found = self.model.predict_step(self.collate_tests([self.tests[row] for row in some]), 0)
                    steps = found[0].shape[-1] - 1 if beam > 1 else found.shape[-1]  # a beam shows the start mark
        finally:
            bias[special.END_IDX] -= NEVER
            self.model._trainer = None
            self.model.train()
        return int(steps)


if __name__ == "__main__":
    serve(Yoyodyne)
