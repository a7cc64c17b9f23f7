"""Copying: See et al.'s mixture, the extended vocabulary, and words that no vocabulary holds."""

import math

import numpy as np
import pytest
import torch
from rich.console import Console

import regard
from regard.attend import NORMALIZERS, SCOPES, Attention
from regard.attend.several import Flat
from regard.data.batches import collate
from regard.data.config import POINTERS, TextConfig
from regard.data.tokenizer import EOS, UNK, Tokenizer
from regard.decode import CopyReadout, Ensemble, RecurrentDecoder, score_targets
from regard.decode.config import SearchConfig
from regard.decode.embedding import Embedding
from regard.decode.engine import decode_sentences
from regard.decode.originals import Originals
from regard.errors import RegardError
from regard.model import Seq2Seq, seeded
from regard.model_config import ModelConfig
from regard.ops.noise import Noise
from regard.predict.shortlist import make_shortlist

VOCAB = 9
OUTSIDE = VOCAB + POINTERS + 5
"""an id that no vocabulary holds"""


def readout():
    torch.manual_seed(2)
    return CopyReadout(6, Embedding(VOCAB, 4), tied=True).double()


def pointed(rows=3):
    ids = torch.tensor([[5, OUTSIDE, 5, OUTSIDE, EOS]]).repeat(rows, 1)
    weights = torch.rand(rows, 5, dtype=torch.float64).softmax(1)
    return Originals.of(ids, VOCAB).pointed(weights[:, None])


def test_originals_name_what_the_vocabulary_lacks_by_its_first_step():
    other = OUTSIDE + 1
    originals = Originals.of(torch.tensor([[5, OUTSIDE, 5, OUTSIDE, EOS], [other, 4, EOS, 0, 0]]), VOCAB)
    assert originals.tokens.tolist() == [[5, VOCAB + 1, 5, VOCAB + 1, EOS], [VOCAB, 4, EOS, 0, 0]]
    targets = torch.tensor([[OUTSIDE, 4, other, EOS], [OUTSIDE, 4, other, EOS]])
    named = originals.named(targets)
    assert named.tolist() == [[VOCAB + 1, 4, UNK, EOS], [UNK, 4, VOCAB, EOS]]
    assert originals.named(named).equal(named)  # what search found can be named again


@torch.no_grad()
def test_the_mixture_is_see_equations_8_and_9():
    part, where = readout(), pointed()
    features = torch.randn(3, 6, dtype=torch.float64)
    scores, normalized = part.score(features, where)
    assert normalized and scores.shape == (3, VOCAB + 5)
    table, bias = part.table.weight, part.bias
    for row in range(3):
        logits = [float(table[v] @ part.project(features[row]) + bias[v]) for v in range(VOCAB)]
        total = sum(map(math.exp, logits))
        generate = 1 / (1 + math.exp(-float(part.generate(features[row]))))
        expected = [generate * math.exp(one) / total for one in logits] + [0.0] * 5
        for step, token in enumerate(where.tokens[row].tolist()):
            expected[token] += (1 - generate) * float(where.weights[row, step])
        torch.testing.assert_close(scores[row].exp(), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_chunked_loss_is_that_of_the_scores_with_its_gradients(monkeypatch, smoothing):
    """Where the target is copied, written, both; where the highest score is the target's for either reason."""
    part, where, targets = readout(), pointed(40), torch.tensor([VOCAB + 1, 5, 4, UNK, EOS]).repeat(8)
    features = torch.randn(40, 6, dtype=torch.float64, requires_grad=True)
    weights = where.weights.clone()
    weights[20:] = torch.eye(5, dtype=torch.float64).repeat(4, 1)  # all on one step
    weights = weights.requires_grad_()
    where = where._replace(weights=weights)
    scores, _ = part.score(features, where)
    nll = -scores.gather(1, targets[:, None]).sum()
    plain = (1 - smoothing) * nll - smoothing * scores[:, :VOCAB].mean(1).sum()
    for module in ("ops.pointer", "decode.readout"):
        monkeypatch.setattr(f"regard.{module}.CHUNK_ELEMENTS", 2 * (VOCAB + 5))  # two rows at a time
    sums = part.nll(features, targets, smoothing, pointed=where)
    torch.testing.assert_close(sums.loss, plain)
    torch.testing.assert_close(sums.nll, nll.detach())
    assert sums.correct == (scores.argmax(1) == targets).sum() > 4
    with torch.no_grad():
        assert part.nll(features, targets, smoothing, pointed=where).loss == sums.loss
    inputs = [features, weights, *part.parameters()]
    for one, other in zip(*(torch.autograd.grad(loss, inputs) for loss in (sums.loss, plain)), strict=True):
        torch.testing.assert_close(one, other)
    each = scores.gather(1, targets[:, None])[:, 0].detach()
    torch.testing.assert_close(part.log_likelihoods(features, targets, where), each)


def test_gradcheck():
    part, where = readout(), pointed()
    targets, features = torch.tensor([VOCAB + 1, 5, 4]), torch.randn(3, 6, dtype=torch.float64, requires_grad=True)

    def loss(features, scores):
        return part.nll(features, targets, 0.1, pointed=where._replace(weights=scores.softmax(1))).loss

    assert torch.autograd.gradcheck(loss, (features, torch.randn(3, 5, dtype=torch.float64, requires_grad=True)))


def test_where_attention_is_not_it_is_told_what_more_of_it_would_be_worth():
    """Weights of zero, as hard attention has them: the gradient is that of going up from there."""
    part, features = readout(), torch.randn(1, 6, dtype=torch.float64)
    where = pointed(1)
    weights = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)

    def loss(weights):
        return part.nll(features, torch.tensor([5]), pointed=where._replace(weights=weights)).loss

    (slope,) = torch.autograd.grad(loss(weights), weights)
    step = torch.tensor([[1e-7, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        expected = (loss(weights + step) - loss(weights)) / 1e-7
    assert float(expected) < -0.1
    torch.testing.assert_close(slope[0, 0], expected, rtol=1e-5, atol=0.0)  # one-sided, of the first order


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_word_that_attention_leaves_out_has_a_finite_loss(dtype):
    part, where = readout().to(dtype), pointed(1)
    weights = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]], dtype=dtype, requires_grad=True)
    with torch.no_grad():
        part.generate.weight.zero_()
        part.generate.bias.zero_()  # g is a half
    sums = part.nll(torch.ones(1, 6, dtype=dtype), torch.tensor([VOCAB + 1]), pointed=where._replace(weights=weights))
    assert float(sums.loss.detach()) == pytest.approx(-math.log(0.5e-10), rel=1e-6)
    sums.loss.backward()
    assert all(
        x.grad is not None and x.grad.isfinite().all() for x in (weights, *part.parameters()) if x.grad is not None
    )
    assert float(weights.grad[0, 1]) == pytest.approx(-1e10, rel=1e-5)


