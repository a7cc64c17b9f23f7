"""Every cell: step form = sequence form = torch's layer, outputs, final states and gradients, ragged or not."""

import itertools
import math

import numpy as np
import pytest
import torch
from tests.test_model import Lines, awake, reversals, tiny
from torch import nn

from regard.attend import SelfAttention
from regard.attend.memory import Memory, valid_steps
from regard.cells import CELLS, attentive
from regard.cells.cell import of_similar_length
from regard.cells.lstm import LSTM
from regard.data.batches import collate
from regard.ops.noise import Noise

F64 = torch.float64
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
SETTINGS = {
    "intra": {"dim": 5},
    "attentive": {"dim": 8, "heads": 2},
    "projected_lstm": {"memory": 9},
    "mlstm": {"heads": 2},
}
KINDS = {name: (name, SETTINGS.get(name, {})) for name in CELLS}
KINDS["window"] = "attentive", {"dim": 8, "heads": 2, "window": 2}
KINDS["slstm, heads"] = "slstm", {"heads": 3}
KINDS |= {
    f"deep {cell}": ("deep_transition", {"cell": {"type": cell}, "depth": 3}) for cell in ("lstm", "layer_norm_gru")
}
ZONEOUT = {"hidden": 16, "layers": 2, "cell": "zoneout_lstm"}
LENGTHS = [torch.tensor([5, 5, 5]), torch.tensor([5, 1, 3])]


def build(kind, dtype=F64):
    name, settings = KINDS[kind]
    torch.manual_seed(3)
    return awake(CELLS[name](CELLS[name].Config(**settings), input_size=4, hidden=6).to(dtype))


def under_way(cell, rows, steps=3, dtype=F64):
    """A state that is nowhere zero, some steps after it began."""
    state = cell.begin(tuple(torch.randn(rows, 6, dtype=dtype) for _ in cell.given_names))
    for _ in range(steps):
        state = cell.step(torch.randn(rows, 4, dtype=dtype), state)
    return tuple(part.detach().clone() for part in state)


def floats(state):
    return [part for part in state if part.is_floating_point()]


def rows_of(state, rows):
    return tuple(part[rows] for part in state)


@pytest.mark.parametrize("lengths", LENGTHS, ids=["full", "ragged"])
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_sequence_equals_the_loop_of_steps(name, lengths, given_state):
    cell, x = build(name), torch.randn(3, 5, 4, dtype=F64, requires_grad=True)
    state = under_way(cell, 3) if given_state else None
    inputs = [x, *cell.parameters()]
    if state is not None:
        inputs += [part.requires_grad_() for part in floats(state)]
    results = []
    for form in (cell.sequence, cell.plain_sequence):
        outputs, final = form(x, lengths, state)
        total = outputs.sin().sum() + sum((k + 1) * part.square().sum() for k, part in enumerate(floats(final)))
        results.append((outputs, *final, *torch.autograd.grad(total, inputs, allow_unused=True)))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)


@pytest.mark.parametrize("rows", [3, 60])
@pytest.mark.parametrize("name", KINDS)
def test_what_an_encoder_takes_is_of_the_loop_of_steps(name, rows):
    """Sixty rows of 1 to 9 steps are run in groups; each comes back to its place."""
    cell = build(name)
    lengths = torch.randint(1, 10, (rows,), generator=torch.Generator().manual_seed(5))
    lengths[1] = 9
    x, results = torch.randn(rows, 9, 4, dtype=F64, requires_grad=True), []
    defined, state = cell.plain_sequence(x, lengths)
    for outputs, last in (cell.encode(x, lengths), (defined, state[0])):
        total = outputs.sin().sum() + last.square().sum()
        results.append((outputs, last, *torch.autograd.grad(total, [x, *cell.parameters()], allow_unused=True)))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)


def test_rows_are_grouped_by_length():
    lengths = torch.tensor([10, 3] * 20 + [9])
    long, short = of_similar_length(lengths)
    assert long.tolist() == [*range(0, 40, 2), 40] and short.tolist() == list(range(1, 40, 2))
    assert [len(rows) for rows in of_similar_length(lengths[:20])] == [16, 4]  # only the last may be smaller


