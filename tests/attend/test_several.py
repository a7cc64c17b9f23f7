"""Several memories: each way against its equations written out, with memories of other sizes, ragged and missing."""

import itertools

import pytest
import torch
from tests import covering

from regard.attend import COMBINATIONS, COVERAGES, NORMALIZERS, SCOPES, SCORES, Attention
from regard.attend.memory import Memory, summaries, valid_steps
from regard.attend.several import Concat, combined
from regard.model_config import ModelConfig
from regard.ops.noise import Noise
from regard.ops.sparse import entmax15, sparsemax

QUERY, DIMS = 6, (5, 3)
F64 = torch.float64
NORMALIZED = {"softmax": lambda scores: scores.softmax(-1), "sparsemax": sparsemax, "entmax15": entmax15}


def memory(dim, lengths, seed=0, steps=None):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    steps = max(int(lengths.max()), 1) if steps is None else steps
    values = torch.randn(len(lengths), steps, dim, generator=draw, dtype=F64)
    summary = torch.randn(len(lengths), 1, 4, generator=draw, dtype=F64)
    return Memory(values, valid_steps(lengths, steps), lengths, summary)


def two(first=(4, 3, 2), second=(1, 3, 2)):
    return [memory(DIMS[0], first, 1), memory(DIMS[1], second, 2)]


def build(way, dims=DIMS, **attention):
    torch.manual_seed(1)
    config = Attention.Config.model_validate({"dim": 8, **attention})
    part = COMBINATIONS[way]
    return combined(part.Config(), config, query_dim=QUERY, memory_dims=dims).double()


def queries(rows=3, count=2, seed=3):
    return torch.randn(rows, count, QUERY, generator=torch.Generator().manual_seed(seed), dtype=F64)


def look(part, memories, query, steps=1, noise=None):
    """The last of `steps` looks, the queries turned by one feature each time."""
    gathered = part.prepare(memories)
    state = {name: x.repeat_interleave(query.shape[1], 0) for name, x in part.start(gathered).items()}
    for step in range(steps):
        looked, state = part(query.roll(step, -1), gathered, state, noise and noise.under(f"step.{step}"))
    return looked, state


def only(given, row):
    """One row of a memory, without its padding."""
    steps = max(int(given.lengths[row]), 1)
    one = slice(row, row + 1)
    return Memory(given.values[one, :steps], given.src_valid[one, :steps], given.lengths[one], given.summary[one])


def columns(matrix):
    """A matrix over all memories' features, as one for each."""
    return matrix.split(DIMS, 1)


# The equations


def energy(score, project, q, h, k):
    """e_ijᵏ, with U_aᵏ the columns of a score's map of the memory."""
    if isinstance(score, SCORES["dot"]):
        return q @ (columns(project.weight)[k] @ h)
    if isinstance(score, SCORES["trilinear"]):
        told = columns(project.weight)[k] @ h
        return score.weight.weight[0] @ torch.cat([q, told, q * told])
    if isinstance(score, SCORES["general"]):
        return q @ (columns(score.project.weight)[k] @ h)
    if isinstance(score, SCORES["scaled_dot"]):
        return (score.query.weight @ q) @ (columns(score.key.weight)[k] @ h) / 8**0.5
    if isinstance(score, SCORES["concat"]):
        told = score.both.weight[:, :QUERY] @ q + columns(score.both.weight[:, QUERY:])[k] @ h
    else:
        told = score.query.weight @ q + columns(score.key.weight)[k] @ h + score.key.bias
    return score.weight.weight[0] @ torch.tanh(told)


