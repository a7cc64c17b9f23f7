"""Regard as a worker: its trainer's own update and its own search, on a model that is given as `config=JSON`.

With the option `sampled=N` it trains with a softmax over N words and decodes with int8 weights and a shortlist.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console

import regard
from benchmarks.peers.protocol import CLIP, LEARNING_RATE, STEPS, Task, serve
from benchmarks.peers.resize import tables
from benchmarks.train_speed import Pairs, as_task
from regard.data.batches import Batch
from regard.data.config import SPECIALS
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences
from regard.model import LossSums, Seq2Seq, parameter_count, seeded
from regard.model_config import ModelConfig
from regard.ops.noise import Noise
from regard.predict.shortlist import learn_shortlist
from regard.train.config import TrainConfig
from regard.train.display import Display
from regard.train.loop import Trainer
from regard.train.ranks import Ranks
from regard.train.runfolder import Run
from regard.train.signals import StopRequest


class Ours:
    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)
        self.task = task
        self.config = ModelConfig.model_validate(json.loads(task.options["config"]))
        self.sampled = int(task.options.get("sampled", 0))
        self.vocab = {side: task.pieces(side) + SPECIALS for side in ("src", "tgt")}
        self.model = seeded(1, Seq2Seq, self.config, source_vocab=self.vocab["src"], target_vocab=self.vocab["tgt"])
        self.examples = [
            ([*self._ids(source), -1], self._ids(target))  # Pairs takes the sources' last id off again
            for source, target in zip(task.ids("train.src"), task.ids("train.tgt"), strict=True)
        ]
        self.tests = [self._ids(source) for source in task.ids("test.src")]
        self.shortlist = None
        if self.sampled:
            pairs = cast(Any, Pairs(self.examples))
            self.shortlist = learn_shortlist(pairs, self.vocab["src"], self.vocab["tgt"], shared=False)
        self.trainer = Trainer(
            as_task(self._loss),
            SimpleNamespace(train=Pairs(self.examples)),
            self.model,
            TrainConfig(learning_rate=LEARNING_RATE, weight_decay=0.0, clip=CLIP, threads=1, log_every=10**9),
            seed=1,
            run=Run(Path(tempfile.mkdtemp())),
            device=torch.device("cpu"),
            display=Display(Console(quiet=True)),
            stop=StopRequest(),
            ranks=Ranks(),
            began=time.monotonic(),
        )

    def _ids(self, pieces: Sequence[int]) -> list[int]:
        return [piece + SPECIALS for piece in pieces]

    def _loss(self, model: Seq2Seq, batch: Batch, noise: Noise | None) -> LossSums:
        return model.loss(batch, smoothing=0.0, noise=noise, sampled=self.sampled)

    def facts(self) -> dict[str, Any]:
        return {
            "version": regard.__version__,
            "parameters": parameter_count(self.model),
            "tables": tables(self.config, self.vocab),
            "shape": {
                "attention": self.config.attention.score.type if self.config.attention else "none",
                "embed": self.config.embed,
                "encoder_hidden": self.config.encoder.hidden,
                "decoder_hidden": self.config.decoder.hidden,
                "layers": self.config.decoder.layers,
                "batches": "sorted",
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        self._parts = None
        self.trainer._update([np.asarray(rows, np.int64)])
        return sum(len(self.examples[row][1]) + 1 for row in rows)

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        if self._parts is None:  # made once after an update, as on loading a run
            self._parts = self.model.for_search(int8=bool(self.sampled), shortlist=self.shortlist)
        length = STEPS - 1  # the end mark is a step too
        search = {"method": "beam", "beam": beam} if beam > 1 else {"method": "greedy"}
        found = decode_sentences(
            *self._parts,
            [self.tests[row] for row in rows],
            SearchConfig.model_validate({**search, "min_length": length, "max_length": length}),
            batch_sentences=batch,
        )
        return len(found[0][0].tokens) + 1


if __name__ == "__main__":
    serve(Ours)
