"""The hierarchical encoder: a nested loop over sentences, each read alone, gives the same; and it finds what tells."""

import itertools

import pytest
import torch
from torch import nn

from regard.attend import POOLINGS
from regard.attend.memory import valid_steps
from regard.attend.pooling import AttentionPooling
from regard.cells import CELLS, cell
from regard.encode import OPTIONAL_ENCODERS, BiRNN, Hierarchical, segment_ids, select_memory
from regard.ops.noise import Noise

F64 = torch.float64
INPUT = 3
ROWS = [
    [[[0, 1, 2], [3]], [[4, 5]], [[6], [7, 8], [9]]],
    [[[0, 1, 2, 3]]],
    [[[0], [1, 2], [3, 4]], [[5, 6]]],
]
"""Paragraphs of sentences of steps."""
LENGTHS = torch.tensor([10, 4, 7])
SMALL = {"attention": {"dim": 4}, "structured": {"dim": 4, "hops": 2}}


def build(pooling="attention", **config):
    torch.manual_seed(0)
    settings = {"hidden": 5, "pooling": {"type": pooling, **SMALL.get(pooling, {})}, **config}
    encoder = Hierarchical(Hierarchical.Config.model_validate(settings), input_size=INPUT).double()
    with torch.no_grad():
        for parameter in encoder.poolings.parameters():
            parameter.mul_(3)  # so that weights are far from even
    return encoder


def x(steps=10):
    return torch.randn(3, steps, INPUT, generator=torch.Generator().manual_seed(1), dtype=F64)


def levels(depth, steps=10):
    """Of ROWS: sentences, then paragraphs; of depth 4 a single chapter over them; 77 in the padding."""
    found = torch.full((3, 3, steps), 77)
    for row, paragraphs in enumerate(ROWS):
        sentence = 0
        for p, paragraph in enumerate(paragraphs):
            for steps_of in paragraph:
                found[row, :, steps_of] = torch.tensor([sentence, p, 0])[:, None]
                sentence += 1
    return found[:, : depth - 1]


def one(recurrence, steps):
    """A recurrence over a list of vectors: no batch, no padding."""
    return recurrence(torch.stack(steps)[None], torch.tensor([len(steps)]))


def nested(encoder, row, tree, level):
    """What `level` of the encoder reads in a tree whose leaves are steps of `row`: the definition, in a loop.

    Returns its memory, the states of all levels at each leaf, and each leaf's weight (None where there are none).
    """
    if level == 0:
        memory = one(encoder.recurrences[0], [row[step] for step in tree])
        return memory, memory.values[0], torch.ones(len(tree), dtype=F64)
    vectors, below, weights = [], [], []
    for branch in tree:
        memory, states, inner = nested(encoder, row, branch, level - 1)
        pooled = encoder.poolings[level - 1](memory)
        vectors.append(pooled.vector[0])
        below.append(states)
        if pooled.weights is not None:
            leaves = torch.tensor([count(part) for part in branch])
            weights.append(pooled.weights[0].mean(0).repeat_interleave(leaves) * inner)
    memory = one(encoder.recurrences[level], vectors)
    states = [
        torch.cat([own, above.expand(len(own), -1)], 1) for own, above in zip(below, memory.values[0], strict=True)
    ]
    return memory, torch.cat(states), torch.cat(weights) if weights else None


def count(tree):
    """Its leaves."""
    return sum(map(count, tree)) if isinstance(tree, list) else 1


def tree(row, depth):
    """ROWS[row] as a tree of `depth` levels."""
    if depth == 1:
        return [step for paragraph in ROWS[row] for sentence in paragraph for step in sentence]
    if depth == 2:
        return [sentence for paragraph in ROWS[row] for sentence in paragraph]
    return ROWS[row] if depth == 3 else [ROWS[row]]


CASES = [*itertools.product(POOLINGS, [2, 3]), ("attention", 1), ("attention", 4)]


