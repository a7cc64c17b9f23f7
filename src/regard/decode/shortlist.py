"""Lexical shortlists: for each sentence the few target pieces that its words suggest. An approximation, for decoding.

The output layer scores these alone (Jean et al. 2015, section 3.3; Devlin 2017, section 3.4): with 300 of 8,000 pieces
it costs next to nothing. A piece that is not on the list cannot be said.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.tokenizer import PAD
from regard.errors import RegardError
from regard.ops import native
from regard.ops.packed import PANEL

FILE = "shortlist.safetensors"
"""Where a run folder has it."""


@dataclass(frozen=True)
class Shortlist:
    """Which target pieces may come."""

    common: Int[Tensor, "common"]
    """for every sentence: the special ones, and the most frequent"""
    best: Int[Tensor, "source_vocab best"]
    """for each source piece, filled up with PAD"""
    target_vocab: int

    def fits(self, source_vocab: int) -> bool:
        """Whether it speaks of pieces that there are."""
        ids = torch.cat([self.common, self.best.flatten()])
        return self.best.shape[:1] == (source_vocab,) and 0 <= int(ids.min()) <= int(ids.max()) < self.target_vocab

    def allowed(self, source_ids: Int[Tensor, "sentences src_len"]) -> Tensor:
        """(sentences, target_vocab) bool; padding adds nothing."""
        found = torch.zeros(len(source_ids), self.target_vocab, dtype=torch.bool)
        found[:, self.common] = True
        suggested = self.best[source_ids].masked_fill_((source_ids == PAD).unsqueeze(-1), PAD)
        return found.scatter_(1, suggested.flatten(1), True)

    @staticmethod
    def load(folder: Path, source_vocab: int, target_vocab: int) -> "Shortlist":
        """That of a run folder."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = folder / FILE
        if not path.is_file():
            raise RegardError(f"{folder}: no {FILE}: make it with `regard shortlist {folder}`, once.")
        try:
            tensors = load_file(path)
            found = Shortlist(tensors["common"].long(), tensors["best"].long(), target_vocab)
        except (SafetensorError, KeyError, ValueError):
            raise RegardError(f"{path}: damaged: make it anew with `regard shortlist {folder}`.") from None
        if not found.fits(source_vocab):
            raise RegardError(f"{path}: not of this run's vocabulary: make it anew with `regard shortlist {folder}`.")
        return found

    def pack(self) -> bytes:
        """The content of the file."""
        from safetensors.torch import save

        return save({"common": self.common.int(), "best": self.best.int()})


class Listed:
    """The rows of an output layer that each sentence may use, copied side by side into packed panels.

        listed = Listed(table, bias, shortlist.allowed(source_ids))
        scores = listed(x, which)              # x (groups · rows, in), which (groups,): rows of a sentence together

    One weight for each sentence and nothing filled up but to a panel, so a sentence's scores do not know of the others.
    """

    def __init__(self, weight: Float[Tensor, "vocab in"], bias: Float[Tensor, "vocab"], allowed: Tensor) -> None:
        sentence, words = allowed.nonzero().unbind(1)
        self._width = allowed.sum(1)
        room = (self._width + PANEL - 1) // PANEL * PANEL
        self._begin = room.cumsum(0) - room
        column = torch.arange(len(words)) - (self._width.cumsum(0) - self._width)[sentence]
        widest = int(room.max())  # whole panels: then sums over a row have one order, whoever is in the batch
        self.words = words.new_full((len(allowed), widest), PAD)
        self.words[sentence, column] = words
        total, inner = int(room.sum()), weight.shape[1]
        place = words.new_zeros(total)
        place[self._begin[sentence] + column] = words
        self._bias = bias[place]
        self._packed = weight.new_empty(total * inner)
        native.call("pack", total, inner, inner, weight[place], self._packed)

    def __call__(self, x: Float[Tensor, "rows in"], which: Int[Tensor, "groups"]) -> Float[Tensor, "rows widest"]:
        """Scores of `words[which]`, -inf past a sentence's last."""
        groups, (rows, inner) = len(which), x.shape
        widest = self.words.shape[1]
        out = x.new_empty(rows, widest)
        sizes = (groups, rows // groups, inner, widest)
        native.call(
            *("product_each", *sizes, which, self._begin, self._width),
            *(x.contiguous(), self._packed, self._bias, out),
        )
        return out
