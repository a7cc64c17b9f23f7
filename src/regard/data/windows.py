"""Plain text as one stream of tokens, and its windows as training examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from regard.data.batches import Batch, Indices
from regard.data.store import Ids, Pairs
from regard.data.tokenizer import BOS, EOS, PAD


def stream(pairs: Pairs, *, ends: bool) -> Ids:
    """All of a text's tokens in order; with `ends`, an end mark after each line."""
    end = [np.array([EOS] if ends else [], dtype=np.int32)]
    return np.concatenate([part for i in range(len(pairs)) for part in (pairs.ids(i)[1], *end)])


class Windows:
    """Windows of a stream, each told what comes before it.

    A window is `steps` tokens to be learned; the model reads up to `context` tokens before them first, so that it need
    not begin from nothing. So every batch is a function of its windows' numbers, and there is no state to carry from
    batch to batch or to save.

    >>> windows = Windows(np.arange(4, 30, dtype=np.int32), steps=8, context=3)
    >>> len(windows), windows.batch([1]).target_out.tolist()
    (4, [[0, 0, 0, 12, 13, 14, 15, 16, 17, 18, 19]])
    """

    def __init__(self, tokens: Ids, *, steps: int, context: int = 0) -> None:
        self.tokens, self.steps, self.context = tokens, steps, context
        self.begins: npt.NDArray[np.int64] = np.arange(0, len(tokens), steps)
        sizes = np.minimum(self.begins + steps, len(tokens)) - self.begins
        self.source_lengths = np.zeros(len(sizes), dtype=np.int32)
        self.target_lengths = (sizes - 1).astype(np.int32)  # what is planned has an end mark besides

    def __len__(self) -> int:
        return len(self.begins)

    def batch(self, indices: Sequence[int] | Indices) -> Batch:
        """`target_out` is PAD where the context is told, and where a window has ended."""
        rows = [self._window(int(self.begins[i])) for i in indices]
        longest = max(len(right) for _, right in rows)
        told, right = np.full((2, len(rows), longest), PAD, dtype=np.int64)
        for row, (before, after) in enumerate(rows):
            told[row, : len(before)], right[row, : len(after)] = before, after
        return Batch(
            source=torch.full((len(rows), 1), EOS),
            source_lengths=torch.ones(len(rows), dtype=torch.int64),
            target_in=torch.from_numpy(told),
            target_out=torch.from_numpy(right),
            tokens=int((right != PAD).sum()),
            indices=np.asarray(indices, dtype=np.int64),
        )

    def in_epoch(self, epoch: int) -> Windows:
        """The same in every epoch."""
        return self

    def source_text(self, i: int) -> str:
        """Where it is, for an error."""
        return f"tokens {self.begins[i]:,} to {self.begins[i] + self.target_lengths[i]:,}"

    def _window(self, begin: int) -> tuple[Ids, Ids]:
        """What is told, and what is right."""
        end, first = min(begin + self.steps, len(self.tokens)), max(0, begin - self.context)
        right = self.tokens[first:end].copy()
        right[: begin - first] = PAD
        before = self.tokens[first - 1 : first] if first else np.array([BOS], dtype=np.int32)
        return np.concatenate([before, self.tokens[first : end - 1]]), right
