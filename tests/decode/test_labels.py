"""Decisions as outputs: probabilities of labels and of sets, by enumeration and against torch's losses."""

import itertools
import math

import pytest
import torch
from tests.decode.test_recurrent import EMBED, HIDDEN, MEMORY, memory
from torch.nn import functional as F

from regard.attend import POOLINGS, Attention
from regard.attend.memory import Memory
from regard.data.config import BYTES, SPECIALS
from regard.data.tokenizer import BOS, EOS, PAD, UNK
from regard.decode import Ensemble, LabelDecoder, SearchConfig, search
from regard.decode.embedding import Embedding
from regard.decode.ensemble import EnsembleSource
from regard.decode.packed_labels import PackedLabelDecoder
from regard.decode.readout import SoftmaxReadout
from regard.decode.sets import likeliest_sets
from regard.encode import Hierarchical
from regard.encode.packed import pack_encoder, packs_encoder
from regard.model_config import ModelConfig
from regard.ops import native
from regard.ops.noise import Noise
from regard.ops.packed import PackedLinear

FIRST = SPECIALS + BYTES
LABELS = 4
SETS = [each for count in range(LABELS + 1) for each in itertools.combinations(range(LABELS), count)]


def build(pooling="attention", dropout=0.0, memory_dim=MEMORY, summary_size=6, **config):
    torch.manual_seed(1)
    embedding = Embedding(FIRST + LABELS, EMBED)
    sizes = {"attention": {"dim": 8}, "structured": {"dim": 8, "hops": 2}}
    decoder = LabelDecoder(
        LabelDecoder.Config.model_validate(
            {"hidden": HIDDEN, "pooling": {"type": pooling, **sizes.get(pooling, {})}, **config}
        ),
        embedding=embedding,
        readout=SoftmaxReadout(HIDDEN, embedding, tied=True),
        attention=None,
        memory_dims=[memory_dim],
        summary_size=summary_size,
        dropout=dropout,
    ).double()
    with torch.no_grad():
        decoder.readout.table.weight.mul_(3)  # so that decisions are far from even
        decoder.readout.bias.normal_()
    return decoder


def of(*sets):
    """Sets of labels as target_in and target_out."""
    longest = max(map(len, sets)) + 1
    inputs, outputs = torch.full((len(sets), longest), PAD), torch.full((len(sets), longest), PAD)
    for row, labels in enumerate(sets):
        tokens = torch.tensor([FIRST + label for label in labels], dtype=torch.int64)
        inputs[row, 0], inputs[row, 1 : len(labels) + 1] = BOS, tokens
        outputs[row, : len(labels)], outputs[row, len(labels)] = tokens, EOS
    return inputs, outputs


def log_prob(decoder, source, *sets):
    inputs, outputs = of(*sets)
    found, _ = decoder.forced(source, inputs, outputs)
    return found.masked_fill(outputs == PAD, 0.0).sum(1)


def sets_loss(decoder, source, targets, **more):
    inputs, outputs = of(*targets)
    return decoder.loss(source, inputs, outputs, outputs != PAD, **more)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_label_is_a_softmax_and_its_loss_torchs_cross_entropy(pooling):
    decoder = build(pooling)
    given = memory()
    source = decoder.prepare([given])
    pooled = decoder.pooling(given)
    logits = decoder.readout.logits(torch.tanh(decoder.hidden(pooled.vector)))
    logits = logits[:, [UNK, *range(FIRST, FIRST + LABELS)]]
    for label in range(LABELS):
        found = log_prob(decoder, source, (label,), (label,))
        torch.testing.assert_close(found, logits.log_softmax(-1)[:, label + 1])
    right, importance = torch.tensor([3, 0]), torch.rand(FIRST + LABELS, dtype=torch.float64)
    penalty = 0.0 if pooled.penalty is None else pooled.penalty.sum()
    found = sets_loss(decoder, source, [(3,), (0,)], importance=importance)
    weight = importance[[UNK, *range(FIRST, FIRST + LABELS)]]
    expected = F.cross_entropy(logits, right + 1, weight=weight, reduction="none").sum()
    torch.testing.assert_close(found.loss, expected + penalty)
    torch.testing.assert_close(found.nll, F.cross_entropy(logits, right + 1, reduction="sum"))
    smooth = sets_loss(decoder, source, [(3,), (0,)], smoothing=0.2)
    mean = -logits.log_softmax(-1)[:, 1:].mean(-1).sum()
    torch.testing.assert_close(smooth.loss, 0.8 * found.nll + 0.2 * mean + penalty)
    assert int(found.correct) == 2 + int((logits.argmax(-1) == right + 1).sum())


