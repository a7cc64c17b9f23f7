"""The `model:` section of a recipe: encoder, attention, decoder, and the sizes between them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from regard.attend import COMBINATIONS, SCORES, Attention
from regard.config import Config, choice, optional
from regard.decode import DECODERS, READOUTS
from regard.decode.cache import Cache, CachedDecoder
from regard.decode.spelling import Spelling
from regard.encode import OPTIONAL_ENCODERS


class ModelConfig(Config):
    """One encoder, one attention, one decoder."""

    embed: int = Field(256, ge=1)
    """Size of the token embeddings; 256, since a size of 128 is within a BLEU of 2,048 (Britz et al. 2017, 4.1)."""
    spelling: optional(Spelling) = None  # type: ignore[valid-type]
    """A vector of each source piece's characters beside its own, for words that training has seldom or never seen, as
    names in questions. `{}`: with its defaults."""
    tie: Literal["none", "output", "all"] = "output"
    """Which tables are one: target embedding and output layer (Press & Wolf 2017), or the source's as well (`all`,
    for a shared vocabulary)."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Of inputs, layers and features, one mask per sequence; 0.3 suits sets of 10,000 to 100,000 sentences."""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """Of whole words: one that is dropped is nowhere in the batch's sources, or targets. 0.1 for language models that
    would else learn their text by heart (Merity et al. 2018)."""
    output_dropout: float = Field(0.3, ge=0, lt=1)
    """Of the projected features just before the output layer, token by token."""
    encoder: choice(OPTIONAL_ENCODERS) = "birnn"  # type: ignore[valid-type]
    attention: optional(Attention.Config) = Attention.Config()  # type: ignore[valid-type]
    """`none`: the decoder sees the encoder's final state alone."""
    combine: choice(COMBINATIONS) = "concat"  # type: ignore[valid-type]
    """How several sources are read together: contexts side by side, the convention (Zoph & Knight 2016). With one
    source all ways are the same."""
    decoder: choice(DECODERS) = "recurrent"  # type: ignore[valid-type]
    readout: choice(READOUTS) = "softmax"  # type: ignore[valid-type]
    """`copy`: words of the source may be written, for summaries and inflection; it needs `data.shared_vocabulary`."""

    cache: optional(Cache) = None  # type: ignore[valid-type]
    """Look back at what was read a while ago, in validation, scoring and search; of task write. Training knows
    nothing of it, so that a run's can be changed. `{}`: with its defaults."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelConfig:
        attention = self.attention
        decoder: Any = DECODERS[self.decoder.type]
        if conflict := decoder.conflict(self.decoder, attention):
            raise ValueError(conflict)
        if (self.encoder.type == "flow") != (self.decoder.type == "span"):
            raise ValueError(
                f"encoder flow and decoder span go together, found encoder {self.encoder.type} and decoder "
                f"{self.decoder.type}"
            )
        readout: Any = READOUTS[self.readout.type]
        if self.spelling and (self.tie == "all" or readout.copies or self.encoder.type == "none"):
            raise ValueError(
                "spelling is of what is read alone: set model.tie to output, and choose an encoder, and a readout that "
                "does not copy"
            )
        if readout.copies and not decoder.copies:
            raise ValueError(f"readout {self.readout.type} is not for decoder {self.decoder.type}: choose softmax")
        if conflict := readout.conflict(attention):
            raise ValueError(conflict)
        encoder = OPTIONAL_ENCODERS[self.encoder.type]
        if conflict := encoder.conflict(self.encoder, attention is not None):
            raise ValueError(conflict)
        if self.cache and (conflict := CachedDecoder.conflict(self.encoder.type)):
            raise ValueError(conflict)
        if attention is None:
            if self.combine.type != "concat":
                raise ValueError(
                    f"combine {self.combine.type} is about attention, and attention is none: leave it at concat"
                )
            return self
        if conflict := attention.conflict() or COMBINATIONS[self.combine.type].conflict(attention):
            raise ValueError(conflict)
        memory = self.encoder.memory_dim
        needs_same = getattr(SCORES[attention.score.type], "same_size", False)
        if needs_same and attention.heads == 1 and memory != self.decoder.hidden:
            raise ValueError(
                f"attention.score {attention.score.type} needs a memory and a decoder of one size, found "
                f"{memory} (encoder.hidden × directions, twice that in encoder hierarchical) and "
                f"{self.decoder.hidden} (decoder.hidden): "
                "make them equal, or choose general"
            )
        return self
