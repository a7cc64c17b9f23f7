"""The continuous cache: its definition in a loop, and one number for a text by whatever road it is read."""

import math

import pytest
import torch

from regard.data.tokenizer import BOS, EOS, PAD
from regard.decode.cache import Cache, CachedDecoder
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences
from regard.decode.ensemble import Ensemble
from regard.model import Seq2Seq, seeded
from regard.model_config import ModelConfig

VOCAB = 21
TEXT = torch.randint(4, VOCAB, (50,), generator=torch.Generator().manual_seed(1))
TOLD = torch.cat([torch.tensor([BOS]), TEXT[:-1]])
SMALL = Cache(size=13, temperature=0.7, weight=0.3)


def build(cache=SMALL, hidden=16, **decoder):
    keys = {"encoder": "none", "attention": "none", "embed": 8, "cache": cache}
    config = ModelConfig.model_validate({**keys, "decoder": {"hidden": hidden, "input_feeding": False, **decoder}})
    model = seeded(3, Seq2Seq, config, source_vocab=VOCAB, target_vocab=VOCAB).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def begun(model, decoder, rows=1):
    nothing = model.encode(torch.full((rows, 1), EOS), torch.ones(rows, dtype=torch.int64))
    return decoder.prepare([nothing])


@torch.no_grad()
def by_definition(model, cache):
    """log p of every token of TEXT, in loops over the steps and what is in the cache."""
    source = begun(model, model.decoder)
    features, _ = model.decoder.read(TOLD[None], model.decoder.start(source), source)
    found = []
    for t, right in enumerate(TEXT.tolist()):
        p = model.decoder.readout.logits(features[0, t]).softmax(-1)[right].item()
        past = range(max(0, t - cache.size), t)
        alike = [math.exp(float(features[0, t] @ features[0, i]) / cache.temperature) for i in past]
        hits = sum(a for a, i in zip(alike, past, strict=True) if TEXT[i] == right)
        share = cache.weight * len(past) / cache.size
        found.append(math.log((1 - share) * p + share * hits / sum(alike)) if t else math.log(p))
    return torch.tensor(found)


@pytest.mark.parametrize("cache", [SMALL, Cache(size=1), Cache(size=60, temperature=2.0, weight=0.9)])
@pytest.mark.parametrize("decoder", [{}, {"layers": 2, "cell": "gru"}, {"cell": {"type": "attentive", "dim": 8}}])
@torch.no_grad()
def test_all_roads_are_graves_equations(cache, decoder):
    model = build(cache, **decoder)
    expected = by_definition(model, cache)
    teller = model.teller
    source = begun(model, teller)
    chosen, weights = teller.forced(source, TOLD[None], TEXT[None])
    torch.testing.assert_close(chosen[0], expected, atol=1e-5, rtol=1e-5)
    assert weights is None
    for searched in (teller, model.for_search()[1]):
        source = begun(model, searched)
        state, found = searched.start(source), []
        for token, right in zip(TOLD, TEXT, strict=True):
            output, state = searched.step(token[None], state, source)
            assert output.normalized and output.scores.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
            found.append(output.scores[0, right])
        torch.testing.assert_close(torch.stack(found), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 5, 13, 49, 50, 300])
@torch.no_grad()
def test_a_text_has_one_number_in_chunks_of_any_size(chunk, monkeypatch):
    monkeypatch.setattr("regard.decode.cache.QUERIES", 7)
    model = build()
    teller = model.teller
    source = begun(model, teller)
    state, found, ranks = teller.start(source), [], []
    for before, after in zip(TOLD.split(chunk), TEXT.split(chunk), strict=True):
        log_probs, first, state = teller.read_told(before[None], after[None], state, source)
        found.append(log_probs)
        ranks.append(first)
    torch.testing.assert_close(torch.cat(found), by_definition(model, SMALL), atol=1e-5, rtol=1e-5)
    state, hits = teller.start(source), 0
    for token, right in zip(TOLD, TEXT, strict=True):
        output, state = teller.step(token[None], state, source)
        hits += int(output.scores.argmax() == right)
    assert int(torch.cat(ranks).sum()) == hits


def test_rows_that_search_drops_take_their_cache_with_them():
    model = build(Cache(size=5, temperature=0.5, weight=0.6))
    beams = SearchConfig(beam=4, n_best=4, max_length=12, min_length=6)
    beams = beams.model_copy(update={"max_length_ratio": 0.0, "max_length_extra": 12})
    [found] = decode_sentences(*model.for_search(), [[]], beams, prefix=[TEXT[:5].tolist()])
    assert len({tuple(one.tokens) for one in found}) == 4
    for one in found:
        told, right = torch.tensor([[BOS, *one.tokens]]), torch.tensor([[*one.tokens, EOS]])
        with torch.no_grad():
            chosen, _ = model.teller.forced(begun(model, model.teller), told, right)
        steps = len(one.token_log_probs)
        torch.testing.assert_close(torch.tensor(one.token_log_probs), chosen[0, :steps], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_is_told_does_not_depend_on_what_it_is_told_with():
    model = build()
    teller, long = model.teller, TEXT[:40].tolist()
    told = torch.tensor([[BOS, *long], [BOS, *long[:7], *[PAD] * 33]])
    right = torch.tensor([[*long, EOS], [*long[:7], EOS, *[PAD] * 33]])
    both, _ = teller.forced(begun(model, teller, 2), told, right)
    alone, _ = teller.forced(begun(model, teller, 2), told[[1, 1], :8], right[[1, 1], :8])
    torch.testing.assert_close(both[1, :8], alone[1], atol=1e-6, rtol=1e-6)
    assert not both[1, 8:].any() and (both <= 0).all()


def test_an_ensemble_has_a_cache_for_each():
    models = [build(), build(Cache(size=4, weight=0.5), hidden=24)]
    ensemble = Ensemble([model.for_search()[1] for model in models])
    source = ensemble.prepare(
        [[model.encode(torch.full((1, 1), EOS), torch.ones(1, dtype=torch.int64))] for model in models]
    )
    state, found = ensemble.start(source), []
    with torch.no_grad():
        for token, right in zip(TOLD, TEXT, strict=True):
            output, state = ensemble.step(token[None], state, source)
            found.append(output.scores[0, right])
    each = torch.stack([by_definition(model, model.config.cache) for model in models])
    torch.testing.assert_close(torch.stack(found), each.logsumexp(0) - math.log(2), atol=1e-5, rtol=1e-5)


def test_training_and_weights_know_nothing_of_it():
    with_one, bare = build(), build(cache="none")
    assert bare.teller is bare.decoder and isinstance(with_one.teller, CachedDecoder)
    assert with_one.state_dict().keys() == bare.state_dict().keys()


def test_a_model_without_kernels_has_the_same_numbers():
    cached = build().teller
    rows = 3
    draw = torch.Generator().manual_seed(1)
    written = torch.randn(rows, VOCAB, generator=draw).log_softmax(-1)
    query, keys = torch.randn(rows, 16, generator=draw), torch.randn(rows, 9, 16, generator=draw)
    followed = torch.randint(0, VOCAB, (rows, 9), generator=draw)
    fast = cached._mixed(written, query, keys, followed)
    plain = cached._mixed(written.double(), query.double(), keys.double(), followed)
    torch.testing.assert_close(fast.double(), plain, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"cache": {}}, "encoder is birnn: leave it out"),
        ({"cache": {"weight": 1.0}, "encoder": "none", "attention": "none"}, "less than 1"),
        ({"cache": {"size": 0}, "encoder": "none", "attention": "none"}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_have_one(model, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate(model)
