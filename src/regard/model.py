"""Encoder, attention and decoder put together for text to text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.data.batches import Batch
from regard.data.tokenizer import PAD, TURN_END
from regard.decode import DECODERS, READOUTS
from regard.decode.cache import CachedDecoder
from regard.decode.embedding import Embedding
from regard.decode.engine import Encode
from regard.decode.frames import Frames
from regard.decode.packed import PackedDecoder
from regard.decode.packed_labels import PackedLabelDecoder
from regard.decode.packed_spans import PackedSpanDecoder
from regard.decode.protocol import Decoder
from regard.decode.shortlist import Shortlist
from regard.decode.spelling import SpelledEmbedding
from regard.encode import OPTIONAL_ENCODERS, Memory, segment_ids
from regard.encode.packed import pack_encoder, packs_encoder
from regard.errors import RegardError
from regard.model_config import ModelConfig
from regard.ops.int8 import Int8Linear
from regard.ops.noise import Noise
from regard.ops.packed import PackedLinear


@dataclass(frozen=True)
class LossSums:
    """Sums over the target tokens of a batch; divide by the tokens of the whole update."""

    loss: Tensor
    """smoothed cross-entropy in nats, differentiable"""
    nll: Tensor
    """cross-entropy in nats"""
    tokens: int
    """target tokens, end marks included"""
    correct: Tensor
    """tokens whose highest score is the target"""
    cost: float = 0.0
    """what outputs that were found for it cost, summed over sentences, where the objective finds some"""
    judged: int = 0
    """how many sentences that is of"""


@dataclass(frozen=True)
class _Encode:
    """Ids to memories."""

    embedding: nn.Module
    encoder: Callable[..., Memory]

    def __call__(self, ids: Tensor, lengths: Tensor) -> list[Memory]:
        return [replace(self.encoder(self.embedding(ids), lengths, **_told(self.encoder, ids)), source_ids=ids)]


def _told(encoder: object, ids: Tensor) -> dict[str, Tensor]:
    """Where turns end, for an encoder that reads turn by turn; the ids, for one that compares them."""
    if getattr(encoder, "by_ids", False):
        return {"ids": ids}
    return {"levels": segment_ids(ids, [[TURN_END]])} if getattr(encoder, "by_turns", False) else {}


class Seq2Seq(nn.Module):
    """Embedded tokens → encoder → memory → attentive decoder → readout.

    model = Seq2Seq(ModelConfig(), source_vocab=8000, target_vocab=8000)
    memory = model.encode(ids, lengths)                       # ids (batch, src_len), lengths on the CPU
    source = model.decoder.prepare([memory])
    features, trace = model.decoder.teacher_forced(source, target_in)
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        source_vocab: int,
        target_vocab: int,
        spellings: Tensor | None = None,
        channels: int = 0,
    ) -> None:
        """spellings   (source_vocab, longest) characters of each source piece, as `Tokenizer.spellings` has them; where
        the config has a `spelling`
        channels    of series; 0: sources are ids"""
        super().__init__()
        self.config = config
        readout = READOUTS[config.readout.type]
        table = partial(Embedding, dim=config.embed, open_ended=readout.copies, drop=config.word_dropout)
        embedding = table(target_vocab)
        if config.tie == "all" or readout.copies:
            assert source_vocab == target_vocab, "these settings need one vocabulary; the recipe is checked for it"
        self.copies: bool = readout.copies
        """whether outputs may be taken from the source"""
        tied = config.tie == "all" or config.encoder.type == "none"  # where there is no source, no table for it
        self.source_embedding: Embedding | Frames = embedding
        if channels:
            self.source_embedding = Frames(channels, config.embed)
        elif config.spelling is not None:
            assert spellings is not None and len(spellings) == source_vocab, "how pieces are spelled"
            self.source_embedding = SpelledEmbedding(config.spelling, spellings, config.embed, drop=config.word_dropout)
        elif not tied:
            self.source_embedding = table(source_vocab)
        self.encoder = OPTIONAL_ENCODERS[config.encoder.type](
            config.encoder, input_size=self.source_embedding.dim, dropout=config.dropout
        )
        self.decoder = DECODERS[config.decoder.type](
            config.decoder,
            embedding=embedding,
            readout=readout(config.decoder.hidden, embedding, tied=config.tie != "none", drop=config.output_dropout),
            attention=config.attention,
            memory_dims=[self.encoder.dim],
            summary_size=self.encoder.summary_size,
            combine=config.combine,
            dropout=config.dropout,
        )

    def encode(self, ids: Tensor, lengths: Tensor, noise: Noise | None = None) -> Memory:
        """`ids` (batch, src_len), `lengths` (batch,) on the CPU → Memory."""
        memory = self.encoder(
            self.source_embedding(ids, noise, "source.words"), lengths, noise, **_told(self.encoder, ids)
        )
        return replace(memory, source_ids=ids)

    def for_search(self, *, int8: bool = False, shortlist: Shortlist | None = None) -> tuple[Encode, Decoder]:
        """Encoder and decoder as `decode_sentences` takes them: packed where there are kernels for both, else our own.

        int8, shortlist   approximations, which only the packed forms have

        Packed weights are copies: ask anew after an update.
        """
        suggested = shortlist is None or self.config.encoder.type != "none"  # nothing suggests no words
        linear = Int8Linear if int8 else PackedLinear
        decoder: Decoder | None = None
        if suggested and packs_encoder(self.encoder):
            if PackedDecoder.takes(self.decoder):
                decoder = self._with_cache(PackedDecoder(self.decoder, linear, shortlist))
            elif shortlist is None and PackedLabelDecoder.takes(self.decoder):
                decoder = PackedLabelDecoder(self.decoder, linear)
            elif shortlist is None and PackedSpanDecoder.takes(self.decoder):
                decoder = PackedSpanDecoder(self.decoder)
        given = self.source_embedding
        table = given.fixed() if isinstance(given, SpelledEmbedding) else given
        if decoder is not None:
            return _Encode(table, pack_encoder(self.encoder, linear)), decoder
        if int8 or shortlist is not None:
            what = "int8" if int8 else "shortlist"
            raise RegardError(
                f"{what}: only for models that decode fast (LSTM or GRU, sizes in multiples of 8, softmax attention of "
                "one head over a whole source, no copying, turns pooled by softmax attention, max or last, float32, on "
                "a CPU with compiled kernels); leave it out."
            )
        return _Encode(table, self.encoder), self.teller

    @property
    def attends(self) -> bool:
        """Whether it can say what it looked at."""
        head = bool(getattr(self.decoder, "attends", False))
        return self.config.attention is not None or (head and self.encoder.shows)

    @property
    def teller(self) -> Any:
        """The decoder, for what is told and searched rather than trained: with the cache, where the model has one."""
        return self._with_cache(cast(Decoder, self.decoder))

    def _with_cache(self, decoder: Decoder) -> Decoder:
        return decoder if self.config.cache is None else CachedDecoder(decoder, self.config.cache)

    def loss(
        self,
        batch: Batch,
        *,
        smoothing: float = 0.0,
        noise: Noise | None = None,
        sampled: int = 0,
        agreement: float = 0.0,
        **more: Any,
    ) -> LossSums:
        """The teacher-forced loss of a batch; `noise` None switches every dropout off, and sampling (`Readout.nll`).

        agreement   with noise, read the batch twice, with other masks, and add so many times how far apart the two
                    readings are (`regard.ops.agreement`): half of Liang et al. 2021, equation 4, a mean of readings
        more        what else this decoder's loss takes
        """
        twice = bool(agreement) and noise is not None
        given = batch.twice() if twice else batch
        if twice:
            more = {"agreement": agreement, **more}
        source = self.decoder.prepare([self.encode(given.source, given.source_lengths, noise)])
        told, right = given.target_in, given.target_out
        sums = self.decoder.loss(source, told, right, right != PAD, smoothing, noise, sampled, **more)
        if not twice:
            return LossSums(sums.loss, sums.nll, batch.tokens, sums.correct)
        return LossSums(sums.loss / 2, sums.nll / 2, batch.tokens, sums.correct / 2)


def parameter_count(model: nn.Module) -> int:
    """Numbers that training changes; tied tables count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def seeded(seed: int, build: type[Seq2Seq], *args: object, **kwargs: object) -> Seq2Seq:
    """Build a module whose first weights are a function of `seed` alone, leaving torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*args, **kwargs)  # type: ignore[arg-type]
