"""Text → more text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from regard.data.batches import Indices
from regard.data.prepare import Prepared, prepare
from regard.data.store import Ids, Pairs
from regard.data.tokenizer import BOS, EOS, Tokenizer
from regard.data.windows import Windows, stream
from regard.decode.config import SearchConfig
from regard.errors import RegardError
from regard.model import Seq2Seq
from regard.score.metric import Metric
from regard.score.perplexity import Told, perplexity
from regard.tasks.text import TextTask

CHUNK = 1024
"""Tokens that are read at once in validation; it changes memory and time, never the result."""
BLOCK = 2000
"""Tokens that intervals take together: neighbouring lines are of one play or article, and tell the same thing twice."""


class Write(TextTask):
    """Continue texts: a language model, over characters, words or subwords.

    The text is one stream, cut into windows of `train.window` tokens for training. Perplexity is that of the whole
    stream, each token with all before it: read once from its beginning to its end, so that no batch size, chunk or
    window is part of the number.
    """

    summary: ClassVar[str] = "text → more text (perplexity, nats per token)"
    default_metric: ClassVar[str] = "perplexity"
    continues: ClassVar[bool] = True

    @property
    def metrics(self) -> dict[str, bool]:
        return {"perplexity": False, "nats": False, "accuracy": True}

    def scorers(self) -> list[Metric]:
        return []

    def prepare(self, tokenizers: Mapping[str, Tokenizer] | None = None) -> Prepared:
        return prepare(self.recipe.data, tokenizers=tokenizers, about=self.recipe.about)

    def training(self, prepared: Prepared, seed: int) -> Windows:
        train = self.recipe.train
        return Windows(self.tokens(prepared.train), steps=train.window, context=train.window_context)

    def tokens(self, pairs: Pairs) -> Ids:
        """A split as one stream."""
        return stream(pairs, ends=self.recipe.data.lines)

    def scored(self, pairs: Pairs, longest: int, name: str) -> Indices:
        return np.arange(len(pairs))

    def told(self, model: Seq2Seq, pairs: Pairs, kept: Indices) -> Told:
        if len(kept) != len(pairs):
            raise RegardError("a text is read as a whole: perplexity of some of its lines is not to be had.")
        log_probs, hits = stream_told(model, self.tokens(pairs))
        return Told(_blocks(log_probs), 100.0 * float(hits.mean()))

    def open_ended(self, search: SearchConfig) -> SearchConfig:
        """`max_length` alone says how long a text gets, its beginning included."""
        return search.model_copy(update={"max_length_ratio": 0.0, "max_length_extra": search.max_length})

    def validate(self, model: Seq2Seq, prepared: Prepared, *, full: bool) -> dict[str, float]:
        """Perplexity, nats and token accuracy over all of the validation text."""
        return stream_scores(model, self.tokens(prepared.valid))


def _blocks(log_probs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(blocks, 2): −log p and tokens of each BLOCK of a stream, or of a twentieth, where that is less."""
    size = max(1, min(BLOCK, len(log_probs) // 20))
    begins = np.arange(0, len(log_probs), size)
    return np.stack([-np.add.reduceat(log_probs, begins), np.diff([*begins, len(log_probs)]).astype(np.float64)], 1)


def stream_scores(model: Seq2Seq, tokens: Ids) -> dict[str, float]:
    """Perplexity, nats per token and the share of tokens that rank first, of a text read from its beginning."""
    log_probs, hits = stream_told(model, tokens)
    nll, count = -float(log_probs.sum()), len(tokens)
    return {"perplexity": perplexity(nll, count), "nats": nll / count, "accuracy": 100.0 * float(hits.mean())}


@torch.no_grad()
def stream_told(
    model: Seq2Seq, tokens: Ids, *, chunk: int = CHUNK
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """log p of each token of a text with all before it, and whether it ranks first."""
    device, decoder = next(model.parameters()).device, model.teller
    nothing = model.encode(torch.full((1, 1), EOS, device=device), torch.ones(1, dtype=torch.int64))
    source = decoder.prepare([nothing])
    state, found, hits = decoder.start(source), [], []
    right = torch.from_numpy(tokens.astype("int64")).to(device)
    told = torch.cat([right.new_tensor([BOS]), right[:-1]])
    for before, after in zip(told.split(chunk), right.split(chunk), strict=True):
        log_probs, first, state = decoder.read_told(before[None], after[None], state, source)
        found.append(log_probs.double().cpu())
        hits.append(first.cpu())
    return torch.cat(found).numpy(), torch.cat(hits).numpy()
