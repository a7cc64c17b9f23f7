"""sLSTM and mLSTM against their equations, number by number; gates that are huge and tiny."""

import itertools
import math

import pytest
import torch

from regard.cells import CELLS, mlstm

F64 = torch.float64
KINDS = {"slstm": ("slstm", {}), "slstm, heads": ("slstm", {"heads": 3}), "mlstm": ("mlstm", {"heads": 2})}


def build(kind, dtype=F64):
    name, settings = KINDS[kind]
    torch.manual_seed(3)
    return CELLS[name](CELLS[name].Config(**settings), input_size=4, hidden=6).to(dtype)


def xlstm_by_hand(cell, x):
    """Without stabilisation, a number at a time: the paper's equations before its section on that."""
    h, c, n = torch.zeros(6, dtype=F64), torch.zeros(6, dtype=F64), torch.zeros(6, dtype=F64)
    weight, outputs = cell.recurrent_weight, []
    for x_t in x:
        z, i, f, o = (cell.input.weight @ x_t + cell.input.bias + weight @ h).chunk(4)
        c = f.sigmoid() * c + i.exp() * z.tanh()
        n = f.sigmoid() * n + i.exp()
        h = o.sigmoid() * c / n
        outputs.append(h)
    return torch.stack(outputs)


@torch.no_grad()
@pytest.mark.parametrize("name", ["slstm", "slstm, heads"])
def test_slstm_is_its_equations(name):
    cell, x = build(name), torch.randn(3, 8, 4, dtype=F64)
    outputs, _ = cell.sequence(x, None)
    for row in range(3):
        torch.testing.assert_close(outputs[row], xlstm_by_hand(cell, x[row]))


def test_heads_of_slstm_see_their_own_outputs_alone():
    """Three heads of two units, in each of the four gates."""
    weight = build("slstm, heads").recurrent_weight.reshape(4, 6, 6)
    inside = torch.block_diag(*[torch.ones(2, 2)] * 3).bool()
    assert (weight[:, inside] != 0).all() and not weight[:, ~inside].any()


@torch.no_grad()
@pytest.mark.parametrize("chunk", [3, 64])
def test_mlstm_is_its_equations(chunk, monkeypatch):
    """Without stabilisation, a head and a step at a time; gates that make the sums grow and vanish."""
    monkeypatch.setattr(mlstm, "CHUNK", chunk)
    cell, x = build("mlstm"), 3 * torch.randn(2, 8, 4, dtype=F64)
    outputs, _ = cell.sequence(x, None)
    w = dict(
        zip(
            "qkvoif",
            zip(*(part.split([6, 6, 6, 6, 2, 2]) for part in cell.input.parameters()), strict=True),
            strict=True,
        )
    )
    for row, head in itertools.product(range(2), range(2)):
        own = slice(3 * head, 3 * head + 3)
        matrix, n = torch.zeros(3, 3, dtype=F64), torch.zeros(3, dtype=F64)
        for t in range(8):
            told = {name: weight @ x[row, t] + bias for name, (weight, bias) in w.items()}
            q, k, v = told["q"][own], told["k"][own] / math.sqrt(3), told["v"][own]
            i, f = told["i"][head].exp(), told["f"][head].sigmoid()
            matrix, n = f * matrix + i * torch.outer(v, k), f * n + i * k
            h = told["o"][own].sigmoid() * (matrix @ q) / max(abs(float(n @ q)), 1.0)
            torch.testing.assert_close(outputs[row, t, own], h)


@pytest.mark.parametrize("name", ["slstm", "mlstm"])
def test_exponential_gates_do_not_overflow(name):
    """Inputs of e^±300 in float32, one after the other."""
    cell = build(name, torch.float32)
    x = torch.randn(2, 12, 4)
    with torch.no_grad():
        cell.input.weight.mul_(1000.0)
    outputs, _ = cell.sequence(x, torch.tensor([12, 7]))
    plain, _ = cell.plain_sequence(x, torch.tensor([12, 7]))
    [grad] = torch.autograd.grad(outputs.sum(), cell.input.weight)
    assert outputs.isfinite().all() and grad.isfinite().all()
    torch.testing.assert_close(outputs, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_of_mlstm_are_one_sequence(chunk, monkeypatch):
    cell, x, results = build("mlstm"), torch.randn(3, 7, 4, dtype=F64, requires_grad=True), []
    for size in (64, chunk):
        monkeypatch.setattr(mlstm, "CHUNK", size)
        outputs, final = cell.sequence(x, torch.tensor([7, 1, 5]))
        results.append((outputs, *final, *torch.autograd.grad(outputs.sin().sum(), [x, *cell.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("gate", [120.0, -120.0])
def test_mlstm_where_nothing_is_asked(gate):
    """A query of zeros, and input gates of e^±120."""
    cell = build("mlstm", torch.float32)
    with torch.no_grad():
        cell.input.weight[:6] = 0.0
        cell.input.bias[:6] = 0.0
        cell.input.bias[24:26] = gate
    x = torch.randn(2, 5, 4)
    for form in (cell.sequence, cell.plain_sequence):
        outputs, _ = form(x, None)
        [grad] = torch.autograd.grad(outputs.sum(), cell.input.weight)
        assert not outputs.any() and grad.isfinite().all()
