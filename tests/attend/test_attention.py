"""Attention by parts: every combination keeps the contract, and each score is its equation."""

import itertools

import pytest
import torch
from tests import covering

from regard.attend import COVERAGES, NORMALIZERS, SCOPES, SCORES, Attention
from regard.attend.memory import Memory, valid_steps
from regard.ops.noise import Noise

QUERY = MEMORY = 6


def memory(lengths=(5, 3), src_len=None, seed=0):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    src_len = src_len or int(lengths.max())
    values = torch.randn(len(lengths), src_len, MEMORY, generator=draw, dtype=torch.float64)
    summary = torch.zeros(len(lengths), 1, 4, dtype=torch.float64)
    return Memory(values, valid_steps(lengths, src_len), lengths, summary)


def build(**config):
    torch.manual_seed(1)
    config.setdefault("dim", 8)
    return Attention(Attention.Config.model_validate(config), query_dim=QUERY, memory_dim=MEMORY).double()


def run(attention, source, query, steps=3, noise=None):
    """`steps` queries one after the other, threading the state."""
    attended = attention.prepare(source)
    state = attention.start(attended, queries=query.shape[1])
    found = []
    for step in range(steps):
        now = None if noise is None else noise.under(f"step.{step}")
        context, weights, state, aux = attention(query, attended, state, now)
        found.append((context, weights, aux))
        query = query.roll(1, -1)
    return found


SETTINGS = {
    "window": {"width": 1},
    "local_m": {"width": 1},
    "local_p": {"width": 1},
    "blocks": {"size": 2},
    "location": {"filters": 2, "width": 1},
    "mocha": {"chunk": 2},
}
"""What makes parts do, on five steps, what they do on fifty."""
MODES = [{"type": name} for name in NORMALIZERS]
MODES += [{"type": "softmax", "temperature": 0.5}]
MODES += [{"type": name, "mode": "hard"} for name in ("monotonic", "mocha")]
AXES = {
    "score": list(SCORES),
    "scope": list(SCOPES),
    "normalizer": [tuple(mode.items()) for mode in MODES],
    "coverage": ["none", *COVERAGES],
    "heads": [1, 2],
}


def settings(case):
    """A case as a recipe has it."""
    parts = {key: {"type": case[key], **SETTINGS.get(case[key], {})} for key in ("score", "scope")}
    kind = dict(case["normalizer"])
    coverage = None if case["coverage"] == "none" else {"type": case["coverage"], "loss": 1.0}
    return {**parts, "normalizer": {**SETTINGS.get(kind["type"], {}), **kind}, "coverage": coverage,
            "heads": case["heads"], "dim": 8}  # fmt: skip


def legal(case):
    return Attention.Config.model_validate(settings(case)).conflict() is None


CASES = covering.cases(AXES, legal)
EVERY = covering.params(CASES, covering.product(AXES, legal))


@pytest.mark.parametrize("case", EVERY)
def test_contract(case):
    attention = build(**settings(case))
    source, query = memory(), torch.randn(2, 3, QUERY, dtype=torch.float64)
    for context, weights, aux in run(attention, source, query):
        assert context.shape == (2, 3, attention.context_dim) and weights.shape == (2, 3, 5)
        assert (weights >= 0).all() and (weights[1, :, 3:] == 0).all()
        total = weights.sum(-1)
        if attention.normalizer.sums_to_one and attention.scope.sums_to_one:
            torch.testing.assert_close(total, torch.ones(2, 3, dtype=torch.float64))
        assert (total <= 1 + 1e-9).all()
        assert all(part.shape == (2, 3) for name, part in aux.items() if name != "heads")
    alone = memory()
    alone = Memory(alone.values[1:, :3], alone.src_valid[1:, :3], alone.lengths[1:], alone.summary[1:])
    for (context, weights, aux), (one_context, one_weights, one_aux) in zip(
        run(attention, source, query), run(attention, alone, query[1:]), strict=True
    ):
        torch.testing.assert_close(one_context, context[1:])  # same alone and in a padded batch
        torch.testing.assert_close(one_weights, weights[1:, :, :3])
        for name in aux.keys() - {"heads"}:
            torch.testing.assert_close(one_aux[name], aux[name][1:])
    again = Attention(
        Attention.Config.model_validate_json(Attention.Config.model_validate(settings(case)).model_dump_json()),
        query_dim=QUERY,
        memory_dim=MEMORY,
    ).double()
    again.load_state_dict(attention.state_dict())  # saved and loaded
    for first, second in zip(run(attention, source, query), run(again, source, query), strict=True):
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