@pytest.mark.parametrize("normalizer", NORMALIZED)
@pytest.mark.parametrize("score", [name for name in SCORES if name != "location"])
def test_flat_is_section_3_1(score, normalizer):
    flat, memories, query = build("flat", score=score, normalizer=normalizer), two(), queries()
    looked, _ = look(flat, memories, query)
    (attention,) = flat
    for b, i in itertools.product(range(3), range(2)):
        steps = [(k, j) for k, each in enumerate(memories) for j in range(int(each.lengths[b]))]
        states = [memories[k].values[b, j] for k, j in steps]
        energies = [
            energy(attention.score, flat.project, query[b, i], h, k) for (k, _), h in zip(steps, states, strict=True)
        ]
        weights = NORMALIZED[normalizer](torch.stack(energies))
        for (k, j), weight in zip(steps, weights, strict=True):
            torch.testing.assert_close(looked.weights[k][b, i, j], weight)
        each = [w * columns(flat.project.weight)[k] @ h for (k, _), h, w in zip(steps, states, weights, strict=True)]
        torch.testing.assert_close(looked.contexts[0][b, i], torch.stack(each).sum(0))
    assert [weights.shape for weights in looked.weights] == [(3, 2, 4), (3, 2, 3)] and len(looked.contexts) == 1


def test_heads_of_flat_project_every_memory_by_themselves():
    """Each head: the equations above with its own rows of the projections, and identity in the score."""
    flat, memories, query = build("flat", score="dot", heads=2, dim=8), two(), queries()
    looked, _ = look(flat, memories, query)
    (attention,) = flat
    for b in range(3):
        contexts, weights = [], 0
        for head in (slice(0, 4), slice(4, 8)):
            pairs = zip(memories, columns(attention.key.weight), strict=True)
            keys = torch.cat([each.values[b, : each.lengths[b]] @ part[head].T for each, part in pairs])
            pairs = zip(memories, columns(attention.value.weight), strict=True)
            values = torch.cat([each.values[b, : each.lengths[b]] @ part[head].T for each, part in pairs])
            alpha = (query[b] @ attention.query.weight[head].T @ keys.T).softmax(-1)
            contexts.append(alpha @ values)
            weights = weights + alpha / 2
        expected = torch.cat(contexts, -1) @ attention.merge.weight.T
        torch.testing.assert_close(looked.contexts[0][b], expected)
        found = [part[b, :, : each.lengths[b]] for part, each in zip(looked.weights, memories, strict=True)]
        torch.testing.assert_close(torch.cat(found, -1), weights)


@pytest.mark.parametrize(
    "attention",
    [{}, {"score": "location"}, {"scope": {"type": "window", "width": 1}}, {"heads": 2}, {"normalizer": "sparsemax"}],
    ids=str,
)
def test_hierarchical_is_equations_10_to_12(attention):
    both, memories, query = build("hierarchical", **attention), two(), queries()
    looked, _ = look(both, memories, query)
    alone = [
        part(query, part.prepare(each), part.start(part.prepare(each), 2)) for part, each in _pairs(both, memories)
    ]
    sizes = [context.shape[-1] for context, *_ in alone]
    u_b, u_c = (part.weight.split(sizes, 1) for part in (both.score.key, both.project))
    for b, i in itertools.product(range(3), range(2)):
        contexts = [context[b, i] for context, *_ in alone]
        told = both.score.query.weight @ query[b, i] + both.score.key.bias
        energies = [both.score.weight.weight[0] @ torch.tanh(told + u @ c) for u, c in zip(u_b, contexts, strict=True)]
        beta = torch.stack(energies).softmax(0)
        expected = sum(share * u @ c for share, u, c in zip(beta, u_c, contexts, strict=True))
        torch.testing.assert_close(looked.contexts[0][b, i], expected)
        for k, (_, alpha, *_) in enumerate(alone):
            torch.testing.assert_close(looked.weights[k][b, i], beta[k] * alpha[b, i])


def _pairs(part, memories):
    return list(zip(part, memories, strict=True))


def test_concat_is_each_by_itself():
    both, memories, query = build("concat", coverage={"type": "sum", "loss": 1.0}), two(), queries()
    looked, state = look(both, memories, query, steps=2)
    for k, (part, each) in enumerate(_pairs(both, memories)):
        attended, own = part.prepare(each), part.start(part.prepare(each), 2)
        for step in range(2):
            context, weights, own, aux = part(query.roll(step, -1), attended, own)
        assert torch.equal(looked.contexts[k], context) and torch.equal(looked.weights[k], weights)
        assert torch.equal(looked.aux[k]["penalty"], aux["penalty"])
        assert torch.equal(state[f"attention.{k}.total"], own["total"])
    assert both.context_dim == sum(DIMS) and len(state) == 2