@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_the_same_alone_and_can_go_on_where_it_ended(name, given_state):
    """Single steps of one row against a ragged batch; then two more of each, which see what they saw alone."""
    cell, x, lengths = build(name), torch.randn(3, 7, 4, dtype=F64), LENGTHS[1]
    state = under_way(cell, 3) if given_state else cell.start(x, 3)
    for form in (cell.sequence, cell.plain_sequence):
        outputs, final = form(x[:, :5], lengths, state)
        more, _ = cell.sequence(x[:, 5:], None, final)
        for row, length in enumerate(lengths.tolist()):
            alone = rows_of(state, slice(row, row + 1))
            for t in [*range(length), 5, 6]:
                alone = cell.step(x[row : row + 1, t], alone)
                found = outputs[row, t] if t < 5 else more[row, t - 5]
                torch.testing.assert_close(found, alone[0][0])
            assert (outputs[row, length:] == 0).all()


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


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", KINDS)
def test_step_gradcheck(name, steps):
    cell, x = build(name), torch.randn(2, 4, dtype=F64, requires_grad=True)
    state = under_way(cell, 2, steps)
    given = [part.requires_grad_() for part in floats(state)]

    def step(x, *given):
        rest = iter(given)
        return tuple(floats(cell.step(x, tuple(next(rest) if old.is_floating_point() else old for old in state))))

    assert torch.autograd.gradcheck(step, (x, *given))


@pytest.mark.parametrize("name", KINDS)
def test_sequence_gradcheck(name, no_shape_checks):
    cell, x, state = build(name), torch.randn(3, 5, 4, dtype=F64, requires_grad=True), None
    state = under_way(cell, 3)
    assert torch.autograd.gradcheck(lambda x: cell.sequence(x, LENGTHS[1], state)[0], x, fast_mode=True)


@pytest.mark.parametrize("name", KINDS)
def test_padding_changes_nothing(name):
    cell, x = build(name), torch.randn(2, 3, 4, dtype=torch.float64)
    lengths = torch.tensor([3, 2])
    outputs, final = cell.sequence(x, lengths)
    padded = torch.cat([x, torch.full((2, 4, 4), 9.0, dtype=torch.float64)], 1)
    more, final_more = cell.sequence(padded, lengths)
    torch.testing.assert_close(more[:, :3], outputs)
    for part, wider in zip(final, final_more, strict=True):  # a tape is longer by four in front, where nothing is
        kept = wider[:, wider.shape[1] - part.shape[1] :]
        torch.testing.assert_close(kept, part)
        assert not wider[:, : wider.shape[1] - part.shape[1]].any()


def test_the_forget_gate_starts_open():
    cell = build("lstm")
    assert isinstance(cell, LSTM)
    assert (cell.input_bias[6:12] == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["mingru", "minlstm", "ssru", "sru"])
def test_cells_without_a_product_are_their_equations(name):
    """A number at a time, with the cell's weights under the papers' names."""
    cell, x = build(name), torch.randn(2, 6, 4, dtype=F64)
    outputs, _ = cell.sequence(x, None)
    weights, biases = cell.input.weight.split(6), cell.input.bias.split(6)
    sigmoid = lambda number: 1 / (1 + math.exp(-number))  # noqa: E731
    for row, unit in itertools.product(range(2), range(6)):
        state = 0.0
        for t in range(6):
            w = [float(weight[unit] @ x[row, t] + bias[unit]) for weight, bias in zip(weights, biases, strict=True)]
            if name == "mingru":
                state = (1 - sigmoid(w[0])) * state + sigmoid(w[0]) * w[1]
                output = state
            elif name == "minlstm":
                f, i = sigmoid(w[0]), sigmoid(w[1])
                state = f / (f + i) * state + i / (f + i) * w[2]
                output = state
            elif name == "ssru":
                state = sigmoid(w[0]) * state + (1 - sigmoid(w[0])) * w[1]
                output = max(state, 0.0)
            else:
                v_f, v_r = (float(part[unit]) for part in cell.peephole.split(6))
                f, r = sigmoid(w[0] + v_f * state), sigmoid(w[1] + v_r * state)
                state = f * state + (1 - f) * w[2]
                output = r * state + (1 - r) * w[3]
            assert float(outputs[row, t, unit]) == pytest.approx(output, abs=1e-9)


def test_gates_that_both_vanish_have_a_share():
    cell = build("minlstm", torch.float32)
    with torch.no_grad():
        cell.input.bias[:12] = -200.0
        cell.input.bias[6:12] += 1.0
    outputs, _ = cell.sequence(torch.zeros(1, 3, 4), None)
    [grad] = torch.autograd.grad(outputs.sum(), cell.input.weight)
    assert outputs.isfinite().all() and grad.isfinite().all()
    forget, candidate = 1 / (1 + math.e), cell.input.bias[12:]
    torch.testing.assert_close(outputs[0, 0], (1 - forget) * candidate)


