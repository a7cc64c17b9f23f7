"""eole 0.6.4, OpenNMT-py's successor: LSTMs with input feeding, attention `mlp`; encoder and decoder of one size.

The step is its trainer's `_train_step` with its optimizer and its loss, which also reports the attention's entropy, as
it does unless told otherwise; a batch is padded by its own `tensorify`. Its pipeline sorts by length and so gets sorted
batches. Pieces are turned into ids beforehand, as its loader processes would.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, STEPS, Task, chunks, parameters, serve, stand_in

stand_in("PIL", "ahocorasick", "fasttext", "huggingface_hub", "rapidfuzz", "sacrebleu", "sentencepiece", "spacy")
stand_in("subword_nmt", "subword_nmt.apply_bpe", "tokenizers")  # of text filters, scores, downloads

import eole  # noqa: E402
from eole.config.models import EmbeddingsConfig, RnnDecoderConfig, RnnEncoderConfig  # noqa: E402
from eole.config.training import TrainingConfig  # noqa: E402
from eole.inputters.inputter import dict_to_vocabs  # noqa: E402
from eole.inputters.text_utils import Numericalizer, tensorify  # noqa: E402
from eole.models.model import EncoderDecoderModel  # noqa: E402
from eole.predict.beam_search import GNMTGlobalScorer  # noqa: E402
from eole.predict.translator import Translator  # noqa: E402
from eole.trainer import Trainer, TrainerConfig  # noqa: E402
from eole.utils import Statistics  # noqa: E402
from eole.utils.loss import LossCompute  # noqa: E402
from eole.utils.optimizers import Optimizer  # noqa: E402

MARKS = {"unk_token": "<unk>", "pad_token": "<blank>", "bos_token": "<s>", "eos_token": "</s>"}


class Eole:
    def __init__(self, task: Task) -> None:
        torch.manual_seed(1)
        self.task = task
        self.vocabs = dict_to_vocabs(
            {
                "src": [*MARKS.values(), *(f"s{i}" for i in range(task.pieces("src")))],
                "tgt": [*MARKS.values(), *(f"t{i}" for i in range(task.pieces("tgt")))],
                "decoder_start_token": "<s>",
                "specials": MARKS,
            }
        )
        self.shape = self._shape()
        running = TrainingConfig(
            optim="adam",
            learning_rate=LEARNING_RATE,
            max_grad_norm=CLIP,
            dropout=[DROPOUT],
            normalization="tokens",
            compute_dtype="fp32",
        )
        configuration = SimpleNamespace(model=self.shape, training=running)
        self.model = EncoderDecoderModel.for_training(self.shape, self.vocabs, running, device_id=-1)
        self.trainer = Trainer(
            self.model,
            LossCompute.from_config(configuration, self.model, self.vocabs),
            *(None, None, None),
            Optimizer.from_config(self.model, configuration),
            TrainerConfig(norm_method="tokens", n_gpu=0, gpu_rank=-1, dropout=[DROPOUT]),
        )
        numbers = {kind: Numericalizer(self.vocabs, task=kind) for kind in ("train", "infer")}
        pairs = zip(task.ids("train.src"), task.ids("train.tgt"), strict=True)
        self.examples = [numbers["train"](self._example(source, target)) for source, target in pairs]
        self.tests = [numbers["infer"](self._example(source, None)) for source in task.ids("test.src")]

    def _shape(self) -> SimpleNamespace:
        """The parts of its model's configuration."""
        size = self.task.size
        common = {"layers": size.layers, "hidden_size": size.decoder, "rnn_type": "LSTM"}
        return SimpleNamespace(
            embeddings=EmbeddingsConfig(
                src_word_vec_size=size.embed, tgt_word_vec_size=size.embed, position_encoding_type=None
            ),
            encoder=RnnEncoderConfig(encoder_type="brnn", src_word_vec_size=size.embed, **common),
            decoder=RnnDecoderConfig(
                tgt_word_vec_size=size.embed, global_attention="mlp", bidirectional_encoder=True, **common
            ),
            **{"input_feed": 1, "hidden_size": size.decoder, "layers": size.layers, "architecture": "custom"},
            **{"share_embeddings": False, "share_decoder_embeddings": False, "generator_bias": True},
            **{"generator_function": "softmax", "add_estimator": False, "estimator_type": "average"},
        )

    def _example(self, source: Sequence[int], target: Sequence[int] | None) -> dict[str, Any]:
        """A sentence as its pipeline has it before pieces are looked up."""
        example: dict[str, Any] = {"src": {"src": [f"s{i}" for i in source]}, "tgt": None}
        if target is not None:
            example["tgt"] = {"tgt": [f"t{i}" for i in target]}
        return {**example, "cid": "train", "cid_line_number": 0, "sco": 1.0, "align": None}

    def facts(self) -> dict[str, Any]:
        size = self.task.size
        return {
            "version": eole.__version__,
            "parameters": parameters(self.model),
            "tables": parameters(self.model.src_emb) + parameters(self.model.tgt_emb),
            "shape": {
                "attention": "additive",
                "embed": size.embed,
                "encoder_hidden": size.decoder // 2,
                "decoder_hidden": size.decoder,
                "layers": size.layers,
                "batches": "sorted",
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        batch = tensorify(self.vocabs, [(self.examples[row], row) for row in rows], torch.device("cpu"))
        tokens = int(batch["tgtlen"].sum()) - len(rows)  # it counts the start mark as well
        self.trainer._train_step([batch], tokens, Statistics(), Statistics())
        return tokens

    def _translator(self, beam: int) -> Translator:
        settings = SimpleNamespace(
            **{"beam_size": beam, "n_best": 1, "min_length": STEPS, "max_length": STEPS, "max_length_ratio": 0},
            **{"top_k": int(beam == 1), "top_p": 0.0, "temperature": 1.0, "ratio": 0.0, "stepwise_penalty": False},
            **{"transforms": [], "optional_eos": [], "ignore_when_blocking": [], "block_ngram_repeat": 0},
            **{"replace_unk": False, "ban_unk_token": False, "tgt_file_prefix": False, "phrase_table": ""},
            **{"report_align": False, "gold_align": False, "report_time": False, "verbose": False, "dump_beam": ""},
            **{"data_type": "text", "dynamic_shapes": None, "context_length": 512, "self_attn_backend": "pytorch"},
            **{"fuse_kvq": False, "fuse_gate": False, "seed": 1, "with_score": False, "estim_only": False},
        )
        scorer = GNMTGlobalScorer(0.0, 0.0, "avg", "none")
        return Translator(self.model, self.vocabs, settings, self.shape, device_id=-1, global_scorer=scorer)

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        translator, steps = self._translator(beam), 0
        self.model.eval()
        for some in chunks(rows, batch, sort=lambda row: len(self.tests[row]["src"]["src_ids"])):
            padded = tensorify(self.vocabs, [(self.tests[row], row) for row in some], torch.device("cpu"))
            found = translator.predict_batch(padded, attn_debug=False)
            steps = max(len(best[0]) for best in found["predictions"])
        self.model.train()
        return steps


if __name__ == "__main__":
    serve(Eole)