def test_one_memory_twice_is_one_with_half_the_weights():
    one, query = memory(5, (4, 2, 3), 1), queries()
    for way in ("flat", "hierarchical"):
        both = build(way, dims=(5, 5))
        keys = both.score.key if way == "hierarchical" else next(iter(both)).score.key
        with torch.no_grad():
            for linear in (keys, both.project):
                linear.weight[:, 5:] = linear.weight[:, :5]
        if way == "hierarchical":
            first, second = both
            second.load_state_dict(first.state_dict())
            plain = first
        else:
            plain = Attention(Attention.Config(dim=8), query_dim=QUERY, memory_dim=5).double()
            plain.load_state_dict({**next(iter(both)).state_dict(), "score.key.weight": keys.weight[:, :5]})
        looked, _ = look(both, [one, one], query)
        context, weights, *_ = plain(query, plain.prepare(one), {})
        torch.testing.assert_close(looked.weights, [weights / 2, weights / 2])
        torch.testing.assert_close(looked.contexts[0], context @ both.project.weight[:, :5].T)


def test_flat_covers_all_memories_together():
    flat, memories, query = build("flat", coverage={"type": "sum", "loss": 1.0}), two(), queries()
    first, before = look(flat, memories, query)
    second, after = look(flat, memories, query, steps=2)
    first, second = (torch.cat(each.weights, -1).flatten(0, 1) for each in (first, second))
    torch.testing.assert_close(before["attention.0.total"], first)
    torch.testing.assert_close(after["attention.0.total"], first + second)
    looked, _ = look(flat, memories, query, steps=2)
    torch.testing.assert_close(looked.aux[0]["penalty"].flatten(), torch.minimum(first, second).sum(-1))


# What holds for all of them


SETTINGS = {"window": {"width": 1}, "local_m": {"width": 1}, "local_p": {"width": 1}, "blocks": {"size": 2},
            "location": {"filters": 2, "width": 1}, "mocha": {"chunk": 2}}  # fmt: skip
AXES = {
    "way": list(COMBINATIONS),
    "score": list(SCORES),
    "scope": [name for name in SCOPES if name != "lsh"],
    "normalizer": list(NORMALIZERS),
    "coverage": ["none", *COVERAGES],
    "heads": [1, 2],
}


def settings(case):
    parts = {key: {"type": case[key], **SETTINGS.get(case[key], {})} for key in ("score", "scope", "normalizer")}
    coverage = None if case["coverage"] == "none" else {"type": case["coverage"], "loss": 1.0}
    if case["normalizer"] == "hard" and coverage:
        coverage["loss"] = 0.0
    return {**parts, "coverage": coverage, "heads": case["heads"]}


def legal(case):
    if SCORES[case["score"]].same_size and case["heads"] == 1 and case["way"] != "flat":
        return False  # the memories are of other sizes than the query
    config = Attention.Config.model_validate({"dim": 8, **settings(case)})
    return config.conflict() is None and COMBINATIONS[case["way"]].conflict(config) is None


CASES = covering.cases(AXES, legal)


