"""Spans as outputs: a distribution over all of them, by enumeration; told, searched and scored alike."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from regard.attend.memory import Memory, valid_steps
from regard.data.tokenizer import BOS, EOS, PAD
from regard.decode import Ensemble, SearchConfig, search
from regard.decode.embedding import Embedding
from regard.decode.packed_spans import PackedSpanDecoder
from regard.decode.spans import SpanDecoder
from regard.encode.question_flow import END, PASSAGE, QUESTION
from regard.model import ModelConfig
from regard.ops import native
from regard.ops.agreement import disagreement

VOCAB, SIZE = 12, 6
LAYOUTS = [(2, 9), (1, 6), (0, 4)]
"""Where the tab is, and how long the source."""
F64 = torch.float64


def memory(layouts=LAYOUTS, seed=0, dtype=F64):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([length for _, length in layouts])
    steps, asked = int(lengths.max()), max(tab for tab, _ in layouts) + 1
    values = torch.randn(len(layouts), steps, SIZE, generator=draw, dtype=dtype)
    levels = torch.full((len(layouts), 1, steps), END)
    looked = torch.zeros(len(layouts), steps, asked, dtype=dtype)
    for row, (tab, length) in enumerate(layouts):
        levels[row, 0, :tab], levels[row, 0, tab : length - 1] = QUESTION, PASSAGE
        values[row, :tab] = 0
        looked[row, tab:length, : tab + 1] = torch.rand(length - tab, tab + 1, generator=draw, dtype=dtype).softmax(-1)
    summary = torch.zeros(len(layouts), 1, 2, dtype=dtype)
    return Memory(values, valid_steps(lengths, steps), lengths, summary, levels=levels, asked=looked)


def build(seed=1, dtype=F64):
    torch.manual_seed(seed)
    config = SpanDecoder.Config(hidden=8)
    decoder = SpanDecoder(
        config, embedding=Embedding(VOCAB, 4), readout=None, attention=None, memory_dims=[SIZE], summary_size=2
    )
    return decoder.to(dtype).requires_grad_(False)


def told(spans):
    inputs = torch.tensor([[BOS, VOCAB + first, VOCAB + last] for first, last in spans])
    return inputs, torch.tensor([[VOCAB + first, VOCAB + last, EOS] for first, last in spans])


def spans_of(tab, length):
    """All there are: from any step of the passage to any later one, and the tab alone."""
    return [(tab, tab)] + [(s, e) for s in range(tab + 1, length - 1) for e in range(s, length - 1)]


def one_row(given, row, length):
    cut = {name: getattr(given, name)[row : row + 1] for name in ("values", "src_valid", "lengths", "summary")}
    cut |= {"values": cut["values"][:, :length], "src_valid": cut["src_valid"][:, :length]}
    levels, asked = given.levels[row : row + 1, :, :length], given.asked[row : row + 1, :length]
    return replace(given, **cut, levels=levels, asked=asked)


@pytest.mark.parametrize("row", range(len(LAYOUTS)))
def test_spans_are_a_distribution_and_search_finds_the_likeliest(row):
    decoder, (tab, length) = build(), LAYOUTS[row]
    source = decoder.prepare([one_row(memory(), row, length)])
    every = spans_of(tab, length)
    many = source.select(torch.zeros(len(every), dtype=torch.int64))
    each = decoder.forced(many, *told(every))[0].sum(1)
    torch.testing.assert_close(each.exp().sum(), torch.ones((), dtype=F64))
    beam = len(every)
    found = search(decoder, source, SearchConfig(beam=beam, n_best=beam, length_penalty=0.0))[0]
    order = each.argsort(descending=True).tolist()
    assert [tuple(i - VOCAB for i in one.tokens) for one in found] == [every[i] for i in order]
    assert [one.log_prob for one in found] == pytest.approx([each[i].item() for i in order])


def test_the_loss_is_that_of_what_is_told():
    decoder, source = build(), build().prepare([memory()])
    inputs, targets = told([(4, 6), (1, 1), (2, 2)])
    each = decoder.forced(source, inputs, targets)[0]
    sums = decoder.loss(source, inputs, targets, targets != PAD)
    torch.testing.assert_close(sums.loss, -each.sum())
    torch.testing.assert_close(sums.nll, -each.sum())
    config, best = SearchConfig(beam=50, length_penalty=0.0), []
    for row, (_, length) in enumerate(LAYOUTS):
        best.append(search(decoder, decoder.prepare([one_row(memory(), row, length)]), config))
    inputs, targets = told([tuple(i - VOCAB for i in found[0][0].tokens) for found in best])
    assert int(decoder.loss(source, inputs, targets, targets != PAD).correct) >= 2 * len(LAYOUTS)


def test_smoothing_is_over_what_is_possible():
    decoder, source = build(), build().prepare([memory(LAYOUTS[:1])])
    inputs, targets = told([(4, 6)])
    found = decoder.loss(source, inputs, targets, targets != PAD, smoothing=0.2).loss
    begins = torch.stack([decoder.forced(source, *told([(s, s)]))[0][0, 0] for s in range(2, 8)])
    ends = torch.stack([decoder.forced(source, *told([(4, e)]))[0][0, 1] for e in range(4, 8)])
    expected = -0.8 * (begins[2] + ends[2]) - 0.2 * (begins.mean() + ends.mean())
    torch.testing.assert_close(found, expected)


def test_gradients():
    torch.manual_seed(0)
    decoder, given = build().requires_grad_(True), memory()
    inputs, targets = told([(4, 6), (1, 1), (2, 2)])

    def loss(values):
        return decoder.loss(decoder.prepare([replace(given, values=values)]), inputs, targets, targets != PAD, 0.1).loss

    assert torch.autograd.gradcheck(loss, given.values.clone().requires_grad_(True))


def test_weights_are_the_pointers_and_then_what_the_answer_asked():
    decoder, given = build(), memory()
    source = decoder.prepare([given])
    _, weights = decoder.forced(source, *told([(4, 6), (2, 2), (0, 0)]), keep_weights=True)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, dtype=F64))
    torch.testing.assert_close(weights[0, 2, :3], given.asked[0, 4:7, :3].mean(0))
    assert not weights[0, :2, :2].any() and not weights[0, 1, :4].any()


def test_an_ensemble_is_the_mean_of_probabilities():
    one, two, given = build(1), build(2), memory(LAYOUTS[:1])
    both = Ensemble([one, two])
    source = both.prepare([[given], [given]])
    found = search(both, source, SearchConfig(beam=50, length_penalty=0.0))[0][0]
    first, last = (i - VOCAB for i in found.tokens)
    begins = [decoder.forced(decoder.prepare([given]), *told([(first, last)]))[0].exp() for decoder in (one, two)]
    expected = torch.stack(begins).mean(0)[0].log()
    assert found.token_log_probs == pytest.approx(expected.tolist())


def test_packed_rows_have_their_bits_in_any_batch():
    decoder, given = build(dtype=torch.float32), memory(dtype=torch.float32)
    if not PackedSpanDecoder.takes(decoder):
        assert native.kernels() is None
        pytest.skip("no compiled kernels here")
    packed, config = PackedSpanDecoder(decoder), SearchConfig(beam=4, n_best=3, length_penalty=0.0)
    together = search(packed, packed.prepare([given]), config, keep_weights=True)
    for row, (_, length) in enumerate(LAYOUTS):
        alone = one_row(given, row, length)
        [found] = search(packed, packed.prepare([alone]), config, keep_weights=True)
        [plain] = search(decoder, decoder.prepare([alone]), config)
        for one, other, third in zip(found, together[row], plain, strict=True):
            assert (one.tokens, one.score) == (other.tokens, other.score) and torch.equal(one.weights, other.weights)
            assert one.tokens == third.tokens and one.score == pytest.approx(third.score, abs=1e-5)


def test_what_goes_together():
    for wrong in ({"decoder": "span"}, {"encoder": "flow"}, {"encoder": "flow", "decoder": "span"}):
        with pytest.raises(ValidationError):
            ModelConfig.model_validate(wrong)
    right = {"encoder": "flow", "decoder": "span", "attention": "none"}
    assert ModelConfig.model_validate(right).encoder.memory_dim == 4 * 512 + 512
    with pytest.raises(ValidationError, match="spelling is of what is read alone"):
        ModelConfig.model_validate({"spelling": {}, "tie": "all"})


def test_two_readings_of_passages_that_are_apart_cost_more():
    decoder, spans = build(), [(3, 5), (2, 2), (0, 0)] * 2
    source = decoder.prepare([memory(LAYOUTS * 2)])  # other values in each row: as if dropout had been there
    inputs, targets = told(spans)
    plain, more = (decoder.loss(source, inputs, targets, targets != PAD, agreement=each) for each in (0.0, 3.0))
    rows, first = torch.arange(6), torch.tensor([begin for begin, _ in spans])
    both = decoder._log_begins(source).chunk(2), decoder._log_ends(source, rows, first).chunk(2)
    torch.testing.assert_close(more.loss - plain.loss, 3.0 * sum(disagreement(*each).sum() for each in both))
    assert more.loss > plain.loss and more.nll == plain.nll
