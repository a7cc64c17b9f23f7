"""The decoder's two roads are one: step by step equals teacher-forced, in every combination of its settings."""

import pytest
import torch
from tests import covering

from regard.attend import COVERAGES, NORMALIZERS, SCOPES, SCORES, Attention
from regard.attend.memory import Memory, valid_steps
from regard.cells import CELLS
from regard.decode import DECODERS, select
from regard.decode.embedding import Embedding
from regard.decode.readout import SoftmaxReadout
from regard.ops.noise import Noise

VOCAB, EMBED, HIDDEN, MEMORY = 13, 4, 6, 6
TARGETS = torch.tensor([[2, 5, 6, 7], [2, 9, 10, 4]])


def memory(lengths=(5, 3)):
    draw = torch.Generator().manual_seed(0)
    lengths = torch.tensor(lengths)
    src_len = int(lengths.max())
    values = torch.randn(len(lengths), src_len, MEMORY, generator=draw, dtype=torch.float64)
    summary = torch.randn(len(lengths), 2, 3, generator=draw, dtype=torch.float64)
    return Memory(values, valid_steps(lengths, src_len), lengths, summary)


def build(attention=None, memories=1, tied=True, dropout=0.5, kind=DECODERS["recurrent"], **config):
    torch.manual_seed(1)
    embedding = Embedding(VOCAB, EMBED)
    return kind(
        kind.Config.model_validate({"hidden": HIDDEN, **config}),
        embedding=embedding,
        readout=SoftmaxReadout(HIDDEN, embedding, tied=tied),
        attention=attention,
        memory_dims=[MEMORY] * memories,
        summary_size=6 * memories,
        dropout=dropout,
    ).double()


def stepwise(decoder, source, inputs, noise=None):
    state, logits, weights = decoder.start(source), [], []
    for t, tokens in enumerate(inputs.unbind(1)):
        output, state = decoder.step(tokens, state, source, None if noise is None else noise.under(f"step.{t}"))
        logits.append(output.scores)
        weights.append(output.weights)
    return torch.stack(logits, 1), None if weights[0] is None else torch.stack(weights, 1)


OF_DECODERS = [name for name in SCOPES if name != "lsh"]
NARROW = {"window": {"width": 1}, "local_m": {"width": 1}, "local_p": {"width": 1}, "blocks": {"size": 2}}
ATTENTIONS = {name: Attention.Config(score=name, dim=8) for name in SCORES}
ATTENTIONS |= {name: Attention.Config(scope={"type": name, **NARROW.get(name, {})}, dim=8) for name in OF_DECODERS}
ATTENTIONS |= {name: Attention.Config(normalizer=name, dim=8) for name in NORMALIZERS}
ATTENTIONS |= {
    f"{name}-hard": Attention.Config(normalizer={"type": name, "mode": "hard"}, dim=8)
    for name in ("monotonic", "mocha")
}
ATTENTIONS |= {name: Attention.Config(coverage={"type": name, "loss": 1.0}, dim=8) for name in COVERAGES}
ATTENTIONS |= {"none": None, "heads": Attention.Config(heads=2, dim=8)}
EVERYTHING = {"score": "location", "normalizer": "mocha", "coverage": {"type": "sum", "loss": 1.0}, "heads": 2}
ATTENTIONS["all"] = Attention.Config(**EVERYTHING, dim=8)
AXES = {
    "attention": list(ATTENTIONS),
    "cell": covering.CELLS,
    "attend": ["before", "after"],
    "input_feeding": [True, False],
    "deep": [False, True],
}
CASES = covering.cases(AXES)
EVERY = covering.params(CASES, covering.product(AXES))


def decoder_of(case, **config):
    deep = {"layers": 3, "residual": True, "deep_output": True} if case["deep"] else {}
    settings = {name: case[name] for name in ("cell", "attend", "input_feeding")}
    return build(ATTENTIONS[case["attention"]], **settings, **deep, **config)


@pytest.mark.parametrize("case", EVERY)
def test_step_equals_teacher_forced_with_the_same_noise(case, no_shape_checks):
    """In training, where attention may sample and be pushed by noise."""
    decoder = decoder_of(case, dropout=0.0)
    source = decoder.prepare([memory()])
    features, trace = decoder.teacher_forced(source, TARGETS, Noise(1, 1), keep_weights=True)
    logits, weights = stepwise(decoder, source, TARGETS, Noise(1, 1))
    torch.testing.assert_close(decoder.readout.logits(features), logits)
    if weights is not None:
        torch.testing.assert_close(trace.weights, weights)
    parts = ATTENTIONS[case["attention"]] or Attention.Config()
    samples = parts.normalizer.type == "hard"
    assert (trace.penalty is not None) == (samples or parts.coverage is not None) and len(trace.sampled) == samples


