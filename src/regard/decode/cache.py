"""The continuous cache: a language model looks back at what it has read, by attention that nobody had to train."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from regard import config
from regard.data.tokenizer import PAD
from regard.decode.protocol import Decoder, StepOutput
from regard.decode.scores import log_probs
from regard.decode.state import State
from regard.ops import native
from regard.ops.attention import AttentionLoop

QUERIES = 256
"""Steps of a text that look back at once: with a cache of 8,000 their weights are 8 MB."""
KEYS, FOLLOWED, LAST = "cache.keys", "cache.followed", "cache.last"
"""Of the state: features that a token has followed, those tokens, and the features that none has followed yet."""


class Cache(config.Config):
    """Words that followed what is alike, in what was read last; names and words of the text at hand, above all."""

    size: int = Field(2000, ge=1)
    """Steps back: hundreds of words, thousands of letters; 8,000 letters are 0.01 nats better than 2,000."""
    temperature: float = Field(4.0, gt=0)
    """Of the weights: low for what is most alike alone, high for whatever was read; 1 / θ in Grave et al."""
    weight: float = Field(0.2, gt=0, lt=1)
    """The share of a probability that a full cache has, λ. Choose both by `regard evaluate RUN --data valid`."""


class CachedDecoder:
    """A decoder whose next token may be one that followed a step like this one, a little while ago.

        p(w) = (1 − λ) p_decoder(w) + λ Σ_{i: x_{i+1} = w} a_i,   a = softmax over i of h_t · h_i / τ

    Grave, Joulin & Usunier 2017, "Improving neural language models with a continuous cache" (arXiv:1612.04426),
    equations 2 and 3, over the last `size` steps before t. Unlike theirs λ is `weight` times how full the cache is: of
    little that was read the likest is not like, and a text that is being written would repeat its first words. Here h
    are the features from which the output layer reads. Training knows nothing of it, so that its settings can be
    changed afterwards. There are three roads: `step`, as search goes; `forced`, for outputs that are told;
    `read_told`, for a text in pieces of any size.

        decoder = CachedDecoder(model.decoder, Cache(size=500))
        output, state = decoder.step(tokens, state, source)      # output.scores: log-probabilities
    """

    def __init__(self, decoder: Decoder, cache: Cache) -> None:
        self.decoder: Any = decoder
        self.cache = cache

    @staticmethod
    def conflict(encoder: str) -> str | None:
        """Why a model with such an encoder cannot have one, if it cannot."""
        if encoder != "none":
            return f"cache is for models that continue texts (encoder none), and the encoder is {encoder}: leave it out"
        return None

    @property
    def rows_alone(self) -> bool:
        """Whether the decoder's are."""
        return getattr(self.decoder, "rows_alone", False)

    def prepare(self, memories: Sequence[Any]) -> Any:
        return self.decoder.prepare(memories)

    def start(self, source: Any, beam: int = 1) -> State:
        """The decoder's, and a cache in which there is nothing."""
        rows, like = source.rows * beam, source.summary
        nothing = like.new_zeros(rows, 0, self.decoder.config.hidden)
        own: State = self.decoder.start(source, beam)
        return {**own, KEYS: nothing, FOLLOWED: like.new_zeros(rows, 0, dtype=torch.int64), LAST: nothing}

    def step(self, tokens: Int[Tensor, "rows"], state: State, source: Any) -> tuple[StepOutput, State]:
        """Read one token a row, score the next."""
        output, after = self.decoder.step(tokens, _without_cache(state), source)
        features = output.features
        assert features is not None, "a decoder with a cache tells its features"
        keys, followed = self._remembered(state, tokens[:, None])
        scores = self._mixed(log_probs(output), features, keys, followed)
        after.update({KEYS: keys, FOLLOWED: followed, LAST: features[:, None]})
        return replace(output, scores=scores, normalized=True), after

    def forced(
        self,
        source: Any,
        inputs: Int[Tensor, "batch tgt_len"],
        targets: Int[Tensor, "batch tgt_len"],
        keep_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch tgt_len"], None]:
        """log p of each target, as the decoder's own, zero for padding; there is no source that weights could be of."""
        features, _ = self.decoder.teacher_forced(source, inputs)
        found = torch.zeros_like(features[..., 0])
        for row, right in enumerate(targets):  # each of its own length, so that none depends on the others
            steps = int((right != PAD).nonzero()[-1]) + 1
            told = features[row, :steps]
            found[row, :steps], _ = self._judged(told, right[:steps], told[:-1], inputs[row, 1:steps])
        return found, None

    def read_told(
        self, inputs: Int[Tensor, "one steps"], targets: Int[Tensor, "one steps"], state: State, source: Any
    ) -> tuple[Float[Tensor, "steps"], Bool[Tensor, "steps"], State]:
        """As the decoder's own: log p of each target, whether it ranks first, and the state after them."""
        features, after = self.decoder.read(inputs, _without_cache(state), source)
        keys, followed = self._remembered(state, inputs[:, :1])
        keys, followed = torch.cat([keys, features[:, :-1]], 1), torch.cat([followed, inputs[:, 1:]], 1)
        log_probs, hits = self._judged(features[0], targets[0], keys[0], followed[0])
        after.update({KEYS: self._newest(keys), FOLLOWED: self._newest(followed), LAST: features[:, -1:]})
        return log_probs, hits, after

    def _judged(
        self,
        features: Float[Tensor, "steps features"],
        targets: Int[Tensor, "steps"],
        keys: Float[Tensor, "past features"],
        followed: Int[Tensor, "past"],
    ) -> tuple[Float[Tensor, "steps"], Bool[Tensor, "steps"]]:
        """log p of each target of one text, and whether it ranks first. The last step sees the last of `keys`, the one
        before it all but that one, and so on."""
        before = len(keys) - len(features) + 1  # steps of the cache that the first of these sees
        found, hits = [], []
        for first in range(0, len(features), QUERIES):
            query, right = features[first : first + QUERIES], targets[first : first + QUERIES, None]
            end = before + first + len(query) - 1
            past = slice(max(0, before + first - self.cache.size), end)
            # Query q of these sees up to `size` steps before its own, before + first + q.
            since = torch.arange(before + first, end + 1)[:, None] - torch.arange(past.start, end)
            seen = ((since > 0) & (since <= self.cache.size)).to(features.device)
            weights = _weights(query / self.cache.temperature, keys[past], seen)
            written = self.decoder.readout.logits(query).log_softmax(-1)
            steps = seen.sum(1, keepdim=True).to(query)
            scores = self._blend(written, weights, followed[past].expand(len(query), -1), steps)
            found.append(scores.gather(1, right)[:, 0])
            hits.append(scores.argmax(1) == right[:, 0])
        return torch.cat(found), torch.cat(hits)

    def _remembered(self, state: State, token: Int[Tensor, "rows 1"]) -> tuple[Tensor, Tensor]:
        """The cache when `token` has followed the last features: keys (rows, steps, features), tokens (rows, steps)."""
        keys, last = torch.cat([state[KEYS], state[LAST]], 1), state[LAST].shape[1]  # the first token follows nothing
        return self._newest(keys), self._newest(torch.cat([state[FOLLOWED], token[:, :last]], 1))

    def _newest(self, x: Tensor) -> Tensor:
        return x[:, max(0, x.shape[1] - self.cache.size) :]

    def _mixed(
        self,
        written: Float[Tensor, "rows vocab"],
        query: Float[Tensor, "rows features"],
        keys: Float[Tensor, "rows steps features"],
        followed: Int[Tensor, "rows steps"],
    ) -> Float[Tensor, "rows vocab"]:
        """log p of each row's next token, from the decoder's and the row's own cache; rows stay alone."""
        if not keys.shape[1]:
            return written
        asked = query.detach()[:, None] / self.cache.temperature
        keys = keys.detach()
        if AttentionLoop.takes(keys, keys):
            _, weights = AttentionLoop(keys, keys[..., : native.LANES], None)(asked)
        else:
            weights = (asked @ keys.mT).softmax(-1)
        return self._blend(written, weights[:, 0], followed, keys.shape[1])

    def _blend(
        self,
        written: Float[Tensor, "rows vocab"],
        weights: Float[Tensor, "rows steps"],
        followed: Int[Tensor, "rows steps"],
        steps: Float[Tensor, "rows 1"] | int,
    ) -> Float[Tensor, "rows vocab"]:
        """log of (1 − λ) p + λ Σ a, from log p. steps   how many each row sees"""
        share = self.cache.weight * steps / self.cache.size
        mixed = ((1.0 - share) * written.exp()).scatter_add_(1, followed, share * weights)
        return mixed.clamp_(torch.finfo(mixed.dtype).tiny, 1.0).log_()


def _weights(
    query: Float[Tensor, "queries features"], keys: Float[Tensor, "steps features"], seen: Bool[Tensor, "queries steps"]
) -> Float[Tensor, "queries steps"]:
    """Softmax over the steps that a query may see; zero for all, where it may see none."""
    scores = (query @ keys.T).masked_fill_(~seen, torch.finfo(query.dtype).min)
    return scores.softmax(-1).masked_fill_(~seen, 0.0)


def _without_cache(state: State) -> State:
    return {name: part for name, part in state.items() if name not in (KEYS, FOLLOWED, LAST)}