@pytest.mark.parametrize("case", covering.params(CASES))
def test_contract(case, no_shape_checks):
    """Ragged, one row without the first memory and one without the second; what is junk to it, changes nothing."""
    both, query = build(case["way"], **settings(case)), queries(4)
    memories = two((4, 0, 2, 3), (3, 2, 0, 1))
    noise = Noise(1, 1)
    junk = [Memory(x.values.clone(), x.src_valid, x.lengths, x.summary) for x in memories]
    for each in junk:
        each.values[~each.src_valid] = 1e3
        each.values[each.lengths == 0] = float("nan")
    looked, state = look(both, memories, query, steps=3)
    again, _ = look(both, junk, query, steps=3)
    for name in ("contexts", "weights", "aux"):
        torch.testing.assert_close(getattr(again, name), getattr(looked, name))
    first, second = looked.weights
    for weights, each in zip(looked.weights, memories, strict=True):
        assert weights.shape == (4, 2, each.values.shape[1]) and (weights >= 0).all()
        assert (weights[~each.src_valid[:, None].expand_as(weights)] == 0).all()
    attention = next(iter(both))
    if attention.normalizer.sums_to_one and attention.scope.sums_to_one:
        there = torch.tensor([2.0, 1.0, 1.0, 2.0], dtype=F64) if case["way"] == "concat" else torch.ones(4, dtype=F64)
        torch.testing.assert_close(first.sum(-1) + second.sum(-1), there[:, None].expand(4, 2))
    assert sum(context.shape[-1] for context in looked.contexts) == both.context_dim
    if case["way"] == "concat":
        assert (looked.contexts[0][1] == 0).all() and (looked.contexts[1][2] == 0).all()
    for row in range(4):  # alone as in the batch
        alone, _ = look(both, [only(each, row) for each in memories], query[row : row + 1], steps=3)
        for found, whole in zip(alone.contexts, looked.contexts, strict=True):
            torch.testing.assert_close(found[0], whole[row])
        for found, whole in zip(alone.weights, looked.weights, strict=True):
            torch.testing.assert_close(found[0], whole[row, :, : found.shape[-1]])
        for found, whole in zip(alone.aux, looked.aux, strict=True):
            for name in whole:
                torch.testing.assert_close(found[name][0], whole[name][row])
    trained, _ = look(both, memories, query, steps=3, noise=noise)
    parts = [*trained.contexts, *trained.weights, *(x for aux in trained.aux for x in aux.values())]
    parts = [part for part in parts if part.requires_grad]
    grads = torch.autograd.grad(sum(part.sum() for part in parts), list(both.parameters()), allow_unused=True)
    assert all(torch.isfinite(grad).all() for grad in grads if grad is not None)
    other = build(case["way"], **settings(case))  # saved and loaded
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(both.state_dict())
    torch.testing.assert_close(look(other, memories, query, steps=3)[0].contexts, looked.contexts, rtol=0, atol=0)
    assert {name.partition(".")[0] for name in state} <= {"attention"}


COVERED = {"coverage": {"type": "sum", "loss": 1.0}}


@pytest.mark.parametrize("attention", [{}, COVERED, {"heads": 2, "score": "general"}], ids=str)
@pytest.mark.parametrize("way", COMBINATIONS)
def test_gradients(way, attention, no_shape_checks):
    """By queries, by values of both memories and by weights, with a row that lacks one."""
    both, memories = _Twice(build(way, **attention)), two((3, 2, 2), (2, 1, 0))
    names = [name for name, _ in both.named_parameters()]

    def attend(query, first, second, *parameters):
        given = [
            Memory(values, each.src_valid, each.lengths, each.summary)
            for values, each in zip((first, second), memories, strict=True)
        ]
        weights = dict(zip(names, parameters, strict=True))
        looked = torch.func.functional_call(both, weights, (given, query))
        return [*looked.contexts, *looked.weights, *(aux["penalty"] for aux in looked.aux if "penalty" in aux)]

    inputs = [queries(), *(each.values for each in memories), *(part.detach() for part in both.parameters())]
    inputs = [each.clone().requires_grad_() for each in inputs]
    assert torch.autograd.gradcheck(attend, inputs, fast_mode=True)
    grads = torch.autograd.grad(sum(part.square().sum() for part in attend(*inputs)), inputs)
    assert (grads[2][2] == 0).all(), "what a row lacks has no gradient"
    assert all((grad != 0).any() for grad in grads)


