"""A decoder that reads two memories, in every way of combining them: its roads are one, and search works as ever."""

import itertools

import pytest
import torch
from tests import covering

from regard.attend import COMBINATIONS, Attention
from regard.attend.memory import Memory, select_memory, valid_steps
from regard.cells import CELLS
from regard.data.tokenizer import EOS
from regard.decode import DECODERS, Ensemble, SearchConfig, score_targets, search
from regard.decode.bridge import Bridge
from regard.decode.embedding import Embedding
from regard.decode.packed import PackedDecoder
from regard.decode.readout import SoftmaxReadout
from regard.ops import native
from regard.ops.noise import Noise

VOCAB, EMBED, HIDDEN, DIMS = 13, 8, 16, (16, 8)
F64 = torch.float64
TARGETS = torch.tensor([[2, 5, 6, 7], [2, 9, 10, 4], [2, 8, 4, 3]])
FIRST, SECOND = (5, 3, 2), (2, 4, 0)


def memories(first=FIRST, second=SECOND, dtype=F64):
    draw, found = torch.Generator().manual_seed(0), []
    for dim, lengths in zip(DIMS, map(torch.tensor, (first, second)), strict=True):
        steps = max(int(lengths.max()), 1)
        values = torch.randn(len(lengths), steps, dim, generator=draw, dtype=F64).to(dtype)
        summary = torch.randn(len(lengths), 2, 3, generator=draw, dtype=F64).to(dtype)
        found.append(Memory(values, valid_steps(lengths, steps), lengths, summary))
    return found


def build(way="concat", attention=None, count=2, seed=1, dtype=F64, dropout=0.5, **config):
    torch.manual_seed(seed)
    embedding = Embedding(VOCAB, EMBED)
    kind, part = DECODERS["recurrent"], COMBINATIONS[way]
    return kind(
        kind.Config.model_validate({"hidden": HIDDEN, **config}),
        embedding=embedding,
        readout=SoftmaxReadout(HIDDEN, embedding, tied=True),
        attention=Attention.Config.model_validate({"dim": 16, **(attention or {})}),
        memory_dims=DIMS[:count],
        summary_size=6 * count,
        combine=part.Config(),
        dropout=dropout,
    ).to(dtype)


def stepwise(decoder, source, inputs, noise=None):
    state, logits, weights = decoder.start(source), [], []
    for t, tokens in enumerate(inputs.unbind(1)):
        output, state = decoder.step(tokens, state, source, None if noise is None else noise.under(f"step.{t}"))
        logits.append(output.scores)
        weights.append([output.weights, output.aux["weights.1"]])
    return torch.stack(logits, 1), [torch.stack(each, 1) for each in zip(*weights, strict=True)]


def alone(each, row):
    one = select_memory(each, torch.tensor([row]))
    steps = max(int(one.lengths[0]), 1)
    return Memory(one.values[:, :steps], one.src_valid[:, :steps], one.lengths, one.summary)


ATTENTIONS = {
    "plain": {},
    "general": {"score": "general"},
    "entmax15": {"normalizer": "entmax15"},
    "heads": {"heads": 2},
    "coverage": {"coverage": {"type": "sum", "loss": 1.0}},
    "hard": {"normalizer": "hard"},
    "location": {"score": {"type": "location", "filters": 2, "width": 1}},
    "mocha": {"normalizer": {"type": "mocha", "chunk": 2}},
}
ORDERED = ("location", "mocha")
AXES = {
    "way": list(COMBINATIONS),
    "attend": ["after", "before"],
    "input_feeding": [True, False],
    "attention": list(ATTENTIONS),
}


def legal(case):
    return case["way"] != "flat" or case["attention"] not in ORDERED


CASES = list(covering.product(AXES, legal))


@pytest.mark.parametrize("case", covering.params(covering.cases(AXES, legal), CASES))
def test_step_equals_teacher_forced_and_alone_equals_batched(case, no_shape_checks):
    """The last row has no second memory."""
    config = {name: case[name] for name in ("attend", "input_feeding")}
    decoder = build(case["way"], ATTENTIONS[case["attention"]], **config)
    source = decoder.prepare(memories())
    features, trace = decoder.teacher_forced(source, TARGETS, keep_weights=True)
    logits, weights = stepwise(decoder, source, TARGETS)
    torch.testing.assert_close(decoder.readout.logits(features), logits)
    torch.testing.assert_close(trace.weights, weights[0])
    assert (weights[1][2] == 0).all()
    if case["way"] != "concat" and case["attention"] not in ("mocha",):
        total = weights[0].sum(-1) + weights[1].sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total))
    for row in range(3):
        own = decoder.prepare([alone(each, row) for each in memories()])
        torch.testing.assert_close(decoder.teacher_forced(own, TARGETS[row : row + 1])[0][0], features[row])
        chosen = source.select(torch.tensor([row]))
        torch.testing.assert_close(decoder.teacher_forced(chosen, TARGETS[row : row + 1])[0][0], features[row])
    sampling = build(case["way"], ATTENTIONS[case["attention"]], dropout=0.0, **config)
    source = sampling.prepare(memories())
    noisy, _ = sampling.teacher_forced(source, TARGETS, Noise(1, 1))
    torch.testing.assert_close(sampling.readout.logits(noisy), stepwise(sampling, source, TARGETS, Noise(1, 1))[0])