@pytest.mark.parametrize("part", ["scope", "normalizer"])
def test_every_attention_that_can_copy_learns_from_sources_longer_than_it_sees(part):
    """An unknown word at the end of 30 steps, out of every window: losses and gradients are numbers."""
    lines = Lines([([4] * 29 + [OUTSIDE], [OUTSIDE, 5, OUTSIDE])] * 2)
    for name in {"scope": SCOPES, "normalizer": NORMALIZERS}[part]:
        try:
            tiny = model(attention={"dim": 8, part: name}).float()
        except ValueError:
            continue  # weights that sum to less than one, a scope of self-attention
        loss = tiny.loss(collate(lines, np.arange(2)), smoothing=0.1, noise=Noise(1, 1)).loss
        loss.backward()
        assert loss.isfinite() and all(x.grad.isfinite().all() for x in tiny.parameters() if x.grad is not None), name


def model(**config):
    settings = {
        "embed": 8, "encoder": {"hidden": 8}, "attention": {"dim": 8}, "decoder": {"hidden": 8}, "readout": "copy",
        **config,
    }  # fmt: skip
    built = seeded(1, Seq2Seq, ModelConfig.model_validate(settings), source_vocab=VOCAB, target_vocab=VOCAB).double()
    if built.copies:
        with torch.no_grad():
            built.decoder.readout.generate.bias -= 1.0  # so that an untrained model copies
    return built


class Lines:
    def __init__(self, pairs):
        self.pairs = [(np.array(source, np.int32), np.array(target, np.int32)) for source, target in pairs]

    def ids(self, i):
        return self.pairs[i]


PAIRS = [([4, OUTSIDE, 6, OUTSIDE], [OUTSIDE, 4]), ([OUTSIDE + 1], [OUTSIDE + 1, OUTSIDE]), ([7, 8, 5], [8])]
MORE = [[5, 6, OUTSIDE + 2, 4], [OUTSIDE + 3, OUTSIDE + 4, 4, 8], [OUTSIDE + 5, 7, 7, 7], [8, 8, 8, OUTSIDE]]
"""as long as the first, so that they are searched with it, and finish at other steps"""