@pytest.mark.parametrize("case", EVERY)
def test_step_equals_teacher_forced_and_alone_equals_batched(case, no_shape_checks):
    attention, decoder, source = case["attention"], decoder_of(case), None
    source = decoder.prepare([memory()])
    features, trace = decoder.teacher_forced(source, TARGETS, keep_weights=True)
    logits, weights = stepwise(decoder, source, TARGETS)
    torch.testing.assert_close(decoder.readout.logits(features), logits)
    assert (weights is None) == (trace.weights is None) == (attention == "none")
    if weights is not None:
        torch.testing.assert_close(trace.weights, weights)
    one = memory()
    alone = Memory(one.values[1:, :3], one.src_valid[1:, :3], one.lengths[1:], one.summary[1:])
    again, _ = decoder.teacher_forced(decoder.prepare([alone]), TARGETS[1:])
    torch.testing.assert_close(again, features[1:])


@pytest.mark.parametrize("attend", ["before", "after"])
def test_gradients_of_the_two_roads_agree(attend):
    """Deferred weight gradients, hoisted projections and chunked loss against plain autograd through `step`."""
    decoder = build(Attention.Config(dim=8), attend=attend, layers=2)
    source = decoder.prepare([memory()])
    target = TARGETS.roll(-1, 1)
    features, _ = decoder.teacher_forced(source, TARGETS)
    fast = decoder.readout.nll(features.flatten(0, 1), target.flatten()).loss
    logits, _ = stepwise(decoder, source, TARGETS)
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
    torch.testing.assert_close(fast, plain)
    names, parameters = zip(*decoder.named_parameters(), strict=True)
    grads = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (fast, plain)]
    for name, one, other in zip(names, *grads, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_a_beam_shares_its_sentence_and_selects_its_state():
    decoder, source = build(Attention.Config(dim=8)), None
    source = decoder.prepare([memory()])
    state = decoder.start(source, beam=3)
    assert all(tensor.shape[0] == 6 for tensor in state.values())
    _, state = decoder.step(torch.tensor([2, 3, 4, 5, 6, 7]), state, source)
    output, _ = decoder.step(torch.tensor([1, 1, 1, 9, 9, 9]), select(state, torch.tensor([2, 2, 0, 3, 3, 5])), source)
    for row, history in enumerate([[4, 1], [4, 1], [2, 1], [5, 9], [5, 9], [7, 9]]):
        sentence = source.select(torch.tensor([row // 3]))
        alone, _ = stepwise(decoder, sentence, torch.tensor([history]))
        torch.testing.assert_close(output.scores[row], alone[0, 1])


def test_several_memories_are_read_side_by_side():
    decoder = build(Attention.Config(dim=8), memories=2)
    first, second = memory(), memory((4, 2))
    source = decoder.prepare([first, second])
    output, _ = decoder.step(torch.tensor([2, 2]), decoder.start(source), source)
    assert output.weights.shape == (2, 5) and output.aux["weights.1"].shape == (2, 4)
    features, _ = decoder.teacher_forced(source, TARGETS)
    logits, _ = stepwise(decoder, source, TARGETS)
    torch.testing.assert_close(decoder.readout.logits(features), logits)


def test_dropout_needs_noise_and_is_a_function_of_it():
    decoder, source = build(Attention.Config(dim=8), layers=2), None
    source = decoder.prepare([memory()])
    plain, _ = decoder.teacher_forced(source, TARGETS)
    first, _ = decoder.teacher_forced(source, TARGETS, Noise(1, 5))
    again, _ = decoder.teacher_forced(source, TARGETS, Noise(1, 5))
    assert torch.equal(first, again) and not torch.allclose(first, plain)
    dropped = first == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped)) and dropped.any()


@pytest.mark.parametrize("feeding", [True, False])
def test_dropout_leaves_a_residual_layers_input_whole(feeding):
    """Upper layers that add nothing: three layers are then one, whatever is dropped on the way into them."""
    one = build(ATTENTIONS["general"], input_feeding=feeding)
    three = build(ATTENTIONS["general"], input_feeding=feeding, layers=3, residual=True)
    with torch.no_grad():
        for decoder in (one, three):
            for parameter in decoder.bridge.parameters():
                parameter.zero_()
        for parameter in three.cells[1:].parameters():
            parameter.zero_()
    three.load_state_dict({name: part for name, part in one.state_dict().items() if "bridge" not in name}, strict=False)
    found = [part.teacher_forced(part.prepare([memory()]), TARGETS, Noise(1, 1))[0] for part in (one, three)]
    torch.testing.assert_close(*found)


def test_tied_output_is_the_embedding_and_untied_is_not():
    tied, untied = build(tied=True), build(tied=False)
    assert tied.readout.table is tied.embedding and untied.readout.table is not untied.embedding
    features = torch.randn(2, HIDDEN, dtype=torch.float64)
    full = tied.readout.logits(features)
    torch.testing.assert_close(tied.readout.logits(features, torch.tensor([3, 7])), full[:, [3, 7]])


@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if cell.multiplies_state])
@pytest.mark.parametrize("feeding", [True, False])
def test_weight_drop_takes_recurrent_weights_away_and_no_others(cell, feeding, no_shape_checks):
    """In the loop and in whole sequences: what is computed with a mask is what the masked weights compute."""
    kind = {"type": cell, **({"zoneout_c": 0, "zoneout_h": 0} if cell == "zoneout_lstm" else {})}
    settings = {"cell": kind, "layers": 2, "input_feeding": feeding, "attend": "after"}
    decoder = build(None, dropout=0.0, weight_drop=0.5, **settings)
    source, noise = decoder.prepare([memory()]), Noise(1, 1)
    dropped, _ = decoder.teacher_forced(source, TARGETS, noise)
    plain, _ = decoder.teacher_forced(source, TARGETS)
    assert not torch.allclose(dropped, plain)
    with torch.no_grad():
        for depth, each in enumerate(decoder.cells):
            weight = each.recurrent_weight
            mask = Noise(1, 1).keep_mask(f"decoder.{depth}.weights", weight.shape, 0.5, like=weight)
            several = getattr(each, "cells", [each])  # of a transition
            for one, part in zip(several, mask.chunk(len(several)), strict=True):
                one.recurrent_weight.mul_(part)
    expected, _ = decoder.teacher_forced(source, TARGETS)
    torch.testing.assert_close(dropped, expected)


