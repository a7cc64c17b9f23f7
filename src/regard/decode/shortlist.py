"""Lexical shortlists: for each sentence the few target pieces that its words suggest. An approximation, for decoding.

The output layer scores these alone (Jean et al. 2015, section 3.3; Devlin 2017, section 3.4): with 300 of 8,000 pieces
it costs next to nothing. A piece that is not on the list cannot be said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.data.config import SPECIALS
from regard.data.tokenizer import PAD
from regard.errors import RegardError
from regard.ops import native
from regard.ops.packed import panels

FILE = "shortlist.safetensors"
"""Where a run folder has it."""
FORMAT = 1


@dataclass(frozen=True)
class Shortlist:
    """Which target pieces may come, besides the special ones, which always may."""

    common: Int[Tensor, "common"]
    """for every sentence: the most frequent"""
    best: Int[Tensor, "source_vocab best"]
    """for each source piece, filled up with PAD"""
    target_vocab: int
    shared: bool = False
    """source and target pieces are the same: each source piece is its own suggestion too, as names are copied"""

    def allowed(self, source_ids: Int[Tensor, "sentences src_len"]) -> Bool[Tensor, "sentences target_vocab"]:
        """Padding adds nothing."""
        found = torch.zeros(len(source_ids), self.target_vocab, dtype=torch.bool)
        found[:, :SPECIALS] = True
        found[:, self.common] = True
        suggested = self.best[source_ids].masked_fill_((source_ids == PAD).unsqueeze(-1), PAD)
        found.scatter_(1, suggested.flatten(1), True)
        return found.scatter_(1, source_ids, True) if self.shared else found

    def pack(self, tokenizers: Mapping[str, str]) -> bytes:
        """The content of the file. tokenizers   digest of each side's, by which `load` knows whose it is"""
        from safetensors.torch import save

        told = {"format": str(FORMAT), "shared": json.dumps(self.shared), **tokenizers}
        return save({"common": self.common.int(), "best": self.best.int()}, metadata=told)

    @staticmethod
    def load(folder: Path, tokenizers: Mapping[str, str], target_vocab: int) -> "Shortlist":
        """That of a run folder, whose tokenizers have these digests."""
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        again = f"make it anew with `regard shortlist {folder}`"
        if not path.is_file():
            raise RegardError(f"{folder}: no {FILE}: make it with `regard shortlist {folder}`, once.")
        try:
            with safe_open(path, "pt") as file:
                told, common, best = file.metadata() or {}, file.get_tensor("common"), file.get_tensor("best")
        except SafetensorError:
            raise RegardError(f"{path}: damaged: {again}.") from None
        if told.get("format") != str(FORMAT):
            raise RegardError(f"{path}: of format {told.get('format')}, and this Regard reads {FORMAT}: {again}.")
        if any(told.get(side) != digest for side, digest in tokenizers.items()):
            raise RegardError(f"{path}: of another vocabulary than the run's: {again}.")
        return Shortlist(common.long(), best.long(), target_vocab, json.loads(told["shared"]))


class ShortlistReadout:
    """The rows of an output layer that each sentence may use, copied side by side into packed panels.

        readout = ShortlistReadout(table, bias, shortlist.allowed(source_ids))
        scores = readout(x, sentence)          # x (groups · rows, in), sentence (groups,): rows of a sentence together

    One weight for each sentence and nothing filled up but to a panel, so a sentence's scores do not know of the others.
    """

    def __init__(
        self,
        weight: Float[Tensor, "vocab in"],
        bias: Float[Tensor, "vocab"],
        allowed: Bool[Tensor, "sentences vocab"],
    ) -> None:
        sentence, words = allowed.nonzero().unbind(1)
        self._width = allowed.sum(1)
        room = panels(self._width)
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

    def __call__(self, x: Float[Tensor, "rows in"], sentence: Int[Tensor, "groups"]) -> Float[Tensor, "rows widest"]:
        """Scores of `words[sentence]`, -inf past a sentence's last."""
        groups, (rows, inner) = len(sentence), x.shape
        widest = self.words.shape[1]
        out = x.new_empty(rows, widest)
        sizes = (groups, rows // groups, inner, widest)
        native.call(
            *("product_each", *sizes, sentence, self._begin, self._width),
            *(x.contiguous(), self._packed, self._bias, out),
        )
        return out
