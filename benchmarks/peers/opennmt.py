"""OpenNMT-py 3.5.1: LSTMs with input feeding (Luong et al. 2015), attention `general` or `mlp`.

The step is its trainer's own, with its optimizer, loss and statistics; a batch is padded by its own `tensorify`. Its
pipeline sorts by length (`text_sort_key`: source, then target) and so gets sorted batches. Pieces are turned into ids
beforehand, as its loader processes would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, STEPS, Task, chunks, parameters, serve, stand_in

stand_in("spacy", "fasttext", "ahocorasick", "rapidfuzz", "sacrebleu")  # of text filters and scores

import onmt  # noqa: E402
from onmt.inputters.inputter import dict_to_vocabs  # noqa: E402
from onmt.inputters.text_utils import numericalize, tensorify  # noqa: E402
from onmt.model_builder import build_model  # noqa: E402
from onmt.opts import train_opts  # noqa: E402
from onmt.trainer import build_trainer  # noqa: E402
from onmt.translate import GNMTGlobalScorer  # noqa: E402
from onmt.translate.translator import Translator  # noqa: E402
from onmt.utils import Statistics  # noqa: E402
from onmt.utils.optimizers import Optimizer  # noqa: E402
from onmt.utils.parse import ArgumentParser  # noqa: E402

SPECIALS = ["<unk>", "<blank>", "<s>", "</s>"]


class OpenNMT:
    def __init__(self, task: Task) -> None:
        torch.manual_seed(1)
        self.task, self.attention = task, task.options.get("attention", "mlp")
        self.vocabs = dict_to_vocabs(
            {
                "src": SPECIALS + [f"s{i}" for i in range(task.pieces("src"))],
                "tgt": SPECIALS + [f"t{i}" for i in range(task.pieces("tgt"))],
                "data_task": "seq2seq",
                "decoder_start_token": "<s>",
            }
        )
        self.options = self._options()
        self.model = build_model(self.options, self.options, self.vocabs, None, -1)
        self.model.train()
        optimizer = Optimizer.from_opt(self.model, self.options)
        self.trainer = build_trainer(self.options, -1, self.model, self.vocabs, optimizer)
        pairs = zip(task.ids("train.src"), task.ids("train.tgt"), strict=True)
        self.examples = [self._example(source, target) for source, target in pairs]
        self.tests = [self._example(source, None) for source in task.ids("test.src")]

    def _options(self) -> Any:
        """Its training options: the defaults but for what the race sets."""
        size = self.task.size
        parser = ArgumentParser()
        train_opts(parser)
        wanted = {
            **{"data": "{}", "src_vocab": "unused", "tgt_vocab": "unused", "save_model": "unused"},
            **{"encoder_type": "brnn", "decoder_type": "rnn", "rnn_type": "LSTM", "layers": size.layers},
            **{"word_vec_size": size.embed, "hidden_size": size.decoder, "global_attention": self.attention},
            **{"optim": "adam", "learning_rate": LEARNING_RATE, "max_grad_norm": CLIP, "dropout": DROPOUT},
            **{"normalization": "tokens", "batch_type": "sents", "batch_size": size.batch},
        }
        given = [text for key, value in wanted.items() for text in (f"--{key}", str(value))]
        options, _ = parser.parse_known_args(given)
        options.data = {}
        ArgumentParser.update_model_opts(options)
        ArgumentParser.validate_model_opts(options)
        return options

    def _example(self, source: Sequence[int], target: Sequence[int] | None) -> dict[str, Any]:
        """A sentence as its pipeline keeps it, pieces looked up."""
        example: dict[str, Any] = {"src": {"src": " ".join(f"s{i}" for i in source)}, "tgt": None}
        if target is not None:
            example["tgt"] = {"tgt": " ".join(f"t{i}" for i in target)}
        return numericalize(self.vocabs, {**example, "cid": "train", "cid_line_number": 0, "align": None})

    def facts(self) -> dict[str, Any]:
        tables = [self.model.encoder.embeddings, self.model.decoder.embeddings]
        size = self.task.size
        return {
            "version": onmt.__version__,
            "parameters": parameters(self.model),
            "tables": sum(parameters(table) for table in tables),
            "shape": {
                "attention": {"mlp": "additive"}.get(self.attention, self.attention),
                "embed": size.embed,
                "encoder_hidden": size.decoder // 2,
                "decoder_hidden": size.decoder,
                "layers": size.layers,
                "batches": "sorted",
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        examples = sorted(((self.examples[row], row) for row in rows), key=lambda each: -len(each[0]["src"]["src_ids"]))
        batch = tensorify(self.vocabs, examples, torch.device("cpu"))
        tokens = int(batch["tgtlen"].sum()) - len(examples)  # it counts the start mark as well
        self.trainer._gradient_accumulation([batch], tokens, Statistics(), Statistics())
        return tokens

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        greedy = {"random_sampling_topk": 1} if beam == 1 else {}  # its own greedy search instead of a beam of one
        translator = Translator(
            self.model,
            self.vocabs,
            beam_size=beam,
            min_length=STEPS,
            max_length=STEPS,
            max_length_ratio=0,
            dump_beam="",
            global_scorer=GNMTGlobalScorer(0.0, 0.0, "avg", "none"),
            **greedy,
        )
        self.model.eval()
        steps = 0
        for some in chunks(rows, batch, sort=lambda row: len(self.tests[row]["src"]["src_ids"])):
            padded = tensorify(self.vocabs, [(self.tests[row], row) for row in some], torch.device("cpu"))
            found = translator.translate_batch(padded, attn_debug=False)
            steps = max(len(best[0]) for best in found["predictions"])
        self.model.train()
        return steps


if __name__ == "__main__":
    serve(OpenNMT)
