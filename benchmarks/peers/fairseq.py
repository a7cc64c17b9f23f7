"""fairseq (fairseq-fixed 0.12.3.1), `--arch lstm`: input feeding, attention by a projected product (Luong's general).

The step is `Trainer.train_step` on what its own dataset collates, so with its criterion, clipping, Adam and logging.
Its batches come in the order of source, then target length (`ordered_indices`), and so it gets sorted ones. What it
compiles is for reading its data format and for other models, and is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, STEPS, Task, chunks, parameters, serve, stand_in

stand_in("scipy", "scipy.special", "scipy.stats", "sklearn", "sklearn.metrics")  # of tasks for audio and classes

from fairseq import options, tasks  # noqa: E402
from fairseq.data import LanguagePairDataset  # noqa: E402
from fairseq.dataclass.utils import convert_namespace_to_omegaconf  # noqa: E402
from fairseq.sequence_generator import SequenceGenerator  # noqa: E402
from fairseq.trainer import Trainer  # noqa: E402


class Fairseq:
    def __init__(self, task: Task) -> None:
        self.task = task
        configuration = convert_namespace_to_omegaconf(self._arguments())
        self.translation = tasks.setup_task(configuration.task)
        self.model = self.translation.build_model(configuration.model)
        criterion = self.translation.build_criterion(configuration.criterion)
        self.trainer = Trainer(configuration, self.translation, self.model, criterion)
        sources, targets = self._tensors("train.src"), self._tensors("train.tgt")
        self.train_set = self._dataset(sources, targets)
        self.test_set = self._dataset(self._tensors("test.src"), None)

    def _arguments(self) -> Any:
        """What one would write on its command line; its dictionaries are files."""
        folder, size = Path(tempfile.mkdtemp()), self.task.size
        for language in ("src", "tgt"):
            lines = [f"{language}{piece} 1\n" for piece in range(self.task.pieces(language))]
            (folder / f"dict.{language}.txt").write_text("".join(lines), encoding="ascii")
        parser = options.get_training_parser()
        wanted: dict[str, Any] = {
            **{"task": "translation", "source-lang": "src", "target-lang": "tgt", "arch": "lstm"},
            **{"encoder-embed-dim": size.embed, "encoder-hidden-size": size.encoder, "encoder-layers": size.layers},
            **{"decoder-embed-dim": size.embed, "decoder-hidden-size": size.decoder, "decoder-layers": size.layers},
            **{"decoder-out-embed-dim": min(512, size.decoder)},  # 512 is its default
            **{"dropout": DROPOUT, "criterion": "cross_entropy", "optimizer": "adam", "lr": LEARNING_RATE},
            **{"lr-scheduler": "fixed", "clip-norm": CLIP, "batch-size": size.batch, "seed": 1},
        }
        given = [str(folder), "--cpu", "--encoder-bidirectional", "--log-format", "none"]
        given += [text for key, value in wanted.items() for text in (f"--{key}", str(value))]
        return options.parse_args_and_arch(parser, given)

    def _tensors(self, name: str) -> list[torch.Tensor]:
        """Ids with the end mark, after its four marks."""
        dictionary = self.translation.source_dictionary
        first, end = dictionary.nspecial, dictionary.eos()
        return [torch.tensor([*(piece + first for piece in row), end]) for row in self.task.ids(name)]

    def _dataset(self, sources: list[torch.Tensor], targets: list[torch.Tensor] | None) -> LanguagePairDataset:
        return LanguagePairDataset(
            sources,
            [len(row) for row in sources],
            self.translation.source_dictionary,
            targets,
            None if targets is None else [len(row) for row in targets],
            None if targets is None else self.translation.target_dictionary,
        )

    def facts(self) -> dict[str, Any]:
        size = self.task.size
        tables = [self.model.encoder.embed_tokens, self.model.decoder.embed_tokens]
        return {
            "version": version("fairseq-fixed"),
            "parameters": parameters(self.model),
            "tables": sum(parameters(table) for table in tables),
            "shape": {
                "attention": "general",
                "embed": size.embed,
                "encoder_hidden": size.encoder,
                "decoder_hidden": size.decoder,
                "layers": size.layers,
                "batches": "sorted",
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        batch = self.train_set.collater([self.train_set[row] for row in rows])
        self.trainer.train_step([batch])
        return int(batch["ntokens"])

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        length = STEPS - 1  # the end mark is a step too
        generator = SequenceGenerator(
            [self.model],
            self.translation.target_dictionary,
            beam_size=beam,
            max_len_a=0,
            max_len_b=length,
            min_len=length,
        )
        steps = 0
        for some in chunks(rows, batch, sort=lambda row: len(self.test_set[row]["source"])):
            sample = self.test_set.collater([self.test_set[row] for row in some])
            with torch.no_grad():
                steps = len(generator.generate([self.model], sample)[0][0]["tokens"])
        self.model.train()
        return steps


if __name__ == "__main__":
    serve(Fairseq)