class _Twice(torch.nn.Module):
    """The second of two looks, as one call."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, memories, query):
        return look(self.part, memories, query, steps=2)[0]


@pytest.mark.parametrize("way", ["flat", "hierarchical"])
def test_a_row_without_a_memory_reads_the_other_alone(way):
    both, query = build(way), queries(2)
    memories = two((4, 3), (2, 0))
    looked, _ = look(both, memories, query)
    u_c = columns(both.project.weight)[0]
    attention = Attention(Attention.Config(dim=8), query_dim=QUERY, memory_dim=DIMS[0]).double()
    attention.load_state_dict(next(iter(both)).state_dict() if way == "hierarchical" else _first_columns(both))
    context, weights, *_ = attention(query, attention.prepare(memories[0]), {})
    torch.testing.assert_close(looked.contexts[0][1], context[1] @ u_c.T)
    torch.testing.assert_close(looked.weights[0][1], weights[1])
    assert not torch.allclose(looked.weights[0][0], weights[0])


def _first_columns(flat):
    weights = next(iter(flat)).state_dict()
    return {**weights, "score.key.weight": columns(weights["score.key.weight"])[0]}


def test_summaries_of_what_is_missing_are_zero():
    memories = two((4, 0), (0, 2))
    found = summaries(memories)
    assert torch.equal(found[0], torch.cat([memories[0].summary[0, 0], torch.zeros(4, dtype=F64)]))
    assert torch.equal(found[1], torch.cat([torch.zeros(4, dtype=F64), memories[1].summary[1, 0]]))
    memories = two()
    assert torch.equal(summaries(memories), torch.cat([each.summary.flatten(1) for each in memories], 1))


# What is refused, and what one memory is


@pytest.mark.parametrize("way", COMBINATIONS)
def test_a_row_without_any_memory_is_refused(way):
    with pytest.raises(AssertionError, match=r"rows \[1\] of the batch have no memory at all: leave them out"):
        build(way).prepare(two((4, 0, 1), (0, 0, 2)))


@pytest.mark.parametrize("way", ["concat", "hierarchical"])
def test_a_memory_without_steps_is_refused(way):
    memories = [memory(DIMS[0], (2, 1)), memory(DIMS[1], (0, 0), steps=0)]
    with pytest.raises(AssertionError, match="that no row has still has one step, of padding"):
        build(way).prepare(memories)


@pytest.mark.parametrize(
    ("attention", "why"),
    [
        ({"scope": "window"}, "attention.scope window picks steps by their order: choose concat or hierarchical"),
        ({"normalizer": "monotonic"}, "attention.normalizer monotonic moves over steps by their order"),
        ({"normalizer": "mocha"}, "attention.normalizer mocha moves over steps by their order"),
        ({"score": "location"}, "attention.score location compares steps by their order"),
    ],
)
def test_flat_refuses_what_depends_on_the_order_of_steps(attention, why):
    with pytest.raises(ValueError, match=f"combine flat reads memories as one, and {why}"):
        ModelConfig.model_validate({"attention": attention, "combine": "flat"})
    for way in ("concat", "hierarchical"):
        ModelConfig.model_validate({"attention": attention, "combine": way})


def test_without_attention_there_is_nothing_to_combine():
    with pytest.raises(ValueError, match="combine flat is about attention, and attention is none: leave it at concat"):
        ModelConfig.model_validate({"attention": "none", "combine": "flat"})


@pytest.mark.parametrize("way", COMBINATIONS)
def test_with_one_memory_all_are_plain_attention(way):
    one, source, query = build(way, dims=(5,)), memory(5, (4, 2, 3)), queries()
    torch.manual_seed(1)
    plain = Attention(Attention.Config(dim=8), query_dim=QUERY, memory_dim=5).double()
    assert type(one) is Concat and one.context_dim == 5
    assert list(one.state_dict()) == [f"0.{name}" for name in plain.state_dict()]
    for found, expected in zip(one.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, expected)
    looked, _ = look(one, [source], query)
    context, weights, *_ = plain(query, plain.prepare(source), {})
    assert torch.equal(looked.contexts[0], context) and torch.equal(looked.weights[0], weights)
