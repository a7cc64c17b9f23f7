"""Words of the source in place of unknown ones: search, tokenizers, and a run that has learned names it never saw."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console

import regard
from regard.data.config import TextConfig
from regard.data.places import bare, words_around
from regard.data.tokenizer import EOS, UNK, Tokenizer, unnamed
from regard.decode.config import SearchConfig
from regard.decode.protocol import StepOutput
from regard.decode.search import as_chosen, search
from regard.errors import RegardError

KINDS = [1, 2, 3, 5]  # sentences of two steps and more: the last one is the end mark
SHORT = {"max_length": 4, "max_length_ratio": 0, "max_length_extra": 4}
VOCAB = 7


def plain(toys, toy, kind: int, length: int) -> dict[tuple[int, ...], float]:
    """Every output of a sentence, unknown words among them, with its score; each unknown as what it points at."""
    found = {}
    for read in toys.every_output(length, (UNK, *toys.WORDS)):
        weights = toy.attention(kind, read)[:, :-1]  # without the end mark
        written = [VOCAB + int(weights[i].argmax()) if token == UNK else token for i, token in enumerate(read)]
        score = sum(toy.terms(kind, read)) / (len(read) + 1)
        found[tuple(written)] = max(score, found.get(tuple(written), -torch.inf))
    return found


def test_wide_beam_finds_the_best_of_all(toys):
    """4 words and no more than 3 of them: every output, each with the step that its unknown words point at."""
    toy = toys.Toy()
    config = SearchConfig(
        unknown="attended", beam=320, n_best=85, stop="bound", max_length=3, max_length_ratio=0, max_length_extra=3
    )
    for kind, outputs in zip(KINDS, search(toy, toy.source(KINDS), config), strict=True):
        expected = plain(toys, toy, kind, 3)
        assert [tuple(one.tokens) for one in outputs] == sorted(expected, key=lambda tokens: -expected[tokens])
        assert [one.score for one in outputs] == pytest.approx(sorted(expected.values(), reverse=True), rel=1e-12)
        assert any(max(one.tokens, default=0) >= VOCAB for one in outputs)


@pytest.mark.parametrize("options", [{}, {"beam": 3, "n_best": 3}, {"method": "greedy"}, {"beam": 4, "groups": 2},
                                     {"method": "sample", "n_best": 2}, {"no_repeat_ngram": 1}], ids=str)  # fmt: skip
def test_same_output_whatever_the_batch(toys, options):
    toy = toys.Toy()
    config = SearchConfig(unknown="attended", **options, **SHORT)
    together = search(toy, toy.source(KINDS), config, ids=KINDS, keep_weights=True)
    alone = [search(toy, toy.source([kind]), config, ids=[kind], keep_weights=True)[0] for kind in KINDS]
    assert toys.same_bits(together, alone)
    for outputs in together:
        for one in outputs:
            assert one.weights is not None
            looked = one.weights[:, :-1].argmax(1).tolist()
            pointers = [token for token in one.tokens if token >= VOCAB]
            assert pointers == [VOCAB + step for step, token in zip(looked, one.tokens, strict=False) if token >= VOCAB]
            if options.get("no_repeat_ngram"):
                assert len(pointers) <= 1  # all unknown words are one
    assert any(token >= VOCAB for outputs in together for one in outputs for token in one.tokens)


@pytest.mark.parametrize("method", ["greedy", "sample"])
def test_token_by_token(toys, method):
    toy = toys.Toy()
    config = SearchConfig(unknown="attended", method=method, **SHORT)
    written = []
    for kind in KINDS:
        [[best]] = search(toy, toy.source([kind]), config, ids=[kind])
        assert list(as_chosen(toy, toy.source([kind]), config, number=kind)) == best.tokens
        written += best.tokens
    assert max(written) >= VOCAB


def test_a_prefix(toys):
    """A prefix may have unknown words too, which then point like any other."""
    toy = toys.Toy()
    config = SearchConfig(unknown="attended", method="greedy", **SHORT)
    [[best]] = search(toy, toy.source([3]), config, prefix=[[4, UNK]])
    assert best.tokens[:2] == [4, VOCAB + int(toy.attention(3, (4, UNK))[1, :-1].argmax())]


def test_it_needs_attention(toys):
    class Blind(toys.Toy):
        def step(self, tokens, state, source):
            output, state = super().step(tokens, state, source)
            return StepOutput(output.scores, weights=None), state

    toy = Blind()
    with pytest.raises(RegardError, match=r"search\.unknown attended needs attention"):
        search(toy, toy.source([1]), SearchConfig(unknown="attended"))
    assert all(UNK not in one.tokens for one in search(toy, toy.source([1]), SearchConfig())[0])


def test_the_word_around_each_step():
    text = "the Xylophone, é-cat"
    config = {"segment": "punctuation", "min_frequency": 2, "vocab": 300}
    words = Tokenizer.train(["the cat sat"] * 2, TextConfig(tokenizer="word", unknown="one", **config))
    spelled = Tokenizer.train(["the cat sat"] * 2, TextConfig(tokenizer="word", **config))
    pieces = Tokenizer.train(["the cat sat"] * 2, TextConfig(vocab=270))
    letters = Tokenizer.train(["the cat sat"] * 2, TextConfig(tokenizer="char", vocab=300))
    for tokenizer in (words, spelled, pieces, letters):
        around = tokenizer.around(text)
        assert len(around) == len(tokenizer.encode([text])[0])
        assert list(dict.fromkeys(around)) == (
            ["the", "Xylophone", "￭,", "é", "￭-￭", "cat"] if tokenizer in (words, spelled) else text.split(" ")
        )
        assert tokenizer.around("") == []
    assert words.encode([text])[0][1:5] == [UNK] * 4
    cut = Tokenizer.train(["the cat"] * 2, TextConfig(tokenizer="word", unknown="one", min_frequency=2, truncate=2))
    assert cut.around("cat fiddle the") == ["cat", "fiddle"]
    assert words_around(" a  bc ", [(0, 2), (2, 3), (3, 5), (4, 6), (6, 7)]) == ["a", "bc", "bc", "bc", "bc"]
    assert [bare(word) for word in ("(Xylophone,", "...", "o'clock", "é")] == ["Xylophone", "...", "o'clock", "é"]


def test_punctuation_is_no_part_of_a_word_where_it_is_a_word_of_its_own():
    source = Tokenizer.train(["a cat , sat"], TextConfig(vocab=270))
    target = {"tokenizer": "word", "unknown": "one", "min_frequency": 2, "vocab": 300}
    marks = Tokenizer.train(["a, b"] * 2, TextConfig(segment="punctuation", **target))
    spaces = Tokenizer.train(["a, b"] * 2, TextConfig(**target))
    kept, cut = (unnamed({"source": source, "target": one}, "Zoë, sat") for one in (spaces, marks))
    assert kept[spaces.size] == "Zoë," and cut[marks.size] == "Zoë" and min(cut) == marks.size
    a, comma, _ = marks.encode(["a, b"])[0]
    assert marks.decode([a, marks.size, comma], cut) == "a Zoë,"
    assert unnamed({"source": source, "target": Tokenizer.train(["a"], TextConfig(vocab=270))}, "Zoë") == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.target.unknown=spell"], r"search\.unknown attended is for data\.target\.unknown one, found spell"),
        (["model.attention=none"], r"search\.unknown attended asks attention, and model\.attention is none"),
        (["data.source.turns=2", "model.encoder=birnn"], r"is for sources that are one text"),
        (["model.readout=copy", "data.shared_vocabulary=true"], r"readout copy can write what the source has"),
        (["data.target.min_frequency=1"], r"set min_frequency to 2 or more"),
    ],
)
def test_what_cannot_work_together_is_refused(overrides, message):
    told = {"tokenizer": "word", "unknown": "one", "min_frequency": 2}
    recipe = {
        "task": "translate", "search": {"unknown": "attended"},
        "data": {"train": {"table": "a.tsv"}, "valid": {"table": "b.tsv"}, "source": told, "target": told},
    }  # fmt: skip
    regard.Recipe.from_dict(recipe)
    with pytest.raises(RegardError, match=message):
        regard.Recipe.from_dict(recipe, overrides)


RARE = [first + last for first in ("Ab", "Ed", "Ko", "Mi", "Tu") for last in ("na", "ri", "do", "ke")]
KNOWN = ["Anna", "Bela", "Cleo", "Dora", "Emil", "Fred", "Gina", "Hugo"]
"""whom the vocabulary has, so that attention learns where names stand"""


@pytest.mark.slow
@pytest.mark.parametrize("source", [{"tokenizer": "word", "unknown": "one", "min_frequency": 50}, {"vocab": 320}])
def test_names_that_training_never_had(tmp_path, no_shape_checks, source):
    """A run that learned to greet whoever is named, and whose target vocabulary holds eight of the names."""
    for split, names in {"train": RARE * 4 + KNOWN * 30, "valid": RARE[:4] + KNOWN[:4]}.items():
        lines = [f"my name is {name} and I am here\thello {name} !\n" for name in names]
        lines += [f"here I am , {name} is my name\thello {name} !\n" for name in names]
        (tmp_path / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    small = {"hidden": 32}
    recipe = {
        "task": "translate",
        "data": {
            "root": str(tmp_path), "train": {"table": "train.tsv"}, "valid": {"table": "valid.tsv"}, "source": source,
            "target": {"tokenizer": "word", "unknown": "one", "min_frequency": 50}, "cache": str(tmp_path / "cache"),
        },
        "model": {
            "embed": 32, "encoder": small, "decoder": small, "attention": {"dim": 32}, "dropout": 0.1,
            "output_dropout": 0.0,
        },
        "train": {
            "epochs": 10, "metric": "chrf", "batch_tokens": 100,
            "learning_rate": 0.01, "warmup": 20, "threads": 1, "device": "cpu",
        },
        "search": {"unknown": "attended"},
    }  # fmt: skip
    run = regard.train(regard.Recipe.from_dict(recipe), tmp_path / "run", console=Console(quiet=True)).path
    predictor = regard.load(run)
    sources = ["my name is Zaphod and I am here", "here I am , Kori is my name", "my name is Cleo and I am here"]
    assert predictor(sources) == ["hello Zaphod !", "hello Kori !", "hello Cleo !"]
    assert predictor(sources, unknown="never") != predictor(sources)
    assert predictor(sources, mbr="chrf", candidates=4)[0] == "hello Zaphod !"
    [[best]] = predictor.predict(sources[:1], attention=True)
    assert best.tokens == ["hello", "Zaphod", "!"] and best.finished
    assert "".join(predictor.as_written(sources[1], method="greedy")) == "hello Kori !"
    scored = predictor.score(sources[:1], ["hello Zaphod !"])
    assert scored[0].log_prob == pytest.approx(best.log_prob, abs=1e-4)
    assert regard.load([run, run])(sources) == predictor(sources)
    for given in ({"prefix": "hello Zaphod"}, {"constraints": ["Zaphod"]}):
        with pytest.raises(RegardError, match=f"{next(iter(given))}: 'Zaphod' is not in the model's vocabulary"):
            predictor(sources, **given)
    assert predictor(sources[:1], prefix="hello", constraints=["!"])[0] == "hello Zaphod !"
    assert EOS not in best.ids
