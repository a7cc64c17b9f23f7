"""Attention by parts: every combination keeps the contract, and each score is its equation."""

import itertools

import pytest
import torch

from regard.attend import NORMALIZERS, SCOPES, SCORES, Attention
from regard.attend.memory import Memory, valid_steps

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


def run(attention, source, query, steps=3):
    """`steps` queries one after the other, threading the state."""
    attended = attention.prepare(source)
    state = attention.start(query.shape[0] * query.shape[1], query.device)
    found = []
    for _ in range(steps):
        context, weights, state, aux = attention(query, attended, state)
        found.append((context, weights, aux))
        query = query.roll(1, -1)
    return found


PRODUCT = list(itertools.product(SCORES, SCOPES, NORMALIZERS, [1, 2, 4]))


@pytest.mark.parametrize(("score", "scope", "normalizer", "heads"), PRODUCT)
def test_contract(score, scope, normalizer, heads):
    scope = {"type": "window", "width": 1} if scope == "window" else scope
    attention = build(score=score, scope=scope, normalizer=normalizer, heads=heads)
    source, query = memory(), torch.randn(2, 3, QUERY, dtype=torch.float64)
    for context, weights, _ in run(attention, source, query):
        assert context.shape == (2, 3, attention.context_dim) and weights.shape == (2, 3, 5)
        assert (weights >= 0).all() and (weights[1, :, 3:] == 0).all()
        if attention.normalizer.sums_to_one:
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    alone = memory()
    alone = Memory(alone.values[1:, :3], alone.src_valid[1:, :3], alone.lengths[1:], alone.summary[1:])
    for (context, weights, _), (one_context, one_weights, _) in zip(
        run(attention, source, query), run(attention, alone, query[1:]), strict=True
    ):
        torch.testing.assert_close(one_context, context[1:])  # same alone and in a padded batch
        torch.testing.assert_close(one_weights, weights[1:, :, :3])


@pytest.mark.parametrize(("score", "scope", "normalizer", "heads"), PRODUCT)
def test_gradients(score, scope, normalizer, heads):
    attention = build(score=score, scope=scope, normalizer=normalizer, heads=heads)
    source = memory()
    query = torch.randn(2, 2, QUERY, dtype=torch.float64, requires_grad=True)
    values = source.values.clone().requires_grad_()

    def attend(query, values):
        return run(attention, Memory(values, source.src_valid, source.lengths, source.summary), query, 2)[1][:2]

    plain = scope == "whole" and heads == 1  # every element of the Jacobian; elsewhere random directions of it
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
            "concat": lambda q=q, m=m: (
                score.weight.weight[0] @ torch.tanh(score.both.weight @ torch.cat([q, m]))
            ),
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
        other.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
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
