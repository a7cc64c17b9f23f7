"""The packed forms for decoding: the plain ones to rounding, and every row the same bits in any company."""

import itertools

import pytest
import torch
from tests.covering import slow

from regard.attend import SCORES
from regard.data.tokenizer import TURN_END
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences, sorted_batches
from regard.decode.ensemble import Ensemble
from regard.decode.lanes import row_multiple
from regard.decode.packed import PackedDecoder
from regard.encode import segment_ids
from regard.encode.packed import PackedBiRNN, PackedHierarchical, packs_encoder
from regard.model import Seq2Seq, seeded
from regard.model_config import ModelConfig
from regard.ops import native
from regard.ops.packed import PackedLinear

pytestmark = pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")

VOCAB = 37
TURNS = {"type": "hierarchical", "memory": "bottom", "pooling": {"type": "attention", "dim": 24}}
CONVERSATIONS = [[5, 6, TURN_END, 7, 8], [9], [], [10, TURN_END], [*range(5, 30), TURN_END, 5, TURN_END, 6, 7, 8]]
SOURCES = [[5, 6, 7, 8], [9], [], [10, 11, 12, 13, 14, 15], [*range(5, 36)], [6, 6, 6, 6], [5, 9] * 21]


def build(**keys):
    sizes = {"encoder": {"hidden": 16}, "decoder": {"hidden": 24}, "attention": {"dim": 32}}
    for part, own in keys.items():
        sizes[part] = {**sizes[part], **own} if isinstance(own, dict) and part in sizes else own
    config = ModelConfig.model_validate({"embed": 12, **sizes})
    model = seeded(3, Seq2Seq, config, source_vocab=VOCAB, target_vocab=VOCAB).eval()
    with torch.no_grad():  # as far from uniform as after training
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


def batch(sources=SOURCES):
    lengths = torch.tensor([len(source) + 1 for source in sources])
    ids = torch.zeros(len(sources), int(lengths.max()), dtype=torch.int64)
    for row, source in enumerate(sources):
        ids[row, : len(source) + 1] = torch.tensor([*source, 3])
    return ids, lengths


@pytest.mark.parametrize("columns", [1, 16, 37, 100])
def test_a_packed_product_is_the_product_and_its_rows_are_alone(columns):
    draw = torch.Generator().manual_seed(1)
    one, two = (torch.randn(columns, inner, generator=draw) for inner in (7, 12))
    bias, x = torch.randn(columns, generator=draw), torch.randn(23, 19, generator=draw)
    linear = PackedLinear(one, two, bias=bias)
    whole = linear(x)
    exact = x.double() @ torch.cat([one, two], 1).double().T + bias.double()
    torch.testing.assert_close(whole.double(), exact, atol=1e-5, rtol=1e-5)
    for rows in range(1, 23):
        assert torch.equal(linear(x[:rows]), whole[:rows]) and torch.equal(linear(x[rows:]), whole[rows:])


def test_an_addend_takes_the_place_of_the_bias():
    draw = torch.Generator().manual_seed(1)
    weight, x, addend = (torch.randn(*shape, generator=draw) for shape in [(32, 5), (9, 5), (9, 32)])
    torch.testing.assert_close(PackedLinear(weight)(x, addend), torch.addmm(addend, x, weight.T))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("keys", [{}, {"layers": 3, "residual": True}, {"bidirectional": False, "layers": 2}])
def test_the_encoder(keys, cell):
    model = build(encoder={**keys, "cell": cell})
    ids, lengths = batch()
    x = model.source_embedding(ids).detach()
    with torch.inference_mode():
        plain, packed = model.encoder(x, lengths), PackedBiRNN(model.encoder)(x, lengths)
        for name in ("values", "summary"):
            torch.testing.assert_close(getattr(packed, name), getattr(plain, name), atol=1e-5, rtol=1e-5)
        assert torch.equal(packed.src_valid, plain.src_valid) and torch.equal(packed.lengths, plain.lengths)
        for row, length in enumerate(lengths.tolist()):
            one = slice(row, row + 1)
            alone = PackedBiRNN(model.encoder)(x[one, :length], lengths[one])
            assert torch.equal(alone.values[0], packed.values[row, :length])
            assert torch.equal(alone.summary[0], packed.summary[row])


