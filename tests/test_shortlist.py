"""Shortlists: the chosen words' scores are the whole vocabulary's, and no sentence sees another's list."""

import itertools

import pytest
import torch
from safetensors.torch import save_file
from tests.test_packed import SOURCES, VOCAB, batch, build

from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences
from regard.decode.ensemble import Ensemble
from regard.decode.packed import PackedDecoder
from regard.decode.rescore import score_targets
from regard.decode.search import search
from regard.decode.shortlist import FILE, Shortlist, ShortlistReadout
from regard.errors import RegardError
from regard.ops import native

compiled = pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")
SEARCHES = [{"beam": 4, "n_best": 2}, {"method": "greedy"}, {"beam": 3, "no_repeat_ngram": 2, "min_length": 2},
            {"method": "sample", "n_best": 2}]  # fmt: skip


def some_words(best=5):
    draw = torch.Generator().manual_seed(5)
    return Shortlist(torch.tensor([20]), torch.randint(0, VOCAB, (VOCAB, best), generator=draw), VOCAB)


def every_word():
    return Shortlist(torch.arange(VOCAB), torch.zeros(VOCAB, 1, dtype=torch.int64), VOCAB)


DIGESTS = {"source": "1a", "target": "2b"}


@compiled
def test_scores_are_those_of_the_whole_table_and_rows_are_alone():
    draw = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(VOCAB, 24, generator=draw), torch.randn(VOCAB, generator=draw)
    allowed = torch.rand(5, VOCAB, generator=draw) < torch.tensor([0.1, 1.1, 0.5, 0.6, 0.3])[:, None]
    allowed[:, :4] = True
    listed, x, which = (
        ShortlistReadout(weight, bias, allowed),
        torch.randn(8, 24, generator=draw),
        torch.tensor([3, 1, 0, 3]),
    )
    found, full = listed(x, which), x @ weight.T + bias
    for row in range(8):
        words, sentence = listed.words[which[row // 2]], which[row // 2]
        count = int(allowed[sentence].sum())
        assert words[:count].tolist() == allowed[sentence].nonzero()[:, 0].tolist()
        torch.testing.assert_close(found[row, :count], full[row, words[:count]])
        assert (found[row, count:] == -torch.inf).all()
        alone = ShortlistReadout(weight, bias, allowed[sentence : sentence + 1])(x[row : row + 1], torch.tensor([0]))
        assert torch.equal(alone[0, :count], found[row, :count])


@compiled
@pytest.mark.parametrize("keys", SEARCHES)
def test_with_every_word_it_changes_nothing(keys):
    model, config = build(), SearchConfig.model_validate({"max_length": 12, **keys})
    plain = decode_sentences(*model.for_search(), SOURCES, config)
    listed = decode_sentences(*model.for_search(shortlist=every_word()), SOURCES, config)
    assert [[x.tokens for x in one] for one in plain] == [[x.tokens for x in one] for one in listed]
    for one, two in zip(plain, listed, strict=True):
        assert [x.score for x in one] == pytest.approx([x.score for x in two], abs=1e-5)


@compiled
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("keys", SEARCHES)
def test_outputs_are_of_the_list_and_the_same_bits_in_any_batch(keys, int8):
    model, config, words = build(), SearchConfig.model_validate({"max_length": 12, **keys}), some_words()
    parts = model.for_search(int8=int8, shortlist=words)
    found = [decode_sentences(*parts, SOURCES, config, batch_sentences=size) for size in (1, 2, 5, 64)]
    for other in found[1:]:
        assert [[(x.tokens, x.score, x.token_log_probs) for x in one] for one in found[0]] == [
            [(x.tokens, x.score, x.token_log_probs) for x in one] for one in other
        ]
    for source, outputs in zip(SOURCES, found[0], strict=True):
        (allowed,) = words.allowed(torch.tensor([[*source, 3]]))
        assert all(allowed[token] for output in outputs for token in output.tokens)


@compiled
def test_int8_is_near():
    model, config = build(), SearchConfig(max_length=8)
    exact = decode_sentences(*model.for_search(), SOURCES, config)
    found = decode_sentences(*model.for_search(int8=True), SOURCES, config)
    scores = [one[0].score for one in exact], [one[0].score for one in found]
    assert scores[0] == pytest.approx(scores[1], abs=0.05) and scores[0] != scores[1]


@compiled
def test_ensembles_and_rescoring_see_all_words():
    models, words = [build(embed=12), build(embed=20)], some_words()
    parts = [model.for_search(shortlist=words) for model in models]
    both, ids = Ensemble([decoder for _, decoder in parts]), batch()
    source = both.prepare([encode(*ids) for encode, _ in parts])
    found = search(both, source, SearchConfig(beam=3, max_length=7))
    again = score_targets(both, source, [one[0].tokens for one in found])
    for one, two in zip(again, found, strict=True):  # the outputs were cut off; the end is told besides
        assert one.token_log_probs[:7] == pytest.approx(two[0].token_log_probs[:7], abs=1e-5)
    allowed = words.allowed(ids[0])
    assert all(allowed[row, token] for row, one in enumerate(found) for token in one[0].tokens)


def test_it_is_refused_where_it_could_do_nothing():
    model = build(decoder={"cell": "rnn"})
    for options, what in [({"int8": True}, "int8"), ({"shortlist": some_words()}, "shortlist")]:
        with pytest.raises(RegardError, match=f"{what}: only for models that decode fast"):
            model.for_search(**options)


def test_what_is_allowed():
    words = Shortlist(torch.tensor([20]), torch.zeros(VOCAB, 2, dtype=torch.int64), VOCAB)
    words.best[5] = torch.tensor([30, 31])
    words.best[0] = 9  # padding suggests nothing
    ids = torch.tensor([[5, 6, 3], [6, 3, 0]])
    assert [row.nonzero()[:, 0].tolist() for row in words.allowed(ids)] == [[0, 1, 2, 3, 20, 30, 31], [0, 1, 2, 3, 20]]
    shared = Shortlist(words.common, words.best, VOCAB, shared=True)
    assert shared.allowed(ids)[1].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 6, 20]


def test_the_file(tmp_path):
    words = some_words()
    with pytest.raises(RegardError, match=r"no shortlist.safetensors: make it with `regard shortlist"):
        Shortlist.load(tmp_path, DIGESTS, VOCAB)
    (tmp_path / FILE).write_bytes(words.pack(DIGESTS))
    read = Shortlist.load(tmp_path, DIGESTS, VOCAB)
    assert torch.equal(read.common, words.common) and torch.equal(read.best, words.best) and not read.shared
    with pytest.raises(RegardError, match="of another vocabulary than the run's: make it anew"):
        Shortlist.load(tmp_path, {**DIGESTS, "target": "3c"}, VOCAB)
    for content in (words.pack(DIGESTS)[:-9], b"", b"{}"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(RegardError, match="damaged: make it anew"):
            Shortlist.load(tmp_path, DIGESTS, VOCAB)
    save_file({"common": words.common, "best": words.best}, tmp_path / FILE)
    with pytest.raises(RegardError, match="of format None, and this Regard reads 1: make it anew"):
        Shortlist.load(tmp_path, DIGESTS, VOCAB)


@compiled
def test_it_is_selected_with_its_sentences():
    model, (ids, lengths) = build(), batch()
    encode, decoder = model.for_search(shortlist=some_words())
    assert isinstance(decoder, PackedDecoder)
    source = decoder.prepare(encode(ids, lengths))
    tokens = torch.full((len(lengths),), 2)
    output, _ = decoder.step(tokens, decoder.start(source), source)
    for rows in itertools.islice(itertools.permutations(range(len(lengths)), 2), 5):
        some = source.select(torch.tensor(rows))
        part, _ = decoder.step(tokens[:2], decoder.start(some), some)
        assert torch.equal(part.scores, output.scores[list(rows)])
        assert torch.equal(part.words, output.words[list(rows)])