@pytest.mark.parametrize(("way", "attention"), sorted({(case["way"], case["attention"]) for case in CASES}))
def test_the_loss_of_a_batch_is_that_of_its_rows(way, attention, no_shape_checks):
    """With penalties and what was sampled; what stands on padding, and in a summary that is none, changes nothing."""
    decoder = build(way, ATTENTIONS[attention], dropout=0.0)
    given, samples = memories(), attention == "hard"

    def loss(given, rows=slice(0, 3)):
        told = TARGETS[rows]
        valid = torch.ones(told.shape, dtype=torch.bool)
        noise = Noise(1, 1) if samples else None
        found = decoder.loss(decoder.prepare(given), told, told.roll(-1, 1), valid, noise=noise).loss
        grads = torch.autograd.grad(found, list(decoder.parameters()), allow_unused=True, materialize_grads=True)
        return [found.detach(), *grads]

    whole = loss(given)
    assert all(torch.isfinite(each).all() for each in whole)
    junk = []
    for each in given:
        values = each.values.masked_fill(~each.src_valid[..., None], 1e3)
        summary = each.summary.masked_fill((each.lengths == 0)[:, None, None], float("nan"))
        junk.append(Memory(values, each.src_valid, each.lengths, summary))
    torch.testing.assert_close(loss(junk), whole)
    if not samples:  # which is done for a whole batch
        rows = [loss([alone(each, row) for each in given], slice(row, row + 1)) for row in range(3)]
        torch.testing.assert_close([sum(parts) for parts in zip(*rows, strict=True)], whole)


@pytest.mark.parametrize("way", COMBINATIONS)
def test_kernels_and_the_plain_form_agree(way):
    """In float32, where a batch without padding has a fast form, and one with padding may have."""
    found = []
    for dtype, (first, second) in itertools.product((F64, torch.float32), [((4, 4, 4), (3, 3, 3)), (FIRST, SECOND)]):
        decoder = build(way, dtype=dtype)
        source = decoder.prepare(memories(first, second, dtype))
        features, _ = decoder.teacher_forced(source, TARGETS)
        found.append(features.double())
        grads = torch.autograd.grad(features.square().sum(), list(decoder.parameters()), allow_unused=True)
        found.append(torch.cat([grad.double().flatten() for grad in grads if grad is not None]))
    for plain, fast in zip(found[:4], found[4:], strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)  # float32
    if native.kernels() is not None:
        loops = [
            part.loop
            for part in build(way, dtype=torch.float32).prepare(memories((4,), (3,), torch.float32)).attended.parts
        ]
        assert loops and all(loop is not None for loop in loops)


# Search


SEARCHES = [{"beam": 3, "n_best": 3}, {"method": "greedy"}, {"method": "sample", "n_best": 2}]
MANY = [5, 3, 2, 4, 1, 5, 2, 3, 4], [2, 4, 0, 1, 3, 3, 0, 2, 4]