@pytest.mark.parametrize("feeding", [True, False])
def test_a_ragged_batch_costs_what_its_sentences_cost_alone(feeding):
    tiny, lines = model(decoder={"hidden": 8, "input_feeding": feeding}), Lines(PAIRS)
    together = tiny.loss(collate(lines, np.arange(3)), smoothing=0.1)
    alone = [tiny.loss(collate(lines, np.array([i])), smoothing=0.1) for i in range(3)]
    torch.testing.assert_close(together.loss, torch.stack([part.loss for part in alone]).sum())


@pytest.mark.parametrize("attention", [{"heads": 2}, {"normalizer": "sparsemax"}, {"normalizer": "hard"}, {}])
def test_what_search_finds_costs_what_teacher_forcing_says(attention):
    tiny = model(attention={"dim": 8, **attention})
    sources, config = [*(source for source, _ in PAIRS), *MORE], SearchConfig(beam=4, n_best=4, max_length=6)
    encode, decoder = tiny.for_search()
    found = decode_sentences(encode, decoder, sources, config)
    alone = [decode_sentences(encode, decoder, [source], config)[0] for source in sources]
    copied = any(token >= VOCAB for outputs in found for one in outputs for token in one.tokens)
    assert copied or attention == {"normalizer": "hard"}  # which sees one step, of an untrained model
    for i, outputs in enumerate(found):
        ids = torch.tensor([[*sources[i], EOS]])
        source = decoder.prepare([tiny.encode(ids, torch.tensor([ids.shape[1]]))])
        for output, same in zip(outputs, alone[i], strict=True):
            assert output.tokens == same.tokens and output.score == same.score
            if not output.finished:
                continue
            [again] = score_targets(decoder, source, [output.tokens], config)
            assert again.log_prob == pytest.approx(output.log_prob, rel=1e-9)
            told = torch.tensor([[2, *output.tokens]]), torch.tensor([[*output.tokens, EOS]])
            forced = decoder.forced(source, *told)[0].detach()
            assert float(forced.sum()) == pytest.approx(output.log_prob, rel=1e-9)


def test_a_tokenizer_knows_unknown_words_by_their_hash():
    tokenizer = Tokenizer.train(["call me"], TextConfig(tokenizer="word", unknown="hash"))
    assert Tokenizer.from_json(tokenizer.to_json()).encode(["x"]) == tokenizer.encode(["x"])
    [[known, first, second, again], other] = tokenizer.encode(["call  Ishmael ☃ Ishmael", "Ishmael"])
    assert known < tokenizer.size <= min(first, second) - POINTERS and first == again == other[0] != second
    unnamed = tokenizer.unnamed("call Ishmael ☃")
    assert tokenizer.decode([known, tokenizer.size + 1, second], unnamed) == "call Ishmael ☃"
    assert tokenizer.pieces([known, tokenizer.size + 1, first], unnamed) == ["call", "Ishmael", "Ishmael"]
    assert tokenizer.encode(["Ishmael"]) == [[498329101]]  # the same in every process, on every machine
    assert tokenizer.decode([known, first]) == "call <unk>"  # whatever it was
    letters = Tokenizer.train(["ab"], TextConfig(tokenizer="char", unknown="hash"))
    [[a, tilde]] = letters.encode(["aõ"])
    assert letters.decode([a, tilde], letters.unnamed("aõ")) == "aõ" and letters.size + POINTERS <= tilde < 2**31


NAMES = [first + last for first in ("Ab", "Ed", "Ko", "Mi", "Tu") for last in ("na", "ri", "do", "ke")]


def greeter(folder):
    """A run that learned to greet whoever is named, from 20 names, of which its vocabulary holds none."""
    for split, names in {"train": NAMES * 8, "valid": NAMES[:4]}.items():
        lines = [f"my name is {name} and I am here\thello {name} !\n" for name in names]
        lines += [f"here I am , {name} is my name\thello {name} !\n" for name in names]
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    words = {"tokenizer": "word", "unknown": "hash", "min_frequency": 50}
    small = {"hidden": 16}
    recipe = {
        "task": "transduce",
        "data": {
            "root": str(folder), "train": {"table": "train.tsv"}, "valid": {"table": "valid.tsv"},
            "source": words, "target": words, "shared_vocabulary": True, "cache": str(folder / "cache"),
        },
        "model": {
            "embed": 16, "encoder": small, "decoder": small, "attention": {"dim": 16}, "dropout": 0.1,
            "output_dropout": 0.0, "readout": "copy",
        },
        "train": {
            "epochs": 10, "batch_tokens": 100, "learning_rate": 0.02, "warmup": 20, "threads": 1, "device": "cpu",
        },
    }  # fmt: skip
    return regard.train(regard.Recipe.from_dict(recipe), folder / "run", console=Console(quiet=True)).path