@pytest.mark.parametrize("name", ["layer_norm_lstm", "layer_norm_gru"])
def test_normed_cells_are_their_equations(name):
    cell, x = build(name), torch.randn(2, 6, 4, dtype=F64)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn_like(parameter) / 3)
    norm = lambda given, layer: layer.weight * (given - given.mean()) / (given.var(correction=0) + 1e-5).sqrt()  # noqa: E731
    outputs, _ = cell.sequence(x, None)
    for row in range(2):
        h, c = torch.zeros(6, dtype=F64), torch.zeros(6, dtype=F64)
        for t in range(6):
            from_x = norm(cell.input.weight @ x[row, t] + cell.input.bias, cell.norm_input) + cell.norm_input.bias
            from_h = norm(cell.recurrent.weight @ h, cell.norm_recurrent)
            if name == "layer_norm_lstm":
                i, f, g, o = (from_x + from_h).chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * (norm(c, cell.norm_cell) + cell.norm_cell.bias).tanh()
            else:
                (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3), from_h.chunk(3)
                n, z = (x_n + (x_r + h_r).sigmoid() * h_n).tanh(), (x_z + h_z).sigmoid()
                h = (1 - z) * n + z * h
            torch.testing.assert_close(outputs[row, t], h)


def test_intra_is_cheng_dong_and_lapata_equations_5_to_10():
    """Row by row and entry by entry, with the cell's weights under the paper's names."""
    cell, x = build("intra"), torch.randn(2, 6, 4, dtype=F64)
    w_gates, w_x = cell.input.weight.split([24, 5])
    d, b = cell.input.bias.split([24, 5])
    u_gates, w_summary = cell.recurrent.weight.split([24, 5])
    w_h, v = cell.key.weight, cell.score.weight[0]
    assert (d[6:12] == 1).all()
    first = torch.randn(2, 2, 6, dtype=F64)
    for given in (False, True):
        outputs, final = cell.sequence(x, None, cell.begin(first.unbind(1)) if given else None)
        for row in range(2):
            tape, summary = [tuple(first[row])] if given else [], torch.zeros(6, dtype=F64)
            for t in range(6):
                scores = [v @ torch.tanh(w_h @ h + w_x @ x[row, t] + w_summary @ summary + b) for h, _ in tape]
                weights = torch.stack(scores).softmax(0) if tape else []
                summary, c_summary = (
                    sum((s * entry[k] for s, entry in zip(weights, tape, strict=True)), torch.zeros(6, dtype=F64))
                    for k in (0, 1)
                )
                i, f, g, o = (w_gates @ x[row, t] + u_gates @ summary + d).chunk(4)
                c = f.sigmoid() * c_summary + i.sigmoid() * g.tanh()
                tape.append((o.sigmoid() * c.tanh(), c))
                torch.testing.assert_close(outputs[row, t], tape[-1][0])
            torch.testing.assert_close(final[3][row], torch.stack([torch.cat(entry) for entry in tape]))


@pytest.mark.parametrize("chunk", [2, 64])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("heads", [1, 2])
def test_attentive_is_an_lstm_and_self_attention_over_its_past(heads, window, chunk, monkeypatch):
    monkeypatch.setattr(attentive, "CHUNK", chunk)
    kind = CELLS["attentive"]
    torch.manual_seed(3)
    cell = awake(kind(kind.Config(dim=8, heads=heads, window=window), input_size=4, hidden=6).double())
    lstm = LSTM(LSTM.Config(), input_size=4, hidden=6).double()
    scope = {"type": "past"} if window is None else {"type": "window", "width": window, "causal": True}
    layer = SelfAttention(SelfAttention.Config.model_validate({"dim": 8, "heads": heads, "scope": scope}), size=6)
    layer = layer.double()
    torch.nn.init.normal_(cell.norm.bias)
    mine = dict(cell.named_parameters())
    lstm.load_state_dict({name.removeprefix("lstm."): mine[name] for name in mine if name.startswith("lstm.")})
    layer.load_state_dict({name: mine[name] for name in mine if not name.startswith("lstm.")})
    other = {f"lstm.{name}": part for name, part in lstm.named_parameters()} | dict(layer.named_parameters())
    x, lengths = torch.randn(3, 9, 4, dtype=F64), torch.tensor([9, 4, 6])
    found, _ = cell.sequence(x, lengths)
    outputs, _ = lstm.sequence(x, lengths)
    memory, _ = layer(Memory(outputs, valid_steps(lengths, 9), lengths, outputs[:, :1]))
    torch.testing.assert_close(found, memory.values)
    grads = [
        torch.autograd.grad(result.sin().sum(), [parts[name] for name in mine])
        for parts, result in ((mine, found), (other, memory.values))
    ]
    torch.testing.assert_close(*grads)


