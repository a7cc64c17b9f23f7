"""Self-attention: against torch's own, over every scope, with hashing against all pairs."""

import itertools

import pytest
import torch
from tests.test_model import awake
from torch.utils._python_dispatch import TorchDispatchMode

from regard.attend import NORMALIZERS, SCOPES, SelfAttention
from regard.attend.lsh import Hashed
from regard.attend.memory import Memory, valid_steps
from regard.attend.question import Question
from regard.encode import ENCODERS
from regard.model_config import ModelConfig

SIZE = 6
F64 = torch.float64
NARROW = {
    "window": {"width": 1},
    "local_m": {"width": 1},
    "local_p": {"width": 2},
    "blocks": {"size": 2},
    "lsh": {"buckets": 2, "chunk": 2, "rounds": 2},
}
STATELESS = [name for name, part in NORMALIZERS.items() if part.stateless]


def memory(lengths=(7, 4), seed=0):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    values = torch.randn(len(lengths), int(lengths.max()), SIZE, generator=draw, dtype=F64)
    return Memory(values, valid_steps(lengths, values.shape[1]), lengths, torch.zeros(len(lengths), 1, 4, dtype=F64))


def build(size=SIZE, **config):
    torch.manual_seed(1)
    return awake(SelfAttention(SelfAttention.Config.model_validate({"dim": 8, **config}), size=size).double())


CASES = list(itertools.product(SCOPES, STATELESS, [1, 2]))


@pytest.mark.parametrize(("scope", "normalizer", "heads"), CASES)
def test_contract(scope, normalizer, heads):
    layer = build(scope={"type": scope, **NARROW.get(scope, {})}, normalizer=normalizer, heads=heads)
    given = memory()
    after, weights = layer(given)
    assert weights.shape == (2, heads, 7, 7) and (weights >= 0).all()
    assert (weights[1, :, :, 4:] == 0).all()
    total = weights[0].sum(-1)
    assert (total <= 1 + 1e-9).all()
    if SCOPES[scope].sums_to_one:
        torch.testing.assert_close(total, torch.ones_like(total))
    alone = Memory(given.values[1:, :4], given.src_valid[1:, :4], given.lengths[1:], given.summary[1:])
    one, one_weights = layer(alone)
    torch.testing.assert_close(one.values, after.values[1:, :4])  # same alone and in a padded batch
    torch.testing.assert_close(one_weights, weights[1:, :, :4, :4])
    assert torch.equal(after.values[1, 4:], given.values[1, 4:])


@pytest.mark.parametrize("scope", SCOPES)
def test_gradients(scope, no_shape_checks):
    layer, given = build(scope={"type": scope, **NARROW.get(scope, {})}, heads=2), memory((5, 3))

    def attend(values):
        return layer(Memory(values, given.src_valid, given.lengths, given.summary))[0].values

    assert torch.autograd.gradcheck(attend, given.values.clone().requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_equals_torch_multihead_attention(heads, causal):
    layer, given = build(heads=heads, dim=SIZE, scope="past" if causal else "whole"), memory()
    other = torch.nn.MultiheadAttention(SIZE, heads, bias=False, batch_first=True, dtype=F64)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]))
        other.out_proj.weight.copy_(layer.merge.weight)
    normed = layer.norm(given.values)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
    expected, expected_weights = other(
        normed, normed, normed, key_padding_mask=~given.src_valid, attn_mask=mask, average_attn_weights=False
    )
    after, weights = layer(given)
    real = given.src_valid
    torch.testing.assert_close(after.values[real], (given.values + expected)[real])
    torch.testing.assert_close(weights[1, :, :4], expected_weights[1, :, :4])
    torch.testing.assert_close(weights[0], expected_weights[0])


CAUSAL = [{"type": "past"}, {"type": "window", "width": 2, "causal": True}]
CAUSAL += [{"type": "blocks", "size": 3, "causal": True}, {"type": "lsh", "causal": True, **NARROW["lsh"]}]


@pytest.mark.parametrize("scope", CAUSAL, ids=str)
def test_causal_scopes_see_nothing_that_follows(scope):
    layer, given = build(scope=scope), memory((9,))
    _, weights = layer(given)
    assert (weights[0, 0].triu(1) == 0).all()
    if scope["type"] != "lsh":  # whose sorting, and so whose chunks, may depend on what follows
        changed = given.values.clone()
        changed[:, 6:] += 1.0
        after, _ = layer(Memory(changed, given.src_valid, given.lengths, given.summary))
        torch.testing.assert_close(after.values[:, :6], layer(given)[0].values[:, :6])