@pytest.mark.slow
def test_words_that_no_vocabulary_holds_are_written(tmp_path, no_shape_checks):
    run = greeter(tmp_path)
    predictor = regard.load(run)
    tokenizer = predictor.tokenizers["target"]
    assert all(min(ids) >= tokenizer.size for ids in tokenizer.encode([*NAMES, "Zaphod"]))
    sources = ["my name is Zaphod and I am here", "here I am , Ωmega is my name"]
    assert predictor(sources) == ["hello Zaphod !", "hello Ωmega !"]
    [[best]] = predictor.predict(sources[:1], attention=True)
    assert best.tokens == ["hello", "Zaphod", "!"] and best.source_tokens[3] == "Zaphod"
    assert best.attention[1].argmax() == 3
    scored = predictor.score(sources, ["hello Zaphod !", "hello Zaphod !"])
    assert [one.text for one in scored] == ["hello Zaphod !"] * 2 and scored[0].tokens[1] == "Zaphod"
    assert scored[0].log_prob == pytest.approx(best.log_prob, abs=1e-4)
    assert scored[0].log_prob > -1.0 > scored[1].log_prob + 2.0  # whom the source does not name is unknown
    with pytest.raises(RegardError, match="prefix: 'Zaphod' is not in the model's vocabulary; leave it out"):
        predictor(sources, prefix="Zaphod")
    assert predictor(sources[:1], prefix="hello")[0].startswith("hello Zaphod")
    with pytest.raises(RegardError, match="a shortlist leaves out words, and this model may copy any"):
        make_shortlist(run)
    both = regard.load([run, run])
    assert both(sources) == predictor(sources)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "none"}, "readout copy copies what attention points at"),
        ({"attention": {"normalizer": "monotonic"}}, "with attention.normalizer monotonic they sum to less than one"),
        ({"attention": {"scope": "local_p"}}, "with attention.scope local_p they sum to less than one"),
        ({"decoder": {"type": "marginal"}}, "readout copy is not for decoder marginal: choose softmax"),
    ],
)
def test_what_cannot_work_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate({"readout": "copy", **changes})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.shared_vocabulary=false"], r"model\.readout copy writes what it reads, so it needs data\.shared"),
        (["train.sampled_softmax=50"], r"train\.sampled_softmax 50 is not for model\.readout copy"),
        (["model.readout=softmax", "data.source.unknown=hash", "data.target.unknown=hash"], "only model.readout copy"),
        (["data.source.unknown=hash", "data.target.unknown=hash", "data.source.tokenizer=bpe",
          "data.target.tokenizer=bpe"], "unknown: hash is for tokenizer char or word"),
        (["data.source.unknown=hash"], "needs the same tokenizer, segment, vocab, min_frequency and unknown"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_copy_are_refused(tmp_path, overrides, message):
    recipe = tmp_path / "x.yaml"
    recipe.write_text(
        "task: transduce\ndata: {train: {table: a.tsv}, valid: {table: b.tsv}, shared_vocabulary: true,\n"
        "  source: {tokenizer: word}, target: {tokenizer: word}}\nmodel: {readout: copy}\n"
    )
    with pytest.raises(RegardError, match=message):
        regard.load_recipe(recipe, overrides)


@torch.no_grad()
def test_an_ensemble_of_one_that_copies_and_one_that_does_not():
    first, second = model(), model(readout="softmax")
    ids, lengths = torch.tensor([[4, 7, 6, EOS]]), torch.tensor([4])
    both = Ensemble([first.decoder, second.decoder])
    sources = both.prepare([[one.encode(ids, lengths)] for one in (first, second)])
    output, _ = both.step(torch.tensor([2]), both.start(sources), sources)
    (one, _), (other, _) = (
        part.decoder.step(torch.tensor([2]), part.decoder.start(source), source)
        for part, source in zip((first, second), sources.parts, strict=True)
    )
    expected = one.scores.exp()
    expected[:, :VOCAB] += other.scores.softmax(-1)
    torch.testing.assert_close(output.scores.exp(), expected / 2)


def test_copying_from_one_of_several_memories():
    embedding = Embedding(VOCAB, 4)
    parts = {"embedding": embedding, "readout": CopyReadout(6, embedding, tied=True), "memory_dims": [4, 4]}
    parts |= {"attention": Attention.Config(dim=4), "summary_size": 8}
    RecurrentDecoder(RecurrentDecoder.Config(hidden=6), **parts)
    with pytest.raises(RegardError, match="sum to one over the first memory: combine by concat"):
        RecurrentDecoder(RecurrentDecoder.Config(hidden=6), combine=Flat.Config(), **parts)