@pytest.mark.parametrize("options", SEARCHES, ids=str)
@pytest.mark.parametrize("way", COMBINATIONS)
def test_search(way, options, no_shape_checks):
    """Alone as in the batch, and its scores are those of the outputs told."""
    decoder, config = build(way), SearchConfig(max_length=6, **options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(2.0)  # as far from uniform as after training
        decoder.readout.bias[EOS] += 2.0  # and ending about as soon
    given = memories(*MANY)
    source = decoder.prepare(given)
    found = search(decoder, source, config, keep_weights=True)
    for row, outputs in enumerate(found):
        own = decoder.prepare([alone(each, row) for each in given])
        [single] = search(decoder, own, config, ids=[row], keep_weights=True)
        assert [one.tokens for one in single] == [one.tokens for one in outputs]
        for one, other in zip(single, outputs, strict=True):
            assert one.score == pytest.approx(other.score, rel=1e-9)
            torch.testing.assert_close(one.weights, other.weights)
            assert one.weights.shape[1] == MANY[0][row]
    ended = [(row, outputs[0]) for row, outputs in enumerate(found) if outputs[0].finished]
    assert ended, "or there is nothing to compare"
    chosen = source.select(torch.tensor([row for row, _ in ended]))
    told = score_targets(decoder, chosen, [output.tokens for _, output in ended], config)
    for (_, output), again in zip(ended, told, strict=True):
        assert again.log_prob == pytest.approx(output.log_prob, rel=1e-9)


def test_an_ensemble_of_ways_is_the_mean_of_their_probabilities(no_shape_checks):
    decoders = [build(way, seed=seed) for seed, way in enumerate(COMBINATIONS)]
    both, given = Ensemble(decoders), memories(*MANY)
    source = both.prepare([given] * 3)
    targets = [[5, 6], [7], [8, 4, 9]] * 3
    told = score_targets(both, source, targets)
    for row, target in enumerate(targets):
        inputs, right = torch.tensor([[2, *target]]), torch.tensor([[*target, EOS]])
        with torch.no_grad():
            sources = [decoder.prepare([alone(each, row) for each in given]) for decoder in decoders]
            chosen = [one.forced(own, inputs, right)[0] for one, own in zip(decoders, sources, strict=True)]
        mean = torch.stack(chosen).logsumexp(0) - torch.tensor(3.0).log()
        assert told[row].log_prob == pytest.approx(float(mean.sum()), rel=1e-6)
    found = search(both, source, SearchConfig(beam=2, max_length=5), keep_weights=True)
    again = search(both, source.select(torch.tensor([3])), SearchConfig(beam=2, max_length=5))
    assert again[0][0].tokens == found[3][0].tokens and found[3][0].weights.shape[1] == MANY[0][3]


# Packed, saved, and as it was


@pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")
def test_the_packed_decoder_takes_concat_and_reads_what_is_there():
    assert [PackedDecoder.takes(build(way, dtype=torch.float32)) for way in COMBINATIONS] == [True, False, False]
    plain = build(dtype=torch.float32)
    packed, given = PackedDecoder(plain), memories(dtype=torch.float32)
    with torch.inference_mode():
        sources = [decoder.prepare(given) for decoder in (plain, packed)]
        states = [decoder.start(source, 2) for decoder, source in zip((plain, packed), sources, strict=True)]
        for token in (2, 8, 9, 4):
            tokens = torch.full((6,), token)
            expected, states[0] = plain.step(tokens, states[0], sources[0])
            found, states[1] = packed.step(tokens, states[1], sources[1])
            torch.testing.assert_close(found.scores, expected.scores, atol=2e-5, rtol=1e-5)
            torch.testing.assert_close(found.weights, expected.weights, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found.aux["weights.1"], expected.aux["weights.1"], atol=1e-5, rtol=1e-5)
            assert (found.aux["weights.1"][4:] == 0).all()
        one = packed.prepare([alone(each, 2) for each in given])
        state = packed.start(one)
        for token in (2, 8, 9, 4):
            output, state = packed.step(torch.tensor([token]), state, one)
        assert torch.equal(output.scores[0], found.scores[4])


@pytest.mark.parametrize("way", COMBINATIONS)
def test_saved_and_loaded(way, tmp_path):
    from safetensors.torch import load_file, save_file

    decoder, other = build(way), build(way, seed=2)
    weights = {name: x.clone() for name, x in decoder.state_dict().items()}  # tied tables are one
    save_file(weights, tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    found = [each.teacher_forced(each.prepare(memories()), TARGETS)[0] for each in (decoder, other)]
    assert torch.equal(*found)
    assert all(f"attentions.{index}.score.query.weight" in weights for index in range(1 if way == "flat" else 2))


@pytest.mark.parametrize("way", COMBINATIONS)
def test_with_one_memory_names_first_weights_and_outputs_are_those_of_plain_attention(way):
    """Put together here from its parts, in the order in which they draw their first weights."""
    decoder = build(way, count=1, dropout=0.0)
    torch.manual_seed(1)
    embedding = Embedding(VOCAB, EMBED)
    readout = SoftmaxReadout(HIDDEN, embedding, tied=True)
    attention = Attention(Attention.Config(dim=16), query_dim=HIDDEN, memory_dim=DIMS[0])
    cell = CELLS["lstm"](CELLS["lstm"].Config(), EMBED + HIDDEN, HIDDEN)
    bridge = Bridge(6, hidden=HIDDEN, names=[cell.given_names])
    combine = torch.nn.Linear(HIDDEN + DIMS[0], HIDDEN)
    parts = {"embedding": embedding, "readout": readout, "attentions.0": attention, "cells.0": cell, "bridge": bridge}
    parts["combine"] = combine
    expected = {f"{of}.{name}": x for of, part in parts.items() for name, x in part.double().state_dict().items()}
    assert list(decoder.state_dict()) == list(expected)
    assert all(torch.equal(x, expected[name]) for name, x in decoder.state_dict().items())

    (given, _) = memories()
    source = decoder.prepare([given])
    found, trace = decoder.teacher_forced(source, TARGETS, keep_weights=True)
    state, features = bridge(given.summary.flatten(1)), torch.zeros(3, HIDDEN, dtype=F64)
    state, attended = (state["h.0"], state["c.0"]), attention.prepare(given)
    assert set(decoder.start(source)) == {"h.0", "c.0", "features"}
    for t, tokens in enumerate(TARGETS.unbind(1)):
        state = cell.step(torch.cat([embedding(tokens), features], 1), state)
        context, weights, _, _ = attention(state[0][:, None], attended, {})
        features = torch.tanh(combine(torch.cat([state[0], context[:, 0]], 1)))
        torch.testing.assert_close(found[:, t], features)
        torch.testing.assert_close(trace.weights[:, t], weights[:, 0])