@pytest.mark.parametrize("memory", ["top", "bottom"])
@pytest.mark.parametrize(("pooling", "depth"), CASES)
def test_equals_a_nested_loop_over_segments(pooling, depth, memory):
    encoder = build(pooling, depth=depth, memory=memory)
    reading = encoder.read(x(), LENGTHS, levels(depth))
    found = reading.memory
    even = torch.ones(found.src_valid.shape, dtype=F64)
    for row, length in enumerate(LENGTHS.tolist()):
        inner, states, weights = nested(encoder, x()[row], tree(row, depth), depth - 1)
        expected = inner.values[0] if memory == "top" else states
        torch.testing.assert_close(found.values[row, : len(expected)], expected)
        assert (found.values[row, len(expected) :] == 0).all()
        torch.testing.assert_close(found.summary[row], inner.summary[0])
        assert found.lengths[row] == len(expected) == found.src_valid[row].sum()
        assert (weights is None) == (pooling in ("max", "last"))
        if memory == "top" and weights is not None:
            torch.testing.assert_close(reading.down(even)[row, :length], weights)
    assert found.values.shape[2] == encoder.dim and found.summary.flatten(1).shape[1] == encoder.summary_size
    if memory == "bottom" and depth > 1:
        assert found.levels is not None and torch.equal(found.levels, levels(depth))


def test_of_depth_one_is_the_recurrent_encoder():
    encoder = build(depth=1)
    plain = BiRNN(BiRNN.Config(hidden=5), input_size=INPUT).double()
    plain.load_state_dict(encoder.recurrences[0].state_dict())
    found, expected = encoder(x(), LENGTHS), plain(x(), LENGTHS)
    assert torch.equal(found.values, expected.values) and torch.equal(found.summary, expected.summary)
    pooling = AttentionPooling(AttentionPooling.Config(), memory_dim=encoder.dim, summary_size=10).double()
    assert torch.equal(pooling(found).vector, pooling(expected).vector)