STRAIGHT = (("type", "hard_gumbel"),)
"""Its gradients are not those of its weights: a test of its own, below."""


@pytest.mark.parametrize(
    "case",
    [
        each
        for each in covering.params(covering.singles(AXES, legal), covering.product(AXES, legal))
        if each.values[0]["normalizer"] != STRAIGHT
    ],
)
def test_gradients(case, no_shape_checks):
    """Of contexts, weights, penalties and what was sampled, by queries and values, in training."""
    attention = build(**settings(case))
    source = memory()
    query = torch.randn(2, 2, QUERY, dtype=torch.float64, requires_grad=True)
    values = source.values.clone().requires_grad_()

    def attend(query, values):
        given = Memory(values, source.src_valid, source.lengths, source.summary)
        context, weights, aux = run(attention, given, query, 2, Noise(1, 1))[1]
        parts = [part for name, part in sorted(aux.items()) if name not in ("heads", "baseline")]
        return [part for part in (context, weights, *parts) if part.requires_grad]

    plain = case["scope"] == "whole" and case["heads"] == 1  # each element of the Jacobian; else random directions
    assert torch.autograd.gradcheck(attend, (query, values), fast_mode=not plain)


@pytest.mark.parametrize("name", SCORES)
def test_score_is_its_equation(name):
    attention = build(score=name)
    score, source = attention.score, memory((4, 4))
    query = torch.randn(2, 1, QUERY, dtype=torch.float64)
    found = score(query, score.keys(source.values))
    for b, s in itertools.product(range(2), range(4)):
        q, m = query[b, 0], source.values[b, s]
        expected = {
            "dot": lambda q=q, m=m: q @ m,
            "general": lambda q=q, m=m: q @ (score.project.weight @ m),
            "scaled_dot": lambda q=q, m=m: (score.query.weight @ q) @ (score.key.weight @ m) / 8**0.5,
            "additive": lambda q=q, m=m: (
                score.weight.weight[0] @ torch.tanh(score.query.weight @ q + score.key.weight @ m + score.key.bias)
            ),
            "location": lambda q=q, m=m: (  # of the first step, which has no weights before it
                score.weight.weight[0] @ torch.tanh(score.query.weight @ q + score.key.weight @ m + score.key.bias)
            ),
            "concat": lambda q=q, m=m: score.weight.weight[0] @ torch.tanh(score.both.weight @ torch.cat([q, m])),
            "trilinear": lambda q=q, m=m: score.weight.weight[0] @ torch.cat([q, m, q * m]),
        }[name]()
        torch.testing.assert_close(found[b, 0, s], expected)


def test_heads_equal_torch_multihead_attention():
    """scaled_dot with identity projections inside heads is `nn.MultiheadAttention`, with its weights copied."""
    attention = build(score="scaled_dot", heads=2, dim=6)
    with torch.no_grad():
        for part in (attention.score.query, attention.score.key):
            part.weight.copy_(torch.eye(3))
    other = torch.nn.MultiheadAttention(6, 2, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]))
        other.out_proj.weight.copy_(attention.merge.weight)
    source, query = memory(), torch.randn(2, 3, QUERY, dtype=torch.float64)
    context, weights, _, aux = attention(query, attention.prepare(source), {})
    expected, expected_weights = other(
        query, source.values, source.values, key_padding_mask=~source.src_valid, average_attn_weights=False
    )
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(aux["heads"], expected_weights)
    torch.testing.assert_close(weights, expected_weights.mean(1))


