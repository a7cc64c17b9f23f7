"""Two-way attention: the paper's equations in a loop, padding on both sides, and a question found in a passage."""

import itertools

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from regard.attend import NORMALIZERS, SCORES
from regard.attend.memory import Memory, valid_steps
from regard.attend.normalizers import Softmax
from regard.encode import BiRNN, Flow
from regard.ops.noise import Noise

SIZE = 4
F64 = torch.float64
PASSAGES, QUESTIONS = (6, 2, 4), (2, 3, 1)
STATELESS = [name for name, part in NORMALIZERS.items() if part.stateless]
SIMILAR = [name for name, part in SCORES.items() if not getattr(part, "remembers", ())]
every = pytest.mark.parametrize(
    ("score", "normalizer"),
    [*((name, "softmax") for name in SIMILAR), *(("trilinear", name) for name in STATELESS[1:])],
)


def memory(lengths, steps=None, junk=0.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    steps = steps or int(lengths.max())
    values, valid = torch.full((len(lengths), steps, SIZE), junk, dtype=F64), valid_steps(lengths, steps)
    values[valid] = torch.randn(int(lengths.sum()), SIZE, generator=draw, dtype=F64)
    return Memory(values, valid, lengths, torch.randn(len(lengths), 1, 3, generator=draw, dtype=F64))


def both(**keys):
    return memory(PASSAGES, seed=0, **keys), memory(QUESTIONS, seed=1, **keys)


def build(modelling="none", **config):
    torch.manual_seed(1)
    settings = {"dim": 5, "modelling": modelling, **config}
    flow = Flow(Flow.Config.model_validate(settings), dim=SIZE, summary_size=3).double()
    with torch.no_grad():
        for parameter in flow.score.parameters():
            parameter.mul_(3)  # so that weights are far from even
    return flow


def cut(given, row):
    part, length = slice(row, row + 1), int(given.lengths[row])
    return Memory(given.values[part, :length], given.src_valid[part, :length], given.lengths[part], given.summary[part])


def test_is_seos_equations():
    flow, (passage, question) = build(), both(junk=7.0)
    w = flow.score.weight.weight[0]
    found = flow(passage, question)
    for row, (T, J) in enumerate(zip(PASSAGES, QUESTIONS, strict=True)):
        H, U = passage.values[row, :T], question.values[row, :J]
        S = torch.zeros(T, J, dtype=F64)
        for t, j in itertools.product(range(T), range(J)):
            S[t, j] = w @ torch.cat([H[t], U[j], H[t] * U[j]])  # equation 1
        b = torch.stack([S[t].max() for t in range(T)]).softmax(0)
        h_tilde = sum(b[t] * H[t] for t in range(T))
        torch.testing.assert_close(found.to_passage[row, :T], b)
        for t in range(T):
            a = S[t].softmax(0)
            u_tilde = sum(a[j] * U[j] for j in range(J))
            torch.testing.assert_close(found.to_question[row, t, :J], a)
            G = torch.cat([H[t], u_tilde, H[t] * u_tilde, H[t] * h_tilde])  # equation 2
            torch.testing.assert_close(found.merged[row, t], G)
            torch.testing.assert_close(found.memory.values[row, t], G)
    assert torch.equal(found.memory.summary, passage.summary) and flow.dim == 4 * SIZE and flow.summary_size == 3


def test_modelling_layers_are_a_recurrent_encoder_over_g():
    flow, (passage, question) = build({"hidden": 5, "layers": 2}), both()
    plain = BiRNN(BiRNN.Config(hidden=5, layers=2), input_size=4 * SIZE).double()
    plain.load_state_dict(flow.modelling.state_dict())
    found = flow(passage, question)
    expected = plain(found.merged, passage.lengths)
    assert torch.equal(found.memory.values, expected.values) and torch.equal(found.memory.summary, expected.summary)
    assert found.memory.values.shape[2] == flow.dim == 10 and flow.summary_size == 20
    assert Flow.Config().modelling == BiRNN.Config(layers=2)  # as in the paper


@every
def test_contract(score, normalizer):
    flow = build({"hidden": 3}, score=score, normalizer=normalizer)
    passage, question = both()
    found, wider = flow(passage, question), flow(*both(steps=9, junk=50.0))
    for weights, valid in [
        (found.to_question, passage.src_valid[..., None] & question.src_valid[:, None]),
        (found.to_passage[:, None], passage.src_valid[:, None]),
    ]:
        assert (weights >= 0).all() and (weights[~valid.expand_as(weights)] == 0).all()
    torch.testing.assert_close(found.to_question.sum(-1), passage.src_valid.double())
    torch.testing.assert_close(found.to_passage.sum(-1), torch.ones(3, dtype=F64))
    assert (found.merged[~passage.src_valid] == 0).all() and (wider.merged[~wider.memory.src_valid] == 0).all()
    torch.testing.assert_close(wider.memory.values[:, :6], found.memory.values)
    torch.testing.assert_close(wider.merged[:, :6], found.merged)
    torch.testing.assert_close(wider.to_question[:, :6, :3], found.to_question)
    for row, (T, J) in enumerate(zip(PASSAGES, QUESTIONS, strict=True)):
        alone = flow(cut(passage, row), cut(question, row))
        torch.testing.assert_close(alone.memory.values[0], found.memory.values[row, :T])
        torch.testing.assert_close(alone.memory.summary[0], found.memory.summary[row])
        torch.testing.assert_close(alone.to_question[0], found.to_question[row, :T, :J])
        torch.testing.assert_close(alone.to_passage[0], found.to_passage[row, :T])
    again = Flow(Flow.Config.model_validate_json(flow_config(score, normalizer)), dim=SIZE, summary_size=3).double()
    again.load_state_dict(flow.state_dict())
    assert torch.equal(again(passage, question).memory.values, found.memory.values)


def flow_config(score, normalizer):
    settings = {"dim": 5, "modelling": {"hidden": 3}, "score": score, "normalizer": normalizer}
    return Flow.Config.model_validate(settings).model_dump_json()


@every
def test_gradients(score, normalizer, no_shape_checks):
    flow, (passage, question) = build(score=score, normalizer=normalizer), both()

    def read(h, u, *_):
        found = flow(
            Memory(h, passage.src_valid, passage.lengths, passage.summary),
            Memory(u, question.src_valid, question.lengths, question.summary),
        )
        return found.merged, found.to_question, found.to_passage

    inputs = [given.values.clone().requires_grad_() for given in (passage, question)]
    assert torch.autograd.gradcheck(read, (*inputs, *flow.parameters()), fast_mode=True)


def test_dropout_of_the_modelling_layers():
    flow = Flow(
        Flow.Config.model_validate({"modelling": {"hidden": 3}}), dim=SIZE, summary_size=3, dropout=0.5
    ).double()
    first, again, other = (flow(*both(), Noise(1, step)).memory.values for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_what_cannot_be_asked_all_at_once_is_refused():
    with pytest.raises(ValidationError, match="'location' found using 'type' does not match"):
        Flow.Config.model_validate({"score": "location"})
    with pytest.raises(ValidationError, match="'monotonic' found using 'type' does not match"):
        Flow.Config.model_validate({"normalizer": "monotonic"})


def test_the_similarity_never_holds_features_of_every_pair():
    """T × J × 6d numbers would be 24 million; the largest tensor made has fewer than T × J and 4 T d do together."""
    flow = Flow(Flow.Config.model_validate({"modelling": "none"}), dim=64, summary_size=3)
    passage, question = (
        Memory(torch.randn(1, n, 64), valid_steps(torch.tensor([n]), n), torch.tensor([n]), torch.zeros(1, 1, 3))
        for n in (400, 160)
    )
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            largest = max(
                largest, *(x.numel() for x in torch.utils._pytree.tree_leaves(made) if hasattr(x, "numel")), 0
            )
            return made

    with Watch():
        flow(passage, question)
    assert 400 * 160 <= largest <= 4 * 400 * 64


@pytest.mark.slow
def test_it_learns_to_find_what_the_question_asks_for(no_shape_checks):
    """A question of two words, of which one stands in the passage: where? Chance is 1/12."""
    torch.manual_seed(3)
    words, steps = 60, 12
    embedding = nn.Embedding(words, 16)
    encoder = BiRNN(BiRNN.Config(cell="gru", hidden=12), input_size=16)
    flow = Flow(Flow.Config.model_validate({"modelling": {"cell": "gru", "hidden": 12}}), dim=24, summary_size=24)
    assert isinstance(flow.normalizer, Softmax)
    pointer = nn.Linear(4 * 24 + 24, 1)
    whole = nn.ModuleList([embedding, encoder, flow, pointer])

    def examples(count, seed):
        draw = torch.Generator().manual_seed(seed)
        order = torch.rand(count, words, generator=draw).argsort(1)  # no word twice
        passage, other = order[:, :steps], order[:, steps : steps + 1]
        at = torch.randint(steps, (count,), generator=draw)
        asked = torch.cat([passage.gather(1, at[:, None]), other], 1)
        turn = torch.rand(count, 2, generator=draw).argsort(1)
        return passage, asked.gather(1, turn), at, turn.argmin(1)

    def read(passage, asked):
        encoded = [encoder(embedding(ids), torch.full((len(ids),), ids.shape[1])) for ids in (passage, asked)]
        flowed = flow(*encoded)
        return pointer(torch.cat([flowed.merged, flowed.memory.values], -1))[..., 0], flowed

    optimizer = torch.optim.Adam(whole.parameters(), lr=0.01)
    for update in range(120):
        passage, asked, at, _ = examples(64, update)
        loss = nn.functional.cross_entropy(read(passage, asked)[0], at)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    passage, asked, at, which = examples(400, 10_000)
    with torch.no_grad():
        logits, flowed = read(passage, asked)
    rows = torch.arange(400)
    assert (logits.argmax(1) == at).float().mean() > 0.95
    assert (flowed.to_passage.argmax(1) == at).float().mean() > 0.9
    assert (flowed.to_question[rows, at].argmax(1) == which).float().mean() > 0.9
