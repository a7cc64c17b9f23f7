"""Exact hard attention against every alignment there is."""

import itertools

import pytest
import torch
from tests import covering
from tests.decode.test_recurrent import EMBED, HIDDEN, MEMORY, TARGETS, VOCAB, memory

from regard.attend import SCORES, Attention
from regard.attend.memory import Memory
from regard.data.config import BYTES, SPECIALS
from regard.data.tokenizer import UNK
from regard.decode import MarginalDecoder, select
from regard.decode.embedding import Embedding
from regard.decode.marginal import MOST_PIECES
from regard.decode.readout import SoftmaxReadout
from regard.errors import RegardError
from regard.model_config import ModelConfig
from regard.ops.noise import Noise

RIGHT = TARGETS.roll(-1, 1)
KINDS = [{"order": order, "monotonic": monotonic} for order, monotonic in itertools.product((0, 1), (False, True))]


def build(score="additive", vocab=VOCAB, dropout=0.0, **config):
    torch.manual_seed(1)
    embedding = Embedding(vocab, EMBED)
    decoder = MarginalDecoder(
        MarginalDecoder.Config.model_validate({"hidden": HIDDEN, "jumps": 2, **config}),
        embedding=embedding,
        readout=SoftmaxReadout(HIDDEN, embedding, tied=True),
        attention=Attention.Config(score=score, dim=8),
        memory_dims=[MEMORY],
        summary_size=6,
        dropout=dropout,
    ).double()
    if decoder.config.order:
        torch.nn.init.normal_(decoder.jump)
    return decoder


