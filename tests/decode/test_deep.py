"""The deep decoder: its two roads are one, its equations are the papers', and it is searched as it is trained."""

from functools import partial

import pytest
import torch
from pydantic import ValidationError
from tests import covering
from tests.decode.test_recurrent import ATTENTIONS, HIDDEN, MEMORY, TARGETS, memory, stepwise
from tests.decode.test_recurrent import build as build_layered
from tests.test_model import encode, reversals, tiny

from regard.attend import Attention
from regard.attend.memory import Memory
from regard.decode import DECODERS, SearchConfig, select
from regard.decode.engine import decode_sentences
from regard.decode.packed import PackedDecoder
from regard.ops.dropout import sequence_dropout
from regard.ops.noise import Noise
from regard.predict.forced import score_forced

KIND = DECODERS["deep"]
AXES = {
    "attention": [name for name in ATTENTIONS if name != "none"],
    "cell": covering.CELLS,
    "context_feeding": [True, False],
    "output_context": [True, False],
    "residual": [False, True],
    "deep_output": [False, True],
    "top": [None, "gru"],
}
CASES = covering.cases(AXES)
EVERY = covering.params(CASES, [])


build = partial(build_layered, kind=KIND)


def decoder_of(case, **config):
    settings = {name: value for name, value in case.items() if name != "attention"}
    return build(ATTENTIONS[case["attention"]], **settings, **config)


@pytest.mark.parametrize("case", EVERY)
def test_step_equals_teacher_forced_and_alone_equals_batched(case, no_shape_checks):
    decoder = decoder_of(case)
    source = decoder.prepare([memory()])
    features, trace = decoder.teacher_forced(source, TARGETS, keep_weights=True)
    logits, weights = stepwise(decoder, source, TARGETS)
    torch.testing.assert_close(decoder.readout.logits(features), logits)
    torch.testing.assert_close(trace.weights, weights)
    one = memory()
    alone = Memory(one.values[1:, :3], one.src_valid[1:, :3], one.lengths[1:], one.summary[1:])
    again, _ = decoder.teacher_forced(decoder.prepare([alone]), TARGETS[1:])
    torch.testing.assert_close(again, features[1:])


@pytest.mark.parametrize("case", EVERY)
def test_step_equals_teacher_forced_with_the_same_noise(case, no_shape_checks):
    decoder = decoder_of(case, dropout=0.0)
    source = decoder.prepare([memory()])
    features, trace = decoder.teacher_forced(source, TARGETS, Noise(1, 1), keep_weights=True)
    logits, weights = stepwise(decoder, source, TARGETS, Noise(1, 1))
    torch.testing.assert_close(decoder.readout.logits(features), logits)
    torch.testing.assert_close(trace.weights, weights)


@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize("output", [True, False])
def test_the_equations(feeding, output):
    """By hand: the first layer asks, the others see what is below them beside what was found."""
    decoder = build(Attention.Config(dim=8), context_feeding=feeding, output_context=output, residual=True)
    source = decoder.prepare([memory()])
    states = [tuple(decoder.bridge(source.summary)[f"{name}.{k}"] for name in ("h", "c")) for k in range(3)]
    context, found = torch.zeros(2, MEMORY, dtype=torch.float64), []
    for tokens in TARGETS.unbind(1):
        e = decoder.embedding(tokens)
        first = torch.cat([e, context], -1) if feeding else e
        states[0] = decoder.cells[0].step(first, states[0])
        looked, _ = decoder.attentions(states[0][0][:, None], source.attended, {}, None)
        context, h = looked.contexts[0][:, 0], states[0][0]
        for k in (1, 2):
            states[k] = decoder.cells[k].step(torch.cat([h, context], -1), states[k])
            h = h + states[k][0]
        shown = torch.cat([h, context], -1) if output else h
        found.append(torch.tanh(decoder.combine(shown)))
    features, _ = decoder.teacher_forced(source, TARGETS)
    torch.testing.assert_close(features, torch.stack(found, 1))