@pytest.mark.parametrize("memory", ["top", "bottom"])
@pytest.mark.parametrize(
    "pooling", ["max", "last", TURNS["pooling"], {"type": "structured", "dim": 24, "hops": 3, "penalty": 0}]
)
def test_the_encoder_of_turns(pooling, memory):
    model = build(encoder={**TURNS, "memory": memory, "pooling": pooling}, attention="none")
    ids, lengths = batch(CONVERSATIONS)
    levels, packed = segment_ids(ids, [[TURN_END]]), PackedHierarchical(model.encoder)
    x = model.source_embedding(ids).detach()
    with torch.inference_mode():
        expected, found = model.encoder(x, lengths, levels=levels), packed(x, lengths, levels=levels)
        for name in ("values", "summary"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
        assert torch.equal(found.src_valid, expected.src_valid) and torch.equal(found.lengths, expected.lengths)
        for row, steps in enumerate(lengths.tolist() if memory == "bottom" else found.lengths.tolist()):
            one, length = slice(row, row + 1), int(lengths[row])
            alone = packed(x[one, :length], lengths[one], levels=levels[one, :, :length])
            assert torch.equal(alone.values[0], found.values[row, :steps])
            assert torch.equal(alone.summary[0], found.summary[row])


@pytest.mark.parametrize(
    "keys",
    [
        {"decoder": {"attend": attend, "input_feeding": feeding, **extra}}
        for attend, feeding, extra in itertools.product(
            ["before", "after"], [True, False], [{}, {"layers": 3, "residual": True, "deep_output": True}]
        )
    ]
    + [{"attention": {"score": score}} for score, part in SCORES.items() if score != "dot" and part.fast]
    + [{"decoder": {"cell": "gru", **extra}} for extra in ({}, {"layers": 2, "attend": "before"})]
    + [{"attention": {"score": "dot"}, "decoder": {"hidden": 32}}, {"attention": "none"}, {"tie": "none"}],
)
def test_a_step_of_the_decoder(keys):
    model = build(**keys)
    ids, lengths = batch()
    with torch.inference_mode():
        memory = model.encode(ids, lengths)
        plain, packed = model.decoder, PackedDecoder(model.decoder)
        sources = [decoder.prepare([memory]) for decoder in (plain, packed)]
        states = [decoder.start(source, 2) for decoder, source in zip((plain, packed), sources, strict=True)]
        for token in (2, 8, 9, 4):
            tokens = torch.full((2 * len(lengths),), token)
            expected, states[0] = plain.step(tokens, states[0], sources[0])
            found, states[1] = packed.step(tokens, states[1], sources[1])
            torch.testing.assert_close(found.scores, expected.scores, atol=2e-5, rtol=1e-5)
            assert (found.weights is None) == (expected.weights is None)
            if found.weights is not None:
                torch.testing.assert_close(found.weights, expected.weights, atol=1e-5, rtol=1e-5)
        assert states[0].keys() == states[1].keys()


@pytest.mark.parametrize(
    ("keys", "encoder", "decoder"),
    [
        ({}, True, True),
        ({"encoder": {"cell": "gru"}}, True, True),
        ({"encoder": {"cell": "rnn"}}, False, True),
        ({"encoder": {"hidden": 12}, "attention": {"dim": 32}}, False, True),
        ({"decoder": {"cell": "gru"}}, True, True),
        ({"decoder": {"cell": "rnn"}}, True, False),
        ({"attention": {"scope": "window"}}, True, False),
        ({"attention": {"heads": 2}}, True, False),
        ({"attention": {"dim": 12}}, True, False),
        ({"encoder": TURNS}, True, True),
        ({"encoder": {**TURNS, "cell": "rnn"}}, False, True),
        ({"encoder": {**TURNS, "pooling": "mean"}}, False, True),
        ({"encoder": {**TURNS, "pooling": {"dim": 12}}}, False, True),
        ({"encoder": {**TURNS, "pooling": {"dim": 24, "normalizer": "sparsemax"}}}, False, True),
        ({"encoder": "none", "attention": "none"}, True, True),
    ],
)
def test_what_has_a_packed_form(keys, encoder, decoder):
    model = build(**keys)
    assert (packs_encoder(model.encoder), PackedDecoder.takes(model.decoder)) == (encoder, decoder)
    assert isinstance(model.for_search()[1], PackedDecoder) == (encoder and decoder)
    assert not isinstance(model.double().for_search()[1], PackedDecoder)


@pytest.mark.parametrize(("score", "cell"), [("additive", "lstm"), slow("general", "lstm"), slow("additive", "gru")])
@pytest.mark.parametrize(
    "search",
    [
        {"beam": 4, "n_best": 3},
        slow({"method": "greedy"}),
        slow({"beam": 3, "coverage_penalty": 0.3}),
        slow({"method": "sample", "n_best": 2, "top_k": 9}),
    ],
)
def test_outputs_are_the_same_bits_in_any_batch_on_any_threads(search, score, cell):
    keys = {"attention": {"score": score}, "encoder": {"cell": cell}, "decoder": {"cell": cell}}
    the_same_in_any_batch(build(**keys), SOURCES, SearchConfig.model_validate({"max_length": 12, **search}))


@pytest.mark.parametrize("attention", [{}, "none"])
def test_replies_are_the_same_bits_in_any_batch_on_any_threads(attention):
    the_same_in_any_batch(build(encoder=TURNS, attention=attention), CONVERSATIONS, SearchConfig(beam=3, max_length=12))


@pytest.mark.parametrize("cache", ["none", {"size": 11, "temperature": 1.5}])
def test_what_is_written_is_the_same_bits_in_any_batch_on_any_threads(cache):
    model = build(encoder="none", attention="none", decoder={"hidden": 24, "input_feeding": False}, cache=cache)
    config = SearchConfig(method="sample", max_length=30, min_length=20)
    the_same_in_any_batch(model, [[]] * len(SOURCES), config, prefix=SOURCES)


def the_same_in_any_batch(model, sources, config, prefix=None):
    parts, before, found = model.for_search(), torch.get_num_threads(), []
    assert row_multiple(parts[1]) == 1
    try:
        for threads, size in itertools.product((1, 2, 3), (1, 2, 5, 64)):
            torch.set_num_threads(threads)
            done: list[int] = []
            found.append(
                decode_sentences(
                    *parts,
                    sources,
                    config,
                    batch_sentences=size,
                    prefix=prefix,
                    keep_weights=model.config.attention is not None,
                    done=done.append,
                )
            )
            assert sum(done) == len(sources) and torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    plain = decode_sentences(lambda *x: [model.encode(*x)], model.teller, sources, config, prefix=prefix)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert [(x.tokens, x.score, x.token_log_probs) for x in one] == [
                (x.tokens, x.score, x.token_log_probs) for x in two
            ]
            assert all(same(x.weights, y.weights) for x, y in zip(one, two, strict=True))
    for one, two in zip(found[0], plain, strict=True):
        assert one[0].tokens == two[0].tokens and one[0].score == pytest.approx(two[0].score, abs=1e-5)


def same(one, two):
    return one is two if one is None or two is None else torch.equal(one, two)


def test_an_ensemble_of_five_is_the_same_bits_in_any_batch():
    """Torch sums five terms or more in an order that depends on the column."""
    models = [build(embed=8 + 8 * i) for i in range(5)]
    parts = [model.for_search() for model in models]
    ensemble = Ensemble([decoder for _, decoder in parts])
    assert ensemble.rows_alone and not Ensemble([models[0].decoder]).rows_alone
    found = [
        decode_sentences(
            lambda *x: [encode(*x) for encode, _ in parts],
            ensemble,
            SOURCES,
            SearchConfig(beam=3, max_length=9),
            batch_sentences=size,
        )
        for size in (1, 3, 64)
    ]
    assert all([(x.tokens, x.token_log_probs) for [x] in one] == [(x.tokens, x.token_log_probs) for [x] in found[0]]
               for one in found)  # fmt: skip


def test_batches_by_length_hold_every_sentence_once():
    lengths = [3, 5, 3, 0, 5]
    batches = list(sorted_batches(lengths, 2))
    assert batches == [[1, 4], [0, 2], [3]]