def hashed(query, valid=None, **config):
    part = Hashed(Hashed.Config(**config), query_dim=query.shape[2], dim=4).to(query.dtype)
    keys = torch.nn.functional.normalize(query, dim=-1)
    candidates, _ = part(keys, keys, valid, Question(query, {}))
    return part, candidates


def seen(candidates, b, i):
    return candidates.positions[b, i][candidates.valid[b, i]].tolist()


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_a_step_sees_whom_it_shares_a_bucket_with(rounds, causal):
    """One chunk for all, so that the scope is the definition."""
    query = torch.randn(2, 12, 4, dtype=F64)
    valid = valid_steps(torch.tensor([12, 8]), 12)
    part, candidates = hashed(query, valid, buckets=4, rounds=rounds, chunk=12, causal=causal)
    for b, length in enumerate((12, 8)):
        turned = [query[b] @ part.rotations[r] for r in range(rounds)]
        names = [torch.cat([x, -x], -1).argmax(-1).tolist() for x in turned]
        for i in range(length):
            expected = [
                j
                for j in range(i if causal else length)
                if j != i and any(names[r][i] == names[r][j] for r in range(rounds))
            ]
            assert sorted(seen(candidates, b, i)) == (expected or [i])


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_a_large_bucket_is_cut_into_chunks(chunk):
    """All in one bucket: each sees its chunk of the order and the one before."""
    query = torch.ones(1, 11, 4, dtype=F64)
    _, candidates = hashed(query, buckets=2, rounds=1, chunk=chunk)
    for i in range(11):
        first = max(i // chunk - 1, 0) * chunk
        expected = [j for j in range(first, min((i // chunk + 1) * chunk, 11)) if j != i]
        assert sorted(seen(candidates, 0, i)) == (expected or [i])


def test_what_lies_out_of_the_hash_is_never_scored():
    """64 steps of 4,096 and no more candidates than 2 · rounds · chunk + 1."""
    _, candidates = hashed(torch.randn(1, 4096, 8), buckets=128, rounds=2, chunk=16)
    assert candidates.keys.shape[2] == 2 * 2 * 16 + 1


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            self.numbers = max(self.numbers, each.numel() if isinstance(each, torch.Tensor) else 0)
        return made


@pytest.mark.parametrize("scope", ["window", "local_m", "local_p", "blocks", "lsh"])
def test_weights_over_all_steps_are_made_only_where_they_are_asked_for(scope, no_shape_checks):
    layer, given = build(scope={"type": scope, **NARROW[scope]}), memory((256,))
    with Largest() as kept:
        after, weights = layer(given)
    with Largest() as unkept:
        same, none = layer(given, keep_weights=False)
    assert torch.equal(same.values, after.values) and none is None and weights.shape == (1, 1, 256, 256)
    assert kept.numbers == 256**2 and unkept.numbers < 256**2 / 2


@pytest.mark.parametrize("scope", ["past", "whole", "lsh"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_encoder(scope, bidirectional):
    kind = ENCODERS["self_attentive"]
    settings = {"hidden": 6, "bidirectional": bidirectional, "attention_layers": 2}
    attention = {"scope": {"type": scope, **NARROW.get(scope, {})}, "heads": 2, "dim": 8}
    torch.manual_seed(1)
    encoder = awake(kind(kind.Config.model_validate({**settings, "attention": attention}), input_size=SIZE).double())
    x, lengths = torch.randn(2, 7, SIZE, dtype=F64), torch.tensor([7, 4])
    found = encoder(x, lengths)
    assert found.values.shape == (2, 7, encoder.dim) and found.summary.flatten(1).shape[1] == encoder.summary_size
    alone = encoder(x[1:, :4], lengths[1:])
    torch.testing.assert_close(alone.values, found.values[1:, :4])
    assert (found.values[1, 4:] == 0).all()


def test_what_cannot_work_together_is_refused():
    with pytest.raises(ValueError, match=r"attention\s+Value error, normalizer monotonic goes from one query to"):
        ModelConfig.model_validate({"encoder": {"type": "self_attentive", "attention": {"normalizer": "monotonic"}}})
    with pytest.raises(ValueError, match=r"attention\s+Value error, dim 8 cannot be split over 3 heads"):
        ModelConfig.model_validate({"encoder": {"type": "self_attentive", "attention": {"dim": 8, "heads": 3}}})
    with pytest.raises(ValueError, match=r"scope lsh finds steps that are alike, for self-attention"):
        ModelConfig.model_validate({"attention": {"scope": "lsh"}})