@pytest.mark.parametrize("memory", ["top", "bottom"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_alone_in_a_batch_and_with_junk_in_the_padding(cell, memory, bidirectional):
    more = {"hidden": 8, "bidirectional": bidirectional, "layers": 2}
    encoder = build("structured", cell=cell, depth=3, memory=memory, **more)
    together = encoder.read(x(), LENGTHS, levels(3))
    junk = torch.where(valid_steps(LENGTHS, 13)[..., None], torch.cat([x(), x()[:, :3]], 1), 50.0)
    strange = torch.cat([levels(3), torch.randint(9, (3, 2, 3))], 2)
    wider = encoder.read(junk, LENGTHS, strange)
    steps = together.memory.values.shape[1]
    torch.testing.assert_close(wider.memory.values[:, :steps], together.memory.values)
    torch.testing.assert_close(wider.memory.summary, together.memory.summary)
    torch.testing.assert_close(wider.penalty, together.penalty)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder.read(x()[row : row + 1, :length], LENGTHS[row : row + 1], levels(3)[row : row + 1, :, :length])
        picked = select_memory(together.memory, torch.tensor([row]))
        size = alone.memory.values.shape[1]
        torch.testing.assert_close(picked.values[:, :size], alone.memory.values)
        torch.testing.assert_close(picked.summary, alone.memory.summary)
        torch.testing.assert_close(together.penalty[row : row + 1], alone.penalty)
        for own, all_of, wide in zip(alone.weights, together.weights, wider.weights, strict=True):
            torch.testing.assert_close(all_of[row : row + 1, :, : own.shape[2]], own)
            torch.testing.assert_close(wide[row : row + 1, :, : own.shape[2]], own)
            assert (all_of[row, :, own.shape[2] :] == 0).all() and (wide[row, :, own.shape[2] :] == 0).all()


@pytest.mark.parametrize("pooling", ["attention", "structured", "mean"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_product_of_weights_over_levels_sums_to_one(pooling, depth):
    encoder = build(pooling, depth=depth)
    reading = encoder.read(x(), LENGTHS, levels(depth))
    head = POOLINGS[pooling](POOLINGS[pooling].Config(), memory_dim=encoder.dim, summary_size=10).double()
    weights = reading.down(head(reading.memory).weights.mean(1))
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=F64))
    valid = valid_steps(LENGTHS, 10)
    assert weights.shape == (3, 10) and (weights[~valid] == 0).all() and (weights[valid] > 0).all()


def test_the_penalty_is_the_mean_over_segments_summed_over_levels():
    encoder = build("structured", depth=3)
    found = encoder.read(x(), LENGTHS, levels(3)).penalty
    for row in range(3):
        sentences, paragraphs = [], []
        for paragraph in ROWS[row]:
            vectors = []
            for sentence in paragraph:
                pooled = encoder.poolings[0](one(encoder.recurrences[0], [x()[row, step] for step in sentence]))
                vectors.append(pooled.vector[0])
                sentences.append(pooled.penalty)
            paragraphs.append(encoder.poolings[1](one(encoder.recurrences[1], vectors)).penalty)
        torch.testing.assert_close(
            found[row : row + 1], sum(sentences) / len(sentences) + sum(paragraphs) / len(paragraphs)
        )
    assert build().read(x(), LENGTHS, levels(2)).penalty is None


@pytest.mark.parametrize("memory", ["top", "bottom"])
def test_gradients(memory, no_shape_checks):
    encoder = build("structured", depth=3, memory=memory, hidden=2)

    def read(x, *_):
        found = encoder.read(x, LENGTHS, levels(3))
        return [found.memory.values, found.memory.summary, found.penalty, *found.weights]

    assert torch.autograd.gradcheck(read, (x().requires_grad_(), *encoder.parameters()), fast_mode=True)


def test_dropout_repeats_itself_and_is_off_without_noise():
    torch.manual_seed(0)
    encoder = Hierarchical(Hierarchical.Config(hidden=8, depth=3), input_size=INPUT, dropout=0.5).double()
    first, again, other = (encoder(x(), LENGTHS, Noise(1, step), levels(3)).values for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    dry = [encoder(x(), LENGTHS, None, levels(3)).values for _ in range(2)]
    assert torch.equal(*dry) and not torch.equal(first, dry[0])


def test_saved_and_loaded_it_is_the_same():
    encoder = build(depth=3, memory="bottom")
    config = Hierarchical.Config.model_validate_json(encoder.config.model_dump_json())
    again = OPTIONAL_ENCODERS[config.type](config, input_size=INPUT).double()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(x(), LENGTHS, None, levels(3)).values, encoder(x(), LENGTHS, None, levels(3)).values)


def test_levels_that_are_missing_or_of_another_depth_are_refused():
    with pytest.raises(ValueError, match=r"of depth 2 needs levels \(3, 1, 10\).*found none: make them of token ids"):
        build()(x(), LENGTHS)
    with pytest.raises(ValueError, match=r"of depth 3 needs levels \(3, 2, 10\).*found \(3, 1, 10\)"):
        build(depth=3)(x(), LENGTHS, levels=levels(2))


def test_poolings_without_weights_cannot_explain():
    reading = build("max").read(x(), LENGTHS, levels(2))
    with pytest.raises(ValueError, match="no weights to explain with: choose attention, structured or mean"):
        reading.down(torch.ones(reading.memory.src_valid.shape, dtype=F64))


STOP, MARK, CLASSES, WORDS = 4, 5, 4, 40


def documents(count, seed):
    """Sentences of noise, each with a word of some class; that of the one sentence that also has MARK is the label."""
    draw = torch.Generator().manual_seed(seed)
    sentences, size = 5, 6
    ids = torch.randint(10, WORDS, (count, sentences, size), generator=draw)
    told = torch.randint(CLASSES, (count, sentences), generator=draw)
    at, which = (
        torch.randint(1, size - 1, (count, sentences), generator=draw),
        torch.randint(sentences, (count,), generator=draw),
    )
    ids.scatter_(2, at[..., None], 6 + told[..., None])
    rows = torch.arange(count)
    ids[rows, which, 0] = MARK
    ids[:, :, -1] = STOP
    return ids.flatten(1), told[rows, which], which, which * size + at[rows, which]


@pytest.mark.slow
def test_it_learns_to_find_the_telling_word_in_the_telling_sentence(no_shape_checks):
    """Words alone do not tell: every class may stand in any document. Chance is 1/4."""
    torch.manual_seed(3)
    embedding = nn.Embedding(WORDS, 16)
    config = Hierarchical.Config.model_validate(
        {"cell": "gru", "hidden": 12, "pooling": {"type": "attention", "dim": 24}}
    )
    encoder = Hierarchical(config, input_size=16)
    pooling = AttentionPooling(AttentionPooling.Config(dim=24), memory_dim=24, summary_size=24)
    output = nn.Linear(24, CLASSES)
    whole = nn.ModuleList([embedding, encoder, pooling, output])

    def read(ids):
        lengths = torch.full((len(ids),), ids.shape[1])
        reading = encoder.read(embedding(ids), lengths, segment_ids(ids, [[STOP]]))
        vector, weights, _ = pooling(reading.memory)
        return output(vector), weights[:, 0], reading.down(weights[:, 0])

    optimizer = torch.optim.Adam(whole.parameters(), lr=0.01)
    for update in range(120):
        ids, labels, _, _ = documents(64, update)
        loss = nn.functional.cross_entropy(read(ids)[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ids, labels, which, where = documents(400, 10_000)
    with torch.no_grad():
        logits, sentences, words = read(ids)
    assert (logits.argmax(1) == labels).float().mean() > 0.95
    assert (sentences.argmax(1) == which).float().mean() > 0.95
    heaviest = words.argmax(1)  # two words tell, and their neighbours' states know of them: 0.86 to 1 over five seeds
    assert ((heaviest == where) | (heaviest == which * 6)).float().mean() > 0.8


@pytest.mark.parametrize("memory", ["top", "bottom"])
@pytest.mark.parametrize("pooling", ["structured", "max"])
def test_segments_in_groups_are_those_in_one(pooling, memory, monkeypatch):
    """Documents of many sentences, with dropout: in groups of similar length, and all filled up to the longest."""
    torch.manual_seed(0)
    config = Hierarchical.Config.model_validate({"hidden": 5, "memory": memory, "pooling": {"type": pooling}})
    encoder = Hierarchical(config, input_size=INPUT, dropout=0.4).double()
    lengths = torch.tensor([80, 33, 57])
    ids = (torch.rand(3, 80, generator=torch.Generator().manual_seed(2)) < 0.25).cumsum(1)[:, None]
    results = []
    for least in (2, 10**6):
        monkeypatch.setattr(cell, "LEAST_ROWS", least)
        given = torch.randn(3, 80, INPUT, generator=torch.Generator().manual_seed(1), dtype=F64, requires_grad=True)
        reading = encoder.read(given, lengths, ids, Noise(1, 1))
        assert (len(reading.segments[0].groups) > 3) == (least == 2)
        total = reading.memory.values.sin().sum() + (0.0 if reading.penalty is None else reading.penalty.sum())
        grads = torch.autograd.grad(total, [given, *encoder.parameters()], allow_unused=True)
        results.append([reading.memory.values, *(part for part in reading.weights if part is not None), *grads])
    for grouped, whole in zip(*results, strict=True):
        torch.testing.assert_close(grouped, whole)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_without_noise_a_document_is_the_same_bits_among_few_and_many(pooling):
    """Groups are for training: what a sentence is filled up to would depend on how many others there are."""
    torch.manual_seed(0)
    config = Hierarchical.Config.model_validate({"hidden": 16, "pooling": pooling})
    encoder = Hierarchical(config, input_size=INPUT)
    x = torch.randn(64, 25, INPUT)
    ids = torch.tensor([0] * 20 + [1] * 5).expand(64, 1, 25)
    with torch.no_grad():
        few, many = (encoder(x[:rows], torch.full((rows,), 25), levels=ids[:rows]).values[:8] for rows in (8, 64))
    assert torch.equal(few, many)


def test_groups_of_rows_see_the_masks_of_their_rows():
    rows = torch.tensor([3, 0, 2]), torch.tensor([1])
    whole = Noise(1, 2).under("level").keep_mask("in", (4, 1, 64), 0.5)
    for own, part in zip(rows, Noise(1, 2).under("level").shared(rows), strict=True):
        assert torch.equal(part.keep_mask("in", (len(own), 1, 64), 0.5), whole[own])
        assert not torch.equal(part.under("more").keep_mask("in", (len(own), 1, 64), 0.5), whole[own])