@pytest.mark.parametrize(("width", "rate"), [(0, 1.0), (1, 1.0), (2, 0.5), (50, 1.0)])
def test_window_equals_a_masked_whole_source(width, rate):
    """The window reads only its own steps, and finds what the whole source, masked, would give."""
    attention = build(score="general", scope={"type": "window", "width": width, "rate": rate})
    source, query = memory(), torch.randn(2, 1, QUERY, dtype=torch.float64)
    for t, (context, weights, _) in enumerate(run(attention, source, query, steps=9)):
        asked = query.roll(t, -1)
        scores = attention.score(asked, attention.score.keys(source.values))
        for b, length in enumerate(source.lengths.tolist()):
            centre = min(round(t * rate), length - 1)
            seen = [s for s in range(length) if abs(s - centre) <= width]
            expected = torch.zeros(5, dtype=torch.float64)
            expected[seen] = scores[b, 0, seen].softmax(0)
            torch.testing.assert_close(weights[b, 0], expected)
            torch.testing.assert_close(context[b, 0], expected @ source.values[b])


def test_what_is_out_of_the_window_is_never_read():
    attention = build(score="dot", scope={"type": "window", "width": 1})
    source = memory((40,))
    source.values[:, 10:] = float("nan")
    query = torch.randn(1, 1, QUERY, dtype=torch.float64)
    for context, _, _ in run(attention, source, query, steps=8):
        assert torch.isfinite(context).all()


def test_queries_share_a_sentence_as_they_would_have_it_alone():
    attention, source = build(heads=2), memory()
    query = torch.randn(2, 7, QUERY, dtype=torch.float64)
    context, _, _, _ = attention(query, attention.prepare(source), {})
    for k in range(7):
        one, _, _, _ = attention(query[:, k : k + 1], attention.prepare(source), {})
        torch.testing.assert_close(context[:, k : k + 1], one)


def test_what_cannot_work_together_is_refused_with_the_reason():
    for name, scope in itertools.product(("monotonic", "mocha"), SCOPES):
        conflict = Attention.Config(normalizer=name, scope=scope).conflict()
        assert (conflict is None) == (scope == "whole")
        assert conflict is None or f"normalizer {name} moves over the source" in conflict
    twice = Attention.Config(normalizer="hard", coverage={"type": "sum", "loss": 1}).conflict()
    assert "coverage.loss teaches nothing through attention.normalizer hard" in twice
    assert Attention.Config(normalizer="hard", coverage="sum").conflict() is None
    assert "cannot be split over 3 heads" in Attention.Config(dim=8, heads=3).conflict()


def test_a_subclass_of_a_fast_score_is_computed_as_it_is_written():
    class Opposite(type(build().score)):
        def forward(self, query, keys):
            return -super().forward(query, keys)

    attention, source = build().float(), memory((4, 4))
    source = Memory(source.values.float(), source.src_valid, source.lengths, source.summary.float())
    query = torch.randn(2, 1, QUERY)
    _, weights, _, _ = attention(query, attention.prepare(source), {})
    SCORES["opposite"] = Opposite
    try:
        config = Attention.Config(dim=8)
        other = Attention(
            config.model_copy(update={"score": config.score.model_copy(update={"type": "opposite"})}),
            query_dim=QUERY,
            memory_dim=MEMORY,
        )
    finally:
        del SCORES["opposite"]
    other.load_state_dict(attention.state_dict())
    attended = other.prepare(source)
    assert attended.loop is None and not other.usual
    _, opposite, _, _ = other(query, attended, {})
    torch.testing.assert_close((1 / weights) / (1 / weights).sum(-1, keepdim=True), opposite)
