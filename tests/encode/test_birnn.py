"""The encoder equals torch's bidirectional layers with copied weights, and one sentence never sees another."""

import itertools

import pytest
import torch
from torch import nn

from regard.cells import CELLS
from regard.encode import ENCODERS, BiRNN, select_memory
from regard.ops.noise import Noise

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
LENGTHS = torch.tensor([6, 2, 4])


def build(name="birnn", **config):
    torch.manual_seed(0)
    kind = ENCODERS[name]
    return kind(kind.Config.model_validate({"hidden": 5, **config}), input_size=3).double()


def x():
    return torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), list(itertools.product(TORCH, [1, 2], [True, False])))
def test_equals_torch_outputs_final_states_and_gradients(cell, layers, bidirectional):
    encoder = build(cell=cell, layers=layers, bidirectional=bidirectional)
    layer = TORCH[cell](3, 5, layers, bidirectional=bidirectional, batch_first=True).double()
    ours, theirs = [], []
    with torch.no_grad():
        for depth, direction in itertools.product(range(layers), range(2 if bidirectional else 1)):
            suffix = f"_l{depth}" + ("_reverse" if direction else "")
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                one = getattr(encoder.layers[depth][direction].rnn, f"{kind}_l0")
                other = getattr(layer, kind + suffix)
                other.copy_(one)
                ours.append(one)
                theirs.append(other)
    memory = encoder(x(), LENGTHS)
    packed = nn.utils.rnn.pack_padded_sequence(x(), LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, final = layer(packed)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    h = final[0] if cell == "lstm" else final  # (layers × directions, batch, hidden)
    torch.testing.assert_close(memory.values, outputs)
    torch.testing.assert_close(memory.summary, h.unflatten(0, (layers, -1)).permute(2, 0, 1, 3).flatten(2))
    for one, other in zip(
        torch.autograd.grad(memory.values.sin().sum() + memory.summary.square().sum(), ours),
        torch.autograd.grad(outputs.sin().sum() + h.square().sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("cell", CELLS)
def test_alone_in_a_batch_and_with_more_padding(name, cell, residual):
    encoder = build(name, cell=cell, layers=3, residual=residual, hidden=8)
    together = encoder(x(), LENGTHS)
    wider = encoder(torch.cat([x(), torch.full((3, 2, 3), 7.0, dtype=torch.float64)], 1), LENGTHS)
    torch.testing.assert_close(wider.values[:, :6], together.values)
    torch.testing.assert_close(wider.summary, together.summary)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(x()[row : row + 1, :length], LENGTHS[row : row + 1])
        picked = select_memory(together, torch.tensor([row]))
        torch.testing.assert_close(picked.values[:, :length], alone.values)
        torch.testing.assert_close(picked.summary, alone.summary)
        assert picked.src_valid.sum() == length and together.ragged and not alone.ragged


def test_dropout_takes_the_same_features_at_every_step():
    encoder = BiRNN(BiRNN.Config(hidden=40), input_size=3, dropout=0.5).double()
    kept = encoder(x(), torch.tensor([6, 6, 6]), Noise(1, 1)).values != 0
    assert torch.equal(kept, kept[:, :1].expand_as(kept)) and 0.3 < kept.double().mean() < 0.7
