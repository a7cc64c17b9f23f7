"""Every cell: step form = sequence form = torch's layer, outputs, final states and gradients, ragged or not."""

import pytest
import torch
from torch import nn

from regard.cells import CELLS
from regard.cells.lstm import LSTM

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
LENGTHS = [torch.tensor([5, 5, 5]), torch.tensor([5, 1, 3])]


def build(name, dtype=torch.float64):
    torch.manual_seed(3)
    return CELLS[name](CELLS[name].Config(), input_size=4, hidden=6).to(dtype)


@pytest.mark.parametrize("lengths", LENGTHS, ids=["full", "ragged"])
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_sequence_equals_the_loop_of_steps(name, lengths, given_state):
    cell, x = build(name), torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn(3, 6, dtype=torch.float64) for _ in cell.state_names) if given_state else None
    results = []
    for form in (cell.sequence, cell.plain_sequence):
        outputs, final = form(x, lengths, state)
        total = outputs.sin().sum() + sum((k + 1) * part.square().sum() for k, part in enumerate(final))
        results.append((outputs, *final, *torch.autograd.grad(total, [x, *cell.parameters()])))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)


@pytest.mark.parametrize("name", TORCH)
def test_steps_equal_torch_with_copied_weights(name):
    """One row at a time through torch's own layer: no packing, no padding."""
    cell, lengths = build(name), [5, 1, 3]
    layer = TORCH[name](4, 6, batch_first=True).double()
    layer.load_state_dict(cell.rnn.state_dict())
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    outputs, final = cell.sequence(x, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        expected, state = layer(x[row : row + 1, :length])
        torch.testing.assert_close(outputs[row : row + 1, :length], expected)
        assert (outputs[row, length:] == 0).all()
        for part, torch_part in zip(final, state if isinstance(state, tuple) else (state,), strict=True):
            torch.testing.assert_close(part[row], torch_part[0, 0])


@pytest.mark.parametrize("name", CELLS)
def test_step_gradcheck(name):
    cell = build(name)
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(2, 6, dtype=torch.float64, requires_grad=True) for _ in cell.state_names]
    assert torch.autograd.gradcheck(lambda x, *state: cell.step(x, state), (x, *state))


@pytest.mark.parametrize("name", CELLS)
def test_padding_changes_nothing(name):
    cell, x = build(name), torch.randn(2, 3, 4, dtype=torch.float64)
    lengths = torch.tensor([3, 2])
    outputs, final = cell.sequence(x, lengths)
    padded = torch.cat([x, torch.full((2, 4, 4), 9.0, dtype=torch.float64)], 1)
    more, final_more = cell.sequence(padded, lengths)
    torch.testing.assert_close(more[:, :3], outputs)
    torch.testing.assert_close(final_more, final)


def test_the_forget_gate_starts_open():
    cell = build("lstm")
    assert isinstance(cell, LSTM)
    assert (cell.input_bias[6:12] == 1).all()
