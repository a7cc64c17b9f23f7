"""Each part is the equation that it cites, element by element."""

import math

import pytest
import torch
from tests.attend.test_attention import QUERY, build, memory, run

from regard.attend.hard import HardGumbel, HardSample
from regard.attend.monotonic import Mocha, Monotonic
from regard.attend.question import Question
from regard.ops.noise import Noise

F64 = torch.float64


def ask(steps, state=None, noise=None, rows=1, queries=1):
    return Question(torch.zeros(rows, queries, QUERY, dtype=F64), state or {}, noise)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_softmax_with_temperature(temperature):
    attention, source = build(score="dot", normalizer={"type": "softmax", "temperature": temperature}), memory((4, 4))
    query = torch.randn(2, 1, QUERY, dtype=F64)
    ((_, weights, _),) = run(attention, source, query, steps=1)
    for b in range(2):
        exps = [math.exp(float(query[b, 0] @ source.values[b, s]) / temperature) for s in range(4)]
        torch.testing.assert_close(weights[b, 0], torch.tensor(exps, dtype=F64) / sum(exps))


def test_local_p_is_equations_9_and_10():
    attention, width = build(score="general", scope={"type": "local_p", "width": 2}, dim=8), 2
    source, query = memory((9, 6)), 4 * torch.randn(2, 3, QUERY, dtype=F64)
    ((context, weights, _),) = run(attention, source, query, steps=1)
    scope, score = attention.scope, attention.score
    for b, length in enumerate((9, 6)):
        for q in range(3):
            inner = torch.tanh(scope.query.weight @ query[b, q])
            p = length * torch.sigmoid(scope.weight.weight[0] @ inner).item()  # steps count from 1, as in the paper
            seen = [s for s in range(1, length + 1) if p - width <= s <= p + width]
            scores = torch.stack([query[b, q] @ (score.project.weight @ source.values[b, s - 1]) for s in seen])
            expected = torch.zeros(9, dtype=F64)
            for s, align in zip(seen, scores.softmax(0), strict=True):
                expected[s - 1] = align * math.exp(-((s - p) ** 2) / (2 * (width / 2) ** 2))
            torch.testing.assert_close(weights[b, q], expected)
            torch.testing.assert_close(context[b, q], expected @ source.values[b])


def test_local_p_learns_its_centre():
    """The Gaussian pulls the centre to where the value helps, though which steps are seen has no gradient."""
    attention = build(score="dot", scope={"type": "local_p", "width": 2})
    context, _, _, _ = attention(torch.randn(2, 1, QUERY, dtype=F64), attention.prepare(memory()), {})
    context.sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in attention.scope.parameters())


def test_local_m_moves_by_a_step_a_token():
    source, query = memory((12, 7)), torch.randn(2, 1, QUERY, dtype=F64)
    for t, (_, weights, _) in enumerate(run(build(scope={"type": "local_m", "width": 2}), source, query, steps=9)):
        for b, length in enumerate((12, 7)):
            centre = min(t, length - 1)
            seen = [s for s in range(length) if centre - 2 <= s <= centre + 2]
            assert weights[b, 0].nonzero().flatten().tolist() == seen


