"""Pieces known by their characters: by hand, one by one, and all at once."""

import torch
import torch.nn.functional as F

from regard.data.config import TextConfig
from regard.data.tokenizer import RESERVED, Tokenizer
from regard.decode.spelling import NONE, SpelledEmbedding, Spelling
from regard.ops.noise import Noise

SPELLINGS = torch.tensor([[1, 0, 0, 0], [2, 3, 0, 0], [3, 2, 4, 5], [3, 0, 0, 0]])


def build(width=3, drop=0.0):
    torch.manual_seed(0)
    config = Spelling(dim=4, filters=5, width=width)
    return SpelledEmbedding(config, SPELLINGS, dim=6, drop=drop).double()


def by_hand(table, piece):
    """One piece's vector, the convolution by torch's."""
    letters = SPELLINGS[piece][SPELLINGS[piece] != NONE]
    x = table.characters(letters).T[None]  # (1, dim, letters)
    filters = table.filters.weight.view(-1, x.shape[1], table.width)
    x = F.pad(x, (table.width // 2, (table.width - 1) // 2))
    spelled = torch.relu(F.conv1d(x, filters, table.filters.bias)).amax(2)[0]
    y = torch.cat([table.weight[piece] * 6**0.5, spelled])
    for gate, change in zip(table.gates, table.changes, strict=True):
        g = torch.sigmoid(gate(y))
        y = g * torch.relu(change(y)) + (1 - g) * y
    return y


def test_is_a_convolution_and_two_highway_layers():
    for width in (1, 2, 3, 5):
        table = build(width)
        expected = torch.stack([by_hand(table, piece) for piece in range(len(SPELLINGS))])
        ids = torch.tensor([[2, 0, 2], [3, 1, 0]])
        assert table.dim == 11
        torch.testing.assert_close(table(ids), expected[ids])
        with torch.no_grad():
            torch.testing.assert_close(table(ids), expected[ids])
            assert torch.equal(table.fixed()(ids), table(ids))


def test_gradients_reach_what_the_batch_has_and_nothing_else():
    table = build()
    table(torch.tensor([[3, 3]])).sum().backward()
    assert table.weight.grad[3].any() and not table.weight.grad[:3].any()
    seen = table.characters.weight.grad.any(1)
    assert seen.tolist() == [False, False, False, True, False, False]


def test_a_word_that_is_dropped_is_nowhere():
    table = build(drop=0.5)
    ids = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])
    found = table(ids, Noise(1, 1), "source.words")
    assert torch.equal(found[0, :4], found[0, 4:])
    gone = ~found[0, :4].any(-1)
    assert gone.any() and not gone.all()
    torch.testing.assert_close(found[0, :4][~gone], 2 * table(ids)[0, :4][~gone])


def test_spellings_of_a_vocabulary():
    tokenizer = Tokenizer.train(["ab ba internationalisations"], TextConfig(tokenizer="word", vocab=300))
    found = torch.from_numpy(tokenizer.spellings())
    assert found.shape == (tokenizer.size, 16)
    first = len(RESERVED)
    assert found[:first, 0].tolist() == list(range(1, first + 1)) and not found[:first, 1:].any()
    rows = {tokenizer.name(i): found[i][found[i] != NONE].tolist() for i in range(first, tokenizer.size)}
    letters = {letter: number for name, row in rows.items() for letter, number in zip(name, row, strict=False)}
    assert len(set(letters.values())) == len(letters) and min(letters.values()) > first
    assert rows[" ab"] == [letters[" "], letters["a"], letters["b"]]
    assert rows[" internationalisations"] == [letters[c] for c in " internationalis"]