def test_sets_have_the_probability_of_their_decisions_and_in_sum_one():
    decoder = build(several=True)
    source = decoder.prepare([memory()])
    logits = decoder.readout.logits(torch.tanh(decoder.hidden(source.vector)))[:, FIRST:]
    total = 0.0
    for labels in SETS:
        there = torch.tensor([float(label in labels) for label in range(LABELS)], dtype=torch.float64).expand(2, -1)
        expected = -F.binary_cross_entropy_with_logits(logits, there, reduction="none").sum(1)
        torch.testing.assert_close(log_prob(decoder, source, labels, labels), expected)
        found = sets_loss(decoder, source, [labels, labels])
        torch.testing.assert_close(found.loss, -expected.sum())
        total = total + expected.exp()
    torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64))


def test_a_beam_finds_the_likeliest_sets_in_order():
    decoder = build(several=True).float()
    given = memory()
    given = Memory(given.values.float(), given.src_valid, given.lengths, given.summary.float())
    source = decoder.prepare([given])
    config = SearchConfig(beam=2**LABELS, n_best=2**LABELS, length_penalty=0.0, stop="bound")
    for row, found in enumerate(search(decoder, source, config, keep_weights=True)):
        alone = source.select(torch.tensor([row]))
        scores = {labels: log_prob(decoder, alone, labels).item() for labels in SETS}
        expected = sorted(SETS, key=lambda labels: -scores[labels])
        assert [tuple(token - FIRST for token in one.tokens) for one in found] == expected
        assert [one.score for one in found] == pytest.approx([scores[labels] for labels in expected], abs=1e-5)
        torch.testing.assert_close(found[0].weights[0], source.weights[row][given.src_valid[row]])


@pytest.mark.parametrize("several", [False, True])
def test_importance_and_smoothing_of_sets_and_gradients(several):
    decoder = build("structured", several=several)
    given = memory()
    targets = [(0, 2), ()] if several else [(2,), (1,)]
    importance = torch.rand(FIRST + LABELS, dtype=torch.float64)

    def loss(values):
        changed = Memory(values, given.src_valid, given.lengths, given.summary)
        source = decoder.prepare([changed])
        return sets_loss(decoder, source, targets, smoothing=0.1, importance=importance).loss

    assert torch.autograd.gradcheck(loss, given.values.clone().requires_grad_())
    if several:
        source = decoder.prepare([given])
        logits = decoder.readout.logits(torch.tanh(decoder.hidden(source.vector)))[:, FIRST:]
        there = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)
        weight = torch.where(there > 0, importance[FIRST:], 1.0)
        expected = F.binary_cross_entropy_with_logits(logits, 0.9 * there + 0.05, weight, reduction="sum")
        torch.testing.assert_close(loss(given.values), expected + source.penalty.sum())


def test_a_row_alone_is_the_row_in_a_batch_and_padding_has_no_weight():
    decoder = build()
    given = memory()
    source = decoder.prepare([given])
    assert (source.weights[1, 3:] == 0).all()
    torch.testing.assert_close(source.weights.sum(1), torch.ones(2, dtype=torch.float64))
    alone = Memory(given.values[1:, :3], given.src_valid[1:, :3], given.lengths[1:], given.summary[1:])
    torch.testing.assert_close(
        log_prob(decoder, decoder.prepare([alone]), (1,)), log_prob(decoder, source, (0,), (1,))[1:]
    )


