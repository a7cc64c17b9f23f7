"""Poolings: each against its equation in a loop; one row alone is what it is in a batch, whatever the padding holds."""

import itertools
import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from regard.attend import NORMALIZERS, POOLINGS
from regard.attend.memory import Memory, valid_steps
from regard.attend.pooling import overlap
from regard.config import choice

SIZE, HIDDEN, LENGTHS = 6, 5, (5, 1, 3)
F64 = torch.float64
STATELESS = [name for name, part in NORMALIZERS.items() if part.stateless]
SETTINGS = [{"type": name} for name in ("last", "mean", "max")]
SETTINGS += [{"type": "attention", "dim": HIDDEN, "normalizer": name} for name in STATELESS]
SETTINGS += [
    {"type": "structured", "dim": HIDDEN, "hops": hops, "normalizer": name}
    for name, hops in itertools.product(STATELESS, [1, 3])
]
every = pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: "-".join(map(str, each.values())))


def memory(lengths=LENGTHS, steps=None, junk=0.0, dtype=F64):
    draw = torch.Generator().manual_seed(2)
    lengths = torch.tensor(lengths)
    steps = steps or int(lengths.max())
    values, valid = torch.full((len(lengths), steps, SIZE), junk, dtype=dtype), valid_steps(lengths, steps)
    values[valid] = torch.randn(int(lengths.sum()), SIZE, generator=draw, dtype=F64).to(dtype)
    return Memory(values, valid, lengths, torch.randn(len(lengths), 2, 4, generator=draw, dtype=F64).to(dtype))


def build(settings):
    torch.manual_seed(1)
    config = TypeAdapter(choice(POOLINGS)).validate_python(settings)
    pooling = POOLINGS[config.type](config, memory_dim=SIZE, summary_size=8).double()
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.mul_(3)  # so that weights are far from even, and some sparse ones zero
    return pooling


def test_every_pooling_is_tried():
    assert {each["type"] for each in SETTINGS} == set(POOLINGS)


@every
def test_contract(settings):
    pooling, given = build(settings), memory()
    vector, weights, penalty = pooling(given)
    assert vector.shape == (3, pooling.dim)
    assert (weights is None) == (settings["type"] in ("last", "max"))
    assert (penalty is None) == (settings["type"] != "structured")
    if weights is not None:
        assert weights.shape == (3, settings.get("hops", 1), 5) and (weights >= 0).all()
        assert (weights * ~given.src_valid[:, None] == 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        torch.testing.assert_close(vector, (weights @ given.values).flatten(1))
    wider = pooling(memory(steps=8, junk=50.0))
    torch.testing.assert_close(wider.vector, vector)
    for row, length in enumerate(LENGTHS):
        one = slice(row, row + 1)
        alone = Memory(
            given.values[one, :length], given.src_valid[one, :length], given.lengths[one], given.summary[one]
        )
        single = pooling(alone)
        torch.testing.assert_close(single.vector, vector[one])
        if weights is not None:
            torch.testing.assert_close(single.weights, weights[one, :, :length])
            torch.testing.assert_close(wider.weights[one, :, :length], weights[one, :, :length])
            assert (wider.weights[one, :, length:] == 0).all()
        if penalty is not None:
            torch.testing.assert_close(single.penalty, penalty[one])
            torch.testing.assert_close(wider.penalty, penalty)
    again = build(settings)
    again.load_state_dict(pooling.state_dict())
    assert torch.equal(again(given).vector, vector)


@every
def test_gradients(settings, no_shape_checks):
    pooling, given = build(settings), memory()

    def pool(values, summary, *_):
        found = pooling(Memory(values, given.src_valid, given.lengths, summary))
        return [part for part in found if part is not None and part.requires_grad]

    inputs = [given.values.clone().requires_grad_(), given.summary.clone().requires_grad_()]
    assert torch.autograd.gradcheck(pool, (*inputs, *pooling.parameters()))


def test_last_mean_and_max():
    given = memory(junk=9.0)
    for row, length in enumerate(LENGTHS):
        steps = [given.values[row, t].tolist() for t in range(length)]
        expected = {
            "mean": [sum(step[d] for step in steps) / length for d in range(SIZE)],
            "max": [max(step[d] for step in steps) for d in range(SIZE)],
            "last": [*given.summary[row, 0].tolist(), *given.summary[row, 1].tolist()],
        }
        for name, vector in expected.items():
            torch.testing.assert_close(build({"type": name})(given).vector[row], torch.tensor(vector, dtype=F64))


def test_attention_is_yang_equations_5_to_7():
    pooling, given = build({"type": "attention", "dim": HIDDEN}), memory(junk=9.0)
    W, b, context = pooling.hidden.weight, pooling.hidden.bias, pooling.queries.weight[0]
    vector, weights, _ = pooling(given)
    for row, length in enumerate(LENGTHS):
        u = [torch.tanh(W @ given.values[row, t] + b) for t in range(length)]
        exps = [math.exp((each @ context).item()) for each in u]
        alphas = [each / sum(exps) for each in exps]
        torch.testing.assert_close(weights[row, 0, :length], torch.tensor(alphas, dtype=F64))
        torch.testing.assert_close(vector[row], sum(alphas[t] * given.values[row, t] for t in range(length)))


def test_structured_is_lin_section_2():
    pooling, given = build({"type": "structured", "dim": HIDDEN, "hops": 3, "penalty": 0.7}), memory(junk=9.0)
    W1, W2 = pooling.hidden.weight, pooling.queries.weight
    assert pooling.hidden.bias is None and pooling.dim == 3 * SIZE
    vector, weights, penalty = pooling(given)
    for row, length in enumerate(LENGTHS):
        H = given.values[row, :length]
        A = torch.softmax(W2 @ torch.tanh(W1 @ H.T), dim=1)  # (hops, length)
        torch.testing.assert_close(weights[row, :, :length], A)
        torch.testing.assert_close(vector[row], (A @ H).flatten())
        total = 0.0
        for r, s in itertools.product(range(3), range(3)):
            total += ((A[r] @ A[s]).item() - (r == s)) ** 2
        torch.testing.assert_close(penalty[row].item(), 0.7 * total)


def test_hops_that_look_at_one_step_each_cost_nothing():
    apart = torch.eye(4, dtype=F64)[None, [2, 0, 3]]
    assert overlap(apart).item() == 0.0
    assert overlap(apart[:, [0, 0, 1]]).item() == 2.0  # 1 where two look at the same, twice: A Aᵀ is symmetric
    even = torch.full((1, 2, 4), 0.25, dtype=F64)  # A Aᵀ = 1/4 everywhere: 2 · (3/4)² + 2 · (1/4)²
    assert overlap(even).item() == pytest.approx(1.25)


def test_hops_that_pay_for_it_come_to_look_apart():
    pooling, given = build({"type": "structured", "dim": HIDDEN, "hops": 3}), memory((5,))
    optimizer = torch.optim.Adam(pooling.parameters(), lr=0.05)
    before = pooling(given).penalty.item()
    for _ in range(200):
        optimizer.zero_grad()
        pooling(given).penalty.sum().backward()
        optimizer.step()
    _, weights, penalty = pooling(given)
    assert penalty.item() < 0.05 * before and weights[0].argmax(1).unique().numel() == 3


def test_normalizers_that_go_from_query_to_query_are_refused():
    for name, normalizer in itertools.product(("attention", "structured"), set(NORMALIZERS) - set(STATELESS)):
        with pytest.raises(ValidationError, match="expected tags: 'softmax', 'sparsemax', 'entmax15'"):
            build({"type": name, "normalizer": normalizer})