@pytest.mark.parametrize(("before", "after", "rate"), [(0, 0, 1.0), (1, 0, 1.0), (1, 1, 2.0)])
def test_blocks_equal_a_masked_whole_source(before, after, rate):
    scope = {"type": "blocks", "size": 3, "before": before, "after": after, "rate": rate}
    attention, source = build(score="general", scope=scope), memory((11, 7))
    query = torch.randn(2, 1, QUERY, dtype=F64)
    for t, (context, weights, _) in enumerate(run(attention, source, query, steps=9)):
        scores = attention.score(query.roll(t, -1), attention.score.keys(source.values))
        for b, length in enumerate((11, 7)):
            block = min(round(t * rate), length - 1) // 3
            seen = [s for s in range(length) if block - before <= s // 3 <= block + after]
            expected = torch.zeros(11, dtype=F64)
            expected[seen] = scores[b, 0, seen].softmax(0)
            torch.testing.assert_close(weights[b, 0], expected)
            torch.testing.assert_close(context[b, 0], expected @ source.values[b])


def test_location_is_chorowski_equations_8_and_9():
    attention = build(score={"type": "location", "filters": 3, "width": 1})
    source, score, query = memory(), attention.score, torch.randn(2, 1, QUERY, dtype=F64)
    filters = score.convolution.weight[:, 0]  # (filters, 3)
    earlier = torch.zeros(2, 5, dtype=F64)
    for t, (_, weights, _) in enumerate(run(attention, source, query, steps=4)):
        for b, length in enumerate((5, 3)):
            scores = []
            for j in range(length):
                around = [earlier[b, j + o] if 0 <= j + o < 5 else earlier.new_zeros(()) for o in (-1, 0, 1)]
                f = filters @ torch.stack(around)
                inner = score.query.weight @ query.roll(t, -1)[b, 0] + score.key(source.values[b, j])
                scores.append(score.weight.weight[0] @ torch.tanh(inner + score.location.weight @ f))
            torch.testing.assert_close(weights[b, 0, :length], torch.stack(scores).softmax(0))
        earlier = weights[:, 0].detach()


def test_coverage_is_see_equations_10_to_12():
    attention = build(coverage={"type": "sum", "loss": 0.7})
    source, score, query = memory(), attention.score, torch.randn(2, 1, QUERY, dtype=F64)
    w = attention.coverage.vector.weight[:, 0]
    covered = torch.zeros(2, 5, dtype=F64)
    for t, (_, weights, aux) in enumerate(run(attention, source, query, steps=4)):
        for b, length in enumerate((5, 3)):
            scores = []
            for j in range(length):
                inner = score.query.weight @ query.roll(t, -1)[b, 0] + score.key(source.values[b, j])
                scores.append(score.weight.weight[0] @ torch.tanh(inner + w * covered[b, j]))
            torch.testing.assert_close(weights[b, 0, :length], torch.stack(scores).softmax(0))
            repeated = sum(min(weights[b, 0, j].item(), covered[b, j].item()) for j in range(5))
            assert aux["penalty"][b, 0].item() == pytest.approx(0.7 * repeated, abs=1e-12)
        covered = covered + weights[:, 0].detach()


def stopping(scores, steps=3, noise=None, part=None, **config):
    """Weights of several tokens, each with scores of its own: (tokens, src_len)."""
    part = (part or Monotonic(Monotonic.Config(**config), query_dim=QUERY)).double()
    state, found = part.start(scores[0].reshape(-1, scores.shape[-1])[:1]), []
    for t in range(steps):
        answer = part(scores[t], None, ask(scores.shape[-1], state, noise))
        state = answer.state
        found.append(answer.weights[0, 0])
    return torch.stack(found)


def test_monotonic_is_raffels_recurrence():
    scores = 2 * torch.randn(4, 1, 1, 6, dtype=F64)
    found = stopping(scores, 4)
    p = torch.sigmoid(scores[:, 0, 0] - 1.0)
    earlier = [1.0, 0, 0, 0, 0, 0]
    for i in range(4):
        q, now = 0.0, []
        for j in range(6):  # q_ij = (1 − p_i,j−1) q_i,j−1 + α_i−1,j and α_ij = p_ij q_ij: equations 13 and 14
            q = (1 - float(p[i, j - 1]) if j else 0.0) * q + earlier[j]
            now.append(float(p[i, j]) * q)
        torch.testing.assert_close(found[i], torch.tensor(now, dtype=F64))
        earlier = now


def test_hard_monotonic_is_algorithm_1():
    scores = 3 * torch.randn(5, 1, 1, 8, dtype=F64, generator=torch.Generator().manual_seed(3))
    found, at = stopping(scores, 5, mode="hard"), 0
    for i in range(5):
        stop = next((j for j in range(at, 8) if float(scores[i, 0, 0, j]) - 1.0 > 0), None) if at is not None else None
        assert found[i].nonzero().flatten().tolist() == ([] if stop is None else [stop])
        at = stop


def test_expected_monotonic_is_hard_where_it_is_sure():
    scores = 60 * torch.randn(5, 1, 1, 8, dtype=F64).sign()
    torch.testing.assert_close(stopping(scores, 5), stopping(scores, 5, mode="hard"))


def test_monotonic_has_gradients_where_it_is_sure():
    scores = torch.tensor([60.0, -60, 60, -60], dtype=torch.float32)[None, None].requires_grad_()
    part = Monotonic(Monotonic.Config(), query_dim=QUERY)
    part(scores, None, ask(4, part.start(scores[0]))).weights.sum().backward()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("mode", ["expected", "hard"])
@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_mocha_is_chiu_and_raffels_equation_23(chunk, mode):
    scores = 2 * torch.randn(4, 2, 1, 1, 7, dtype=F64)  # token, kind
    found = stopping(scores, 4, part=Mocha(Mocha.Config(chunk=chunk, mode=mode), query_dim=QUERY))
    stops = stopping(scores[:, 0], 4, mode=mode)
    for i in range(4):
        u = scores[i, 1, 0, 0]
        for j in range(7):
            expected = sum(
                (stops[i, k] * u[j].exp() / u[max(k - chunk + 1, 0) : k + 1].exp().sum()).item()
                for k in range(j, min(j + chunk, 7))
            )
            assert found[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_mocha_of_one_step_is_monotonic():
    scores = torch.randn(3, 2, 1, 1, 6, dtype=F64)
    torch.testing.assert_close(
        stopping(scores, part=Mocha(Mocha.Config(chunk=1), query_dim=QUERY)), stopping(scores[:, 0])
    )


@pytest.mark.parametrize("kind", [HardSample, HardGumbel])
def test_hard_samples_the_softmax_and_otherwise_takes_the_likeliest(kind):
    part, probs = kind(kind.Config(), query_dim=QUERY), torch.tensor([0.5, 0.05, 0.0, 0.3, 0.15])
    scores = probs.log().expand(4000, 2, 5)
    answer = part(scores, None, Question(torch.zeros(4000, 2, QUERY), {}, Noise(1, 1)))
    assert set(answer.weights.unique().tolist()) == {0.0, 1.0} and (answer.weights.sum(-1) == 1).all()
    share = answer.weights.mean((0, 1))  # 8,000 samples: a deviation of at most 0.0056
    torch.testing.assert_close(share, probs, atol=0.02, rtol=0)
    assert share[2] == 0
    sure = part(scores[:1], None, Question(torch.zeros(1, 2, QUERY), {})).weights
    assert sure[0, 0].tolist() == [1, 0, 0, 0, 0]


def test_hard_reports_what_reinforce_needs():
    part = HardSample(HardSample.Config(reward=2.0, entropy=0.5), query_dim=QUERY).double()
    scores = torch.randn(3, 1, 4, dtype=F64)
    valid = torch.tensor([[True] * 4, [True] * 4, [True, True, False, False]])[:, None]
    answer = part(scores, valid, ask(4, noise=Noise(1, 1), rows=3))
    log_probs = scores.masked_fill(~valid, float("-inf")).log_softmax(-1)
    torch.testing.assert_close(answer.aux["log_prob"], 2.0 * log_probs[answer.weights.bool()][:, None])
    probs = log_probs.exp()
    entropy = torch.distributions.Categorical(probs=probs).entropy()
    torch.testing.assert_close(answer.aux["penalty"], -0.5 * entropy)
    assert not part(scores, valid, ask(4, rows=3)).aux


def test_gumbels_gradients_are_those_of_the_softmax():
    part = HardGumbel(HardGumbel.Config(temperature=0.7), query_dim=QUERY)
    scores = torch.randn(3, 1, 4, dtype=F64, requires_grad=True)
    values = torch.randn(3, 1, 4, dtype=F64)
    hard = part(scores, None, ask(4, noise=Noise(5, 1), rows=3)).weights
    (found,) = torch.autograd.grad((hard * values).sum(), scores)
    soft = ((scores + Noise(5, 1).gumbel("pick", like=scores)) / 0.7).softmax(-1)
    (expected,) = torch.autograd.grad((soft * values).sum(), scores)
    torch.testing.assert_close(found, expected)
