"""JoeyNMT 2.3.0: bidirectional LSTM, input-fed LSTM decoder, Bahdanau attention (keys projected once).

The step is `_train_step` of its `TrainManager` and what the manager does around it: clipping, Adam, zeroed gradients.
Batches are its own `Batch`; pieces are turned into ids and padded by its `Vocabulary`, within the step, as its loader
does with no worker processes. It shuffles sentences and has no length bucketing, so that it gets random batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, STEPS, Task, chunks, parameters, serve, stand_in

stand_in("torch.utils.tensorboard", "matplotlib", "matplotlib.pyplot", "matplotlib.backends.backend_pdf")
stand_in("matplotlib.figure", "sacrebleu", "sacrebleu.metrics", "sentencepiece", "subword_nmt", "tqdm")

import joeynmt  # noqa: E402
from joeynmt.batch import Batch  # noqa: E402
from joeynmt.builders import build_gradient_clipper, build_optimizer  # noqa: E402
from joeynmt.model import build_model  # noqa: E402
from joeynmt.search import search  # noqa: E402
from joeynmt.training import TrainManager  # noqa: E402
from joeynmt.vocabulary import Vocabulary  # noqa: E402

MARKS = SimpleNamespace(
    **{"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "sep_token": None},
    **{"unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3, "sep_id": None, "lang_tags": []},
)


class JoeyNMT:
    def __init__(self, task: Task) -> None:
        torch.manual_seed(1)
        self.task = task
        self.vocabularies = [self._vocabulary(side, task.pieces(side)) for side in ("src", "tgt")]
        self.model = build_model(self._configuration(), *self.vocabularies)
        self.model.loss_function = ("crossentropy", 0.0)
        settings = {"optimizer": "adam", "learning_rate": LEARNING_RATE, "clip_grad_norm": CLIP, "clip_grad_val": None}
        self.clip = build_gradient_clipper(settings)
        self.optimizer = build_optimizer(settings, self.model.parameters())
        self.manager: Any = object.__new__(TrainManager)  # its constructor wants folders and a metric
        self.manager.model, self.manager.scaler, self.manager.n_gpu = self.model, None, 0
        self.manager.autocast = {"device_type": "cpu", "enabled": False}
        self.manager.args = SimpleNamespace(normalization="tokens", batch_multiplier=1)
        self.train_pairs = [
            ([f"s{i}" for i in source], [f"t{i}" for i in target])
            for source, target in zip(task.ids("train.src"), task.ids("train.tgt"), strict=True)
        ]
        self.tests = [[f"s{i}" for i in source] for source in task.ids("test.src")]

    def _vocabulary(self, side: str, pieces: int) -> Vocabulary:
        """Filled past its constructor, which looks through a list for each piece."""
        vocabulary = Vocabulary([], MARKS)
        for piece in range(pieces):
            vocabulary._stoi[f"{side[0]}{piece}"] = len(vocabulary._itos)
            vocabulary._itos.append(f"{side[0]}{piece}")
        return vocabulary

    def _configuration(self) -> dict[str, Any]:
        size = self.task.size
        common = {"rnn_type": "lstm", "num_layers": size.layers, "dropout": DROPOUT}
        embeddings = {"embedding_dim": size.embed, "dropout": DROPOUT}
        encoder = {"type": "recurrent", "hidden_size": size.encoder, "bidirectional": True, **common}
        decoder = {"type": "recurrent", "hidden_size": size.decoder, "hidden_dropout": DROPOUT, **common}
        decoder |= {"input_feeding": True, "attention": "bahdanau", "init_hidden": "bridge"}
        return {
            "encoder": {**encoder, "embeddings": dict(embeddings)},
            "decoder": {**decoder, "embeddings": dict(embeddings)},
            **{"initializer": "xavier_uniform", "embed_initializer": "normal", "bias_initializer": "zeros"},
            **{"init_gain": 1.0, "embed_init_gain": 1.0, "embed_init_weight": 0.1},
        }

    def facts(self) -> dict[str, Any]:
        size = self.task.size
        return {
            "version": joeynmt.__version__,
            "parameters": parameters(self.model),
            "tables": parameters(self.model.src_embed) + parameters(self.model.trg_embed),
            "shape": {
                "attention": "additive",
                "embed": size.embed,
                "encoder_hidden": size.encoder,
                "decoder_hidden": size.decoder,
                "layers": size.layers,
                "batches": "random",
            },
        }

    def _batch(self, sources: Sequence[list[str]], targets: Sequence[list[str]] | None) -> Batch:
        source, lengths, _ = self.vocabularies[0].sentences_to_ids(list(sources), bos=False, eos=True)
        target = None
        if targets is not None:
            ids, _, _ = self.vocabularies[1].sentences_to_ids(list(targets), bos=True, eos=True)
            target = torch.tensor(ids).long()
        return Batch(
            src=torch.tensor(source).long(),
            src_length=torch.tensor(lengths).long(),
            src_prompt_mask=None,
            trg=target,
            trg_prompt_mask=None,
            indices=torch.arange(len(source)),
            device=torch.device("cpu"),
            pad_index=MARKS.pad_id,
            eos_index=MARKS.eos_id,
            is_train=targets is not None,
        )

    def train(self, rows: Sequence[int]) -> int:
        pairs = [self.train_pairs[row] for row in rows]
        batch = self._batch([source for source, _ in pairs], [target for _, target in pairs])
        self.manager._train_step(batch)
        assert self.clip is not None
        self.clip(parameters=self.model.parameters())
        self.optimizer.step()
        self.model.zero_grad()
        return int(batch.ntokens)

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        self.model.eval()
        steps = 0
        for some in chunks(rows, batch):
            padded = self._batch([self.tests[row] for row in some], None)
            padded.sort_by_src_length()
            found, _, _ = search(
                model=self.model,
                batch=padded,
                max_output_length=STEPS,
                min_output_length=STEPS,
                beam_size=beam,
                beam_alpha=1.0,
                n_best=1,
            )
            steps = int(found.shape[1])
        self.model.train()
        return steps


if __name__ == "__main__":
    serve(JoeyNMT)