def test_gradients_through_dropped_weights(no_shape_checks):
    decoder = build(None, dropout=0.0, weight_drop=0.5, layers=1, input_feeding=False)
    source, weight = decoder.prepare([memory()]), decoder.cells[0].recurrent_weight
    decoder.teacher_forced(source, TARGETS, Noise(1, 1))[0].square().sum().backward()
    mask = Noise(1, 1).keep_mask("decoder.0.weights", weight.shape, 0.5, like=weight)
    assert ((weight.grad != 0) == (mask != 0)).all()  # what was dropped learned nothing, and the rest did


@pytest.mark.parametrize("feeding", [True, False])
def test_activation_penalties_are_their_equations_and_of_training_alone(feeding, no_shape_checks):
    decoder = build(None, dropout=0.0, layers=2, residual=True, input_feeding=feeding, ar=2.0, tar=1.0)
    source, state, outputs = decoder.prepare([memory()]), decoder.start(decoder.prepare([memory()])), []
    for tokens in TARGETS.unbind(1):
        _, state = decoder.step(tokens, state, source)
        outputs.append(state["h.1"])
    _, told = decoder.teacher_forced(source, TARGETS, Noise(1, 1))
    for t, h in enumerate(outputs):
        change = (h - outputs[t - 1]).square().mean(1) if t else 0.0
        torch.testing.assert_close(told.penalty[:, t], 2.0 * h.square().mean(1) + change)
    assert decoder.teacher_forced(source, TARGETS)[1].penalty is None
    valid = torch.tensor([[True, True, True, False], [True, True, True, True]])
    plain = build(None, dropout=0.0, layers=2, residual=True, input_feeding=feeding)
    loss, without = (
        each.loss(source, TARGETS, TARGETS.roll(-1, 1), valid, noise=Noise(1, 1)).loss for each in (decoder, plain)
    )
    torch.testing.assert_close(loss - without, told.penalty[valid].sum())


def test_a_dropped_word_is_nowhere_in_the_batch():
    table = Embedding(50, 8, drop=0.5)
    ids = torch.arange(50).repeat(3, 2)
    vectors = table(ids, Noise(1, 1), "words")
    gone = (vectors == 0).all(-1)
    assert (gone == gone[0, :50].repeat(3, 2)).all() and 10 < int(gone[0, :50].sum()) < 40
    torch.testing.assert_close(vectors[~gone], 2.0 * table(ids)[~gone])
    assert torch.equal(table(ids), Embedding.forward(table, ids)) and not (table(ids) == 0).all(-1).any()
