"""The policy gradient against every sample there can be."""

import itertools

import torch

from regard.ops.reinforce import reinforce

F64 = torch.float64


def test_the_mean_gradient_is_that_of_the_expected_reward():
    """Three steps of three choices each, the scores of a step depending on the choices before; padding at the end."""
    torch.manual_seed(1)
    tables = [torch.randn(3**t, 3, dtype=F64, requires_grad=True) for t in range(3)]
    rewards = [torch.randn(3 ** (t + 1), dtype=F64) for t in range(3)]
    baseline = torch.randn(1, 4, dtype=F64)
    expected, found = torch.zeros((), dtype=F64), [torch.zeros_like(table) for table in tables]
    for picks in itertools.product(range(3), repeat=3):
        at, log_probs, gained = 0, [], []
        for t, pick in enumerate(picks):
            log_probs.append(tables[t].log_softmax(-1)[at, pick])
            at = at * 3 + pick
            gained.append(rewards[t][at])
        chance = torch.stack(log_probs).sum().exp()
        expected = expected + chance * torch.stack(gained).sum()
        valid = torch.tensor([[True, True, True, False]])
        loss = reinforce(
            torch.stack([*gained, torch.tensor(1e6, dtype=F64)])[None],
            valid,
            torch.stack([*log_probs, torch.zeros((), dtype=F64)])[None],
            baseline,
        )
        for total, part in zip(found, torch.autograd.grad(loss, tables, retain_graph=True), strict=True):
            total += chance.detach() * part
    for total, part in zip(found, torch.autograd.grad(expected, tables), strict=True):
        torch.testing.assert_close(total, -part)


def test_the_baseline_learns_the_mean_reward_to_come():
    baseline = torch.zeros(1, 3, dtype=F64, requires_grad=True)
    rewards, valid = torch.tensor([[-1.0, -2.0, -6.0]], dtype=F64), torch.ones(1, 3, dtype=torch.bool)
    loss = reinforce(rewards, valid, torch.zeros(1, 3, dtype=F64), baseline)
    (grad,) = torch.autograd.grad(loss, baseline)
    torch.testing.assert_close(-grad, torch.tensor([[-3.0, -4.0, -6.0]], dtype=F64))
