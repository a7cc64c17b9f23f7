"""The rules around a vocabulary: where text is cut before its pieces are found, and how pieces are put together."""

from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from regard.data.text import TAG

TRAILING = r"(?<=[\p{L}\p{M}\p{N}])(?<!&quot|&apos|&amp|&lt|&gt|&#91|&#93|&#124)[^\p{L}\p{M}\p{N}\s]+$"
"""Punctuation at a word's end, but not the end of what Moses' tokenizer writes for a quotation mark and the like."""


def build_core(
    model: models.Model, *, spaced: bool, isolate: bool, tags: bool = False, parted: bool = False
) -> tokenizers.Tokenizer:
    """The rules around a vocabulary.

    tags     a tag, or a label, is a piece, or spelled
    parted   the tab between turns or sentences is a piece of its own
    spaced   cut before every space, so that a piece is at most one word with the space before it
    isolate  "<" is always alone, so that no learned piece can be spelled like "</s>" or "<0x41>"; and punctuation
             is cut off the end of a word, so that "Amen." and "Amen" share a piece in text that is not tokenized
    """
    core = tokenizers.Tokenizer(model)
    cuts: list[Any] = []
    if spaced:
        cuts.append(pre_tokenizers.Split(" ", "merged_with_next"))
    if parted and spaced:
        cuts.append(pre_tokenizers.Split(TAG, "isolated"))
    if tags:
        cuts.append(pre_tokenizers.Split(tokenizers.Regex(f"{TAG}[^{TAG}]+"), "isolated"))
    if isolate:
        cuts.append(pre_tokenizers.Split("<", "isolated"))
        cuts.append(pre_tokenizers.Split(tokenizers.Regex(TRAILING), "isolated"))
    if cuts:
        core.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return core