def test_a_new_attentive_cell_is_its_lstm():
    kind, x = CELLS["attentive"], torch.randn(3, 9, 4)
    cell = kind(kind.Config(dim=8), input_size=4, hidden=6)
    assert torch.equal(cell.sequence(x)[0], cell.lstm.sequence(x)[0])


def test_a_window_keeps_no_more_than_it_sees():
    cell = build("window")
    state = under_way(cell, 2, steps=7)
    assert [part.shape[1] for part in state[3:]] == [2, 2, 2]


def test_projection_is_torchs():
    cell = build("projected_lstm")
    layer = nn.LSTM(4, 9, proj_size=6, batch_first=True).double()
    with torch.no_grad():
        layer.weight_ih_l0.copy_(cell.input.weight)
        layer.weight_hh_l0.copy_(cell.recurrent.weight)
        layer.weight_hr_l0.copy_(cell.projection.weight)
        layer.bias_ih_l0.copy_(cell.input.bias)
        layer.bias_hh_l0.zero_()
    x, lengths = torch.randn(3, 5, 4, dtype=F64), [5, 1, 3]
    outputs, (h, c) = cell.plain_sequence(x, torch.tensor(lengths))
    assert h.shape == (3, 6) and c.shape == (3, 9)
    for row, length in enumerate(lengths):
        expected, (last, memory) = layer(x[row : row + 1, :length])
        torch.testing.assert_close(outputs[row : row + 1, :length], expected)
        torch.testing.assert_close((h[row], c[row]), (last[0, 0], memory[0, 0]))


@pytest.mark.parametrize("inner", ["lstm", "gru", "rnn"])
def test_a_deep_transition_is_torchs_cells_one_after_the_other(inner):
    kind = CELLS["deep_transition"]
    cell = kind(kind.Config(cell={"type": inner}, depth=3), input_size=4, hidden=6).double()
    x, state = torch.randn(2, 5, 4, dtype=F64), None
    outputs, _ = cell.sequence(x, None)
    for t in range(5):
        for depth, own in enumerate(cell.cells):
            layer = TORCH[inner](own.input_size, 6, batch_first=True).double()
            layer.load_state_dict(own.rnn.state_dict())
            output, state = layer(x[:, t : t + 1] if depth == 0 else torch.ones(2, 1, 1, dtype=F64), state)
        torch.testing.assert_close(outputs[:, t], output[:, 0])


def test_zoneout_keeps_numbers_by_chance_and_their_mean_outside_training():
    kind, rates = CELLS["zoneout_lstm"], {"zoneout_h": 0.25, "zoneout_c": 0.5}
    cell, lstm = kind(kind.Config(**rates), input_size=4, hidden=6).double(), build("lstm")
    with torch.no_grad():
        lstm.load_state_dict(cell.state_dict())
        x, before = torch.randn(4000, 4, dtype=F64), tuple(torch.randn(2, 1, 6, dtype=F64).expand(2, 4000, 6))
        after, mean = lstm.step(x, before), cell.step(x, before)
        drawn = cell.settled(before, cell.advance(cell.project(x), before), Noise(1, 1))
    for rate, old, new, found, expected in zip((0.25, 0.5), before, after, drawn, mean, strict=True):
        torch.testing.assert_close(expected, rate * old + (1 - rate) * new)
        kept = found == old
        assert (kept | (found == new)).all()
        assert kept.double().mean().item() == pytest.approx(rate, abs=0.02)


def test_zoneout_draws_anew_at_every_step_and_by_layer(no_shape_checks):
    """In encoder and decoder: the same noise gives the same loss, other noise another; without it none is drawn."""
    model, lines = tiny(F64, encoder=ZONEOUT, decoder=ZONEOUT, attention={"dim": 16}), Lines(reversals(6, 7))
    batch, drawn = collate(lines, np.arange(6)), []
    keep_mask = Noise.keep_mask

    def noted(noise, name, *args, **how):
        drawn.append(noise._prefix + name)
        return keep_mask(noise, name, *args, **how)

    def states():
        return [name for name in drawn if name.rpartition(".")[2] in ("h", "c")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Noise, "keep_mask", noted)
        losses = [model.loss(batch, noise=Noise(seed, 1)).loss.item() for seed in (1, 1, 2)]
        names, plain = states(), model.loss(batch).loss.item()
        assert states() == names
    assert losses[0] == losses[1] != losses[2] and plain not in losses
    parts = {name.partition("step")[0] for name in names}
    assert len(names) == 3 * len(set(names)) and len(parts) >= 4