@pytest.mark.parametrize("feeding", [True, False])
def test_gradients_of_the_two_roads_agree(feeding):
    decoder = build(Attention.Config(dim=8), context_feeding=feeding)
    source, target = decoder.prepare([memory()]), TARGETS.roll(-1, 1)
    features, _ = decoder.teacher_forced(source, TARGETS)
    fast = decoder.readout.nll(features.flatten(0, 1), target.flatten()).loss
    logits, _ = stepwise(decoder, source, TARGETS)
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
    names, parameters = zip(*decoder.named_parameters(), strict=True)
    for name, one, other in zip(
        names, *(torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (fast, plain)), strict=True
    ):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")
        assert one.abs().sum() > 0, name


@pytest.mark.parametrize("feeding", [True, False])
def test_in_training_an_upper_layers_input_is_dropped_and_what_was_found_is_not(feeding):
    """Both roads with the masks of one noise; then the second layer reads the context alone, and misses nothing."""
    decoder = build(Attention.Config(dim=8), dropout=0.5, layers=2, context_feeding=feeding)
    source, embedded = decoder.prepare([memory()]), decoder.embedding(TARGETS)
    run = decoder._run(Noise(1, 1), like=embedded)
    masked = sequence_dropout(embedded, 0.5, Noise(1, 1), "decoder.in")
    state, found = decoder.start(source), []
    for e in masked.unbind(1):
        features, state, _ = decoder._advance(decoder._project(e), e, state, source, run, None)
        found.append(features)
    features, _ = decoder.teacher_forced(source, TARGETS, Noise(1, 1))
    torch.testing.assert_close(features, torch.stack(found, 1))
    assert run.masks[0] is None and (run.masks[1] == 0).any()
    with torch.no_grad():
        decoder.cells[1].input_weight[:, :HIDDEN] = 0
        decoder.combine.weight[:, HIDDEN:] = 0
    several = [decoder._run(Noise(1, step), like=embedded) for step in (2, 3)]
    for other in several:
        other.feature_mask = None
    start = decoder.start(source)
    one, two = (decoder._advance(decoder._project(e), e, start, source, other, None)[0] for other in several)
    torch.testing.assert_close(one, two)
    assert not torch.equal(several[0].masks[1], several[1].masks[1])


def test_several_memories_are_shown_side_by_side():
    decoder = build(Attention.Config(dim=8), memories=2)
    source = decoder.prepare([memory(), memory((4, 5))])
    features, _ = decoder.teacher_forced(source, TARGETS)
    torch.testing.assert_close(decoder.readout.logits(features), stepwise(decoder, source, TARGETS)[0])


def test_a_beam_shares_its_sentence_and_selects_its_state():
    decoder = build(Attention.Config(dim=8))
    source = decoder.prepare([memory()])
    _, state = decoder.step(torch.tensor([2, 3, 4, 5, 6, 7]), decoder.start(source, beam=3), source)
    output, _ = decoder.step(torch.tensor([1, 1, 1, 9, 9, 9]), select(state, torch.tensor([2, 2, 0, 3, 3, 5])), source)
    for row, history in enumerate([[4, 1], [4, 1], [2, 1], [5, 9], [5, 9], [7, 9]]):
        alone, _ = stepwise(decoder, source.select(torch.tensor([row // 3])), torch.tensor([history]))
        torch.testing.assert_close(output.scores[row], alone[0, 1])


@pytest.mark.parametrize("feeding", [True, False])
def test_it_is_searched_as_it_is_scored(feeding, no_shape_checks):
    model = tiny(decoder={"type": "deep", "hidden": 16, "context_feeding": feeding})
    assert not PackedDecoder.takes(model.decoder)
    sources = [word for word, _ in reversals(9, 6)]
    outputs = [
        one for one, *_ in decode_sentences(encode(model), model.decoder, sources, SearchConfig(beam=3, max_length=8))
    ]
    again = score_forced([model], sources, [one.tokens for one in outputs], SearchConfig())
    for one, other in zip(outputs, again, strict=True):
        steps = len(one.tokens) + one.finished
        assert one.token_log_probs == pytest.approx(other.token_log_probs[:steps], abs=1e-9)


def test_without_attention_or_with_one_layer_it_is_refused():
    with pytest.raises(ValidationError, match="decoder deep shows all layers what attention finds"):
        tiny(decoder={"type": "deep", "hidden": 16}, attention=None)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        KIND.Config(layers=1)