def by_enumeration(decoder, given, inputs, targets, b):
    """p(y | x) of row b: the sum over all alignments, each from the definition."""
    length, states = int(given.lengths[b]), decoder.bridge(given.summary[b : b + 1].flatten(1))
    (cell,), outputs = decoder.cells, []
    state, embedded = tuple(states[f"{name}.0"] for name in cell.state_names), decoder.embedding(inputs[b : b + 1])
    for t in range(inputs.shape[1]):
        state = cell.step(embedded[:, t], state)
        outputs.append(state[0][0])
    score, values = decoder.attention.score, given.values[b, :length]
    total = torch.zeros((), dtype=torch.float64)
    for path in itertools.product(range(length), repeat=len(outputs)):
        probability, before = torch.ones((), dtype=torch.float64), 0
        for t, at in enumerate(path):
            scores = score(outputs[t][None, None], score.keys(values[None]))[0, 0]
            if decoder.config.order:
                distances = (torch.arange(length) - before).clamp(-2, 2)
                scores = scores + decoder.jump[distances + 2]
            reachable = range(before if decoder.config.monotonic else 0, length)
            move = torch.zeros(()) if at not in reachable else scores[list(reachable)].softmax(0)[at - reachable.start]
            told = decoder.told(torch.cat([outputs[t], embedded[0, t]])) + decoder.memory(values[at])
            write = decoder.readout.logits(torch.tanh(told)).softmax(-1)[targets[b, t]]
            probability, before = probability * move * write, at
        total = total + probability
    return total.log()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_is_the_sum_over_all_alignments(kind, no_shape_checks):
    decoder, given = build(**kind), memory((4, 3))
    valid = torch.ones_like(RIGHT, dtype=torch.bool)
    found = decoder.loss(decoder.prepare([given]), TARGETS, RIGHT, valid)
    expected = -torch.stack([by_enumeration(decoder, given, TARGETS, RIGHT, b) for b in range(2)]).sum()
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.nll, expected)
    names, parameters = zip(*decoder.named_parameters(), strict=True)
    grads = [torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (found.loss, expected)]
    for name, one, other in zip(names, *grads, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def stepwise(decoder, source, inputs):
    state, scores, weights = decoder.start(source), [], []
    for tokens in inputs.unbind(1):
        output, state = decoder.step(tokens, state, source)
        scores.append(output.scores)
        weights.append(output.weights)
    return torch.stack(scores, 1), torch.stack(weights, 1)


AXES = {
    "kind": [tuple(kind.items()) for kind in KINDS],
    "score": [name for name, part in SCORES.items() if not getattr(part, "remembers", ())],
    "cell": covering.CELLS,
}


@pytest.mark.parametrize("case", covering.params(covering.cases(AXES), covering.product(AXES)))
def test_step_equals_the_whole_and_alone_equals_batched(case):
    kind, score, cell = dict(case["kind"]), case["score"], case["cell"]
    decoder = build(score, cell=cell, layers=2, **kind)
    given = memory()
    source = decoder.prepare([given])
    chosen, weights = decoder.forced(source, TARGETS, RIGHT)
    scores, step_weights = stepwise(decoder, source, TARGETS)
    torch.testing.assert_close(scores.gather(2, RIGHT[..., None])[..., 0], chosen)
    torch.testing.assert_close(step_weights, weights)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(2, 4, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    assert (weights >= 0).all() and (weights[1, :, 3:] == 0).all()
    alone = Memory(given.values[1:, :3], given.src_valid[1:, :3], given.lengths[1:], given.summary[1:])
    again, _ = decoder.forced(decoder.prepare([alone]), TARGETS[1:], RIGHT[1:])
    torch.testing.assert_close(again, chosen[1:])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_beam_selects_what_was_reached(kind):
    decoder = build(**kind)
    source = decoder.prepare([memory()])
    state = decoder.start(source, beam=2)
    _, state = decoder.step(torch.tensor([2, 3, 4, 5]), state, source)
    output, _ = decoder.step(torch.tensor([1, 1, 9, 9]), select(state, torch.tensor([1, 0, 3, 3])), source)
    for row, history in enumerate([[3, 1], [2, 1], [5, 9], [5, 9]]):
        alone, _ = stepwise(decoder, source.select(torch.tensor([row // 2])), torch.tensor([history]))
        torch.testing.assert_close(output.scores[row], alone[0, 1])


@pytest.mark.parametrize("order", [0, 1])
def test_monotonic_attention_never_goes_back(order):
    decoder = build(monotonic=True, order=order)
    moves = decoder._transitions(torch.randn(2, 4, HIDDEN, dtype=torch.float64), decoder.prepare([memory()])).exp()
    back = torch.ones(5, 5, dtype=torch.bool).tril(-1)
    assert (moves[0][:, back] == 0).all() and (moves[1, :, :3, :3][:, back[:3, :3]] == 0).all()
    torch.testing.assert_close(moves.sum(-1), torch.ones(2, 4, 5, dtype=torch.float64))


def test_padded_targets_cost_nothing_and_smoothing_is_of_the_mixture():
    decoder = build()
    source = decoder.prepare([memory()])
    valid = torch.tensor([[True, True, True, True], [True, True, False, False]])
    found = decoder.loss(source, TARGETS, RIGHT, valid, smoothing=0.1)
    scores, _ = stepwise(decoder, source, TARGETS)
    target = RIGHT.masked_fill(~valid, -100)
    expected = torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), target.flatten(), reduction="sum", label_smoothing=0.1
    )
    torch.testing.assert_close(found.loss, expected)
    assert int(found.correct) == int((scores.argmax(-1) == RIGHT)[valid].sum())


def test_dropout_is_a_function_of_the_noise():
    decoder = build(dropout=0.5, layers=2)
    source, valid = decoder.prepare([memory()]), torch.ones_like(RIGHT, dtype=torch.bool)
    first, again, plain = (
        decoder.loss(source, TARGETS, RIGHT, valid, noise=noise).loss for noise in (Noise(1, 5), Noise(1, 5), None)
    )
    assert first == again and first != plain


def without_bytes(whole):
    """The decoder of a vocabulary that has no bytes, and otherwise the same weights."""
    small = build(vocab=VOCAB, dropout=whole.dropout, order=1)
    kept = whole.writable
    for name, parameter in small.named_parameters():
        of_whole = whole.get_parameter(name).detach()
        parameter.data = of_whole[kept].clone() if len(of_whole) == VOCAB + BYTES else of_whole.clone()
    return small


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_without_bytes_it_is_as_if_the_vocabulary_had_none(drop):
    whole = build(vocab=VOCAB + BYTES, dropout=drop, order=1, bytes=False)
    small, moved = without_bytes(whole), (TARGETS + BYTES).where(TARGETS >= SPECIALS, TARGETS)
    assert (moved >= SPECIALS + BYTES).any() and (moved < SPECIALS).any()
    source, right = whole.prepare([memory()]), moved.roll(-1, 1)
    valid = torch.ones_like(right, dtype=torch.bool)
    found = whole.loss(source, moved, right, valid, smoothing=0.1, noise=Noise(1, 5))
    expected = small.loss(small.prepare([memory()]), TARGETS, RIGHT, valid, smoothing=0.1, noise=Noise(1, 5))
    torch.testing.assert_close(found, expected)
    found.loss.backward()
    expected.loss.backward()
    for name, parameter in small.named_parameters():
        grad = whole.get_parameter(name).grad
        torch.testing.assert_close(grad[whole.writable] if len(grad) == VOCAB + BYTES else grad, parameter.grad)
    scores, _ = stepwise(whole, source, moved)
    torch.testing.assert_close(scores[..., whole.writable], stepwise(small, source, TARGETS)[0])
    assert (scores[..., SPECIALS : SPECIALS + BYTES] == float("-inf")).all()
    torch.testing.assert_close(scores.gather(2, right[..., None])[..., 0], whole.forced(source, moved, right)[0])


def test_without_bytes_a_byte_counts_as_unknown():
    decoder = build(vocab=VOCAB + BYTES, bytes=False)
    source, spelled = decoder.prepare([memory()]), RIGHT.clone()
    spelled[0, 1], unknown = SPECIALS + 7, RIGHT.clone()
    unknown[0, 1] = UNK
    found, expected = (decoder.forced(source, TARGETS, targets)[0] for targets in (spelled, unknown))
    torch.testing.assert_close(found, expected)
    assert torch.isfinite(found).all()


def test_what_it_cannot_do_is_refused():
    with pytest.raises(RegardError, match=r"there are 1,001 pieces: set data\.target\.tokenizer to char"):
        build(vocab=MOST_PIECES + 1)
    for attention, words in {
        "none": "attention is none: choose a score",
        "location": "a score that does not remember earlier weights",
    }.items():
        value = "none" if attention == "none" else {"score": attention}
        with pytest.raises(ValueError, match=words):
            ModelConfig.model_validate({"decoder": "marginal", "attention": value})
    for key, value in {"heads": 2, "scope": "local_p", "normalizer": "sparsemax", "coverage": "sum"}.items():
        with pytest.raises(ValueError, match="takes a score from attention and no more"):
            ModelConfig.model_validate({"decoder": "marginal", "attention": {key: value}})