def test_words_of_sentences_are_what_is_shown():
    encoder = Hierarchical(
        Hierarchical.Config(hidden=3, pooling={"type": "attention", "dim": 4}), input_size=5
    ).double()
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    levels = torch.tensor([[[0, 0, 1, 1, 1, 2]], [[0, 0, 0, 1, 7, 7]]])
    lengths = torch.tensor([6, 4])
    decoder = build(memory_dim=encoder.dim)
    reading = encoder.read(x, lengths, levels)
    source = decoder.prepare([encoder(x, lengths, levels=levels)])
    top = decoder.pooling(reading.memory).weights.mean(1)
    torch.testing.assert_close(source.weights, reading.down(top))
    assert source.valid.tolist() == [[True] * 6, [True] * 4 + [False] * 2]
    torch.testing.assert_close(source.weights.sum(1), torch.ones(2, dtype=torch.float64))


def test_labels_never_seen_share_a_score_and_nothing_breaks():
    decoder = build()
    source = decoder.prepare([memory()])
    spelled = torch.tensor([[SPECIALS + 9, SPECIALS + 65, EOS]] * 2)
    inputs = torch.tensor([[BOS, SPECIALS + 9, SPECIALS + 65]] * 2)
    found, _ = decoder.forced(source, inputs, spelled)
    output, _ = decoder.step(torch.tensor([BOS, BOS]), decoder.start(source), source)
    torch.testing.assert_close(found[:, 0], output.scores[:, UNK])
    assert torch.isfinite(found).all() and (found[:, 0] < 0).all()
    loss = decoder.loss(source, inputs, spelled, spelled != PAD)
    torch.testing.assert_close(loss.nll, -output.scores[:, UNK].sum())
    torch.testing.assert_close(found[:, 1:], torch.zeros(2, 2, dtype=torch.float64))
    several = build(several=True)
    source = several.prepare([memory()])
    told, _ = several.forced(source, inputs, spelled)
    torch.testing.assert_close(told.sum(1), log_prob(several, source, (), ()))
    missing = several.loss(source, inputs, spelled, spelled != PAD)
    torch.testing.assert_close(missing.loss, -log_prob(several, source, (), ()).sum())


def test_dropout_is_a_function_of_the_noise():
    decoder = build(dropout=0.5)
    source = decoder.prepare([memory()])
    first, again, plain = (
        sets_loss(decoder, source, [(1,), (2,)], noise=noise).loss for noise in (Noise(1, 5), Noise(1, 5), None)
    )
    assert first == again and first != plain and math.isfinite(first.item())


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"looks once, as its pooling says: set model\.attention to none"):
        ModelConfig.model_validate({"decoder": "labels"})
    assert ModelConfig.model_validate({"decoder": "labels", "attention": "none"}).attention is None
    assert Attention.Config() is not None


@pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")
@pytest.mark.parametrize("pooling", ["attention", "structured", "max", "last"])
@pytest.mark.parametrize("several", [False, True])
def test_packed_is_the_same_to_rounding_and_the_same_bits_in_any_batch(pooling, several, no_shape_checks):
    torch.manual_seed(3)
    encoder = Hierarchical(
        Hierarchical.Config(hidden=8, pooling={"type": "attention", "dim": 8}), input_size=8
    ).requires_grad_(False)
    decoder = build(pooling, several=several, memory_dim=encoder.dim, summary_size=encoder.summary_size)
    decoder.float().requires_grad_(False)
    decoder.temperature = 1.7
    assert packs_encoder(encoder) and PackedLabelDecoder.takes(decoder)
    packed_encoder, packed = pack_encoder(encoder, PackedLinear), PackedLabelDecoder(decoder)
    lengths = torch.tensor([9, 4, 7, 1])
    x = torch.randn(4, 9, 8)
    levels = (torch.arange(9) // 3).expand(4, 1, 9).contiguous()
    source = packed.prepare([packed_encoder(x, lengths, levels=levels)])
    expected = decoder.prepare([encoder(x, lengths, levels=levels)])
    torch.testing.assert_close(packed.logits(source), decoder.logits(expected), atol=1e-5, rtol=1e-5)
    for tokens in (torch.full((4,), BOS), torch.full((4,), FIRST)):
        output, _ = packed.step(tokens, packed.start(source), source)
        plain, _ = decoder.step(tokens, decoder.start(expected), expected)
        torch.testing.assert_close(output.scores, plain.scores, atol=1e-5, rtol=1e-5)
    if expected.weights is not None:
        torch.testing.assert_close(source.weights, expected.weights, atol=1e-6, rtol=1e-5)
    for row in range(4):
        end = int(lengths[row])
        alone = packed_encoder(x[row : row + 1, :end], lengths[row : row + 1], levels=levels[row : row + 1, :, :end])
        assert torch.equal(packed.logits(packed.prepare([alone]))[0], packed.logits(source)[row])


def brute_force(odds):
    """Every set with its log-probability, the likeliest first."""
    terms = torch.stack([F.logsigmoid(-odds), F.logsigmoid(odds)])
    scored = {
        each: sum(terms[int(i in each), i].item() for i in range(len(odds)))
        for count in range(len(odds) + 1)
        for each in itertools.combinations(range(len(odds)), count)
    }
    return sorted(scored.items(), key=lambda one: -one[1])


def test_likeliest_sets_against_all_of_them():
    odds = torch.randn(3, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 2
    valid = torch.ones(3, 2, dtype=torch.bool)
    for row, found in enumerate(likeliest_sets(odds, valid, None, 70)):
        expected = brute_force(odds[row])
        assert len(found) == 64
        assert [one.log_prob for one in found] == pytest.approx([score for _, score in expected])
        assert {tuple(token - FIRST for token in one.tokens) for one in found[:5]} == {each for each, _ in expected[:5]}


def test_many_unlikely_labels_are_none_of_them():
    """Each by itself at 5 %: of ninety the first to come is likelier than that none does, and none is right."""
    odds = torch.full((1, 90), math.log(0.05 / 0.95))
    [[best]] = likeliest_sets(odds, torch.ones(1, 1, dtype=torch.bool), None, 1)
    assert best.tokens == [] and best.log_prob == pytest.approx(90 * math.log(0.95), rel=1e-5)


def test_models_that_are_sure_stay_finite_together():
    class Sure:
        def log_odds(self, source):
            return torch.tensor([[90.0, -90.0, 1.0]])

    both = Ensemble([Sure(), Sure()])
    odds = both.log_odds(EnsembleSource((None, None)))
    torch.testing.assert_close(odds, torch.tensor([[90.0, -90.0, 1.0]], dtype=torch.float64))
    [[best, other]] = likeliest_sets(odds, torch.ones(1, 1, dtype=torch.bool), None, 2)
    assert best.tokens == [FIRST, FIRST + 2] and other.tokens == [FIRST] and math.isfinite(other.log_prob)


def test_several_models_decide_by_the_mean_of_their_probabilities():
    one, two = build(several=True), build("mean", several=True)
    both = Ensemble([one, two])
    source = both.prepare([[memory()], [memory()]])
    mean = sum(decoder.logits(part).sigmoid() for decoder, part in zip(both.decoders, source.parts, strict=True)) / 2
    for row, [best] in enumerate(search(both, source, SearchConfig(length_penalty=0.0))):
        assert [token - FIRST for token in best.tokens] == (mean[row] > 0.5).nonzero()[:, 0].tolist()
