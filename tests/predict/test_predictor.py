"""Texts in, outputs out: order, limits, options, and that nothing else asked at once changes an answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.decode.rescore import score_targets
from regard.errors import RegardError
from regard.predict import Prediction, Predictor, load
from regard.predict.evaluate import evaluate, split_examples
from regard.score import TEXT_METRICS
from regard.score.agreement import by_agreement
from regard.train.runfolder import Run

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")


def essence(outputs: list[list[Prediction]]) -> list[list[tuple[Any, ...]]]:
    """Everything that must not change, floats bit for bit."""
    return [[(o.text, o.ids, o.score, o.log_prob, o.token_log_probs, o.finished) for o in each] for each in outputs]


# What comes back


def test_it_learned(predictor: Predictor) -> None:
    assert predictor(["abc", "hgf"]) == ["C B A", "F G H"]


def test_text_n_is_answered_by_output_n(predictor: Predictor, words: list[str]) -> None:
    together = predictor(words)
    assert len(together) == len(words)
    assert together == [predictor([word])[0] for word in words]
    assert predictor([]) == []


def test_empty_texts_have_empty_outputs(predictor: Predictor) -> None:
    outputs = predictor.predict(["", "abc", " \t ", "abc"], n_best=3, attention=True)
    assert [len(each) for each in outputs] == [1, 3, 1, 3]
    assert outputs[0] == [Prediction(source_tokens=["</s>"])] == outputs[2]
    assert outputs[0][0].alignment == []
    assert outputs[1][0].text == outputs[3][0].text == "C B A"


def test_fields(predictor: Predictor) -> None:
    [[best, second]] = predictor.predict(["abcé"], n_best=2, attention=True)
    assert best.score > second.score
    assert " ".join(best.tokens) == best.text
    assert len(best.ids) == len(best.tokens) == len(best.token_log_probs) - best.finished
    assert best.log_prob == pytest.approx(sum(best.token_log_probs), abs=1e-5)
    assert best.score == pytest.approx(best.log_prob / len(best.token_log_probs), abs=1e-6)  # α = 1
    assert best.source_tokens == ["a", "b", "c", "é", "·", "</s>"]
    assert best.attention is not None and best.alignment is not None
    assert best.attention.shape == (len(best.token_log_probs), 6)
    torch.testing.assert_close(best.attention.sum(1), torch.ones(len(best.attention)))
    for source, target in best.alignment:
        assert best.attention[target].argmax() == source < 5
    [[plain]] = predictor.predict(["abcé"])
    assert plain.attention is plain.alignment is plain.source_tokens is None


@pytest.mark.parametrize("n_best", [1, 2, 3, 4, 5])
def test_first_of_n_best_is_the_best(predictor: Predictor, words: list[str], n_best: int) -> None:
    several = predictor.predict(words, n_best=n_best)
    assert essence([each[:1] for each in several]) == essence(predictor.predict(words))
    for each in several:
        assert [one.score for one in each] == sorted((one.score for one in each), reverse=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"method": "greedy"}, {"method": "sample", "n_best": 3, "top_p": 0.9}, {"no_repeat_ngram": 2}],
    ids=["beam", "greedy", "sample", "no_repeat"],
)
def test_batch_changes_nothing(predictor: Predictor, words: list[str], options: dict[str, Any]) -> None:
    expected = essence(predictor.predict(words, batch=1, **options))
    for batch in (7, 64):
        assert essence(predictor.predict(words, batch=batch, **options)) == expected


def test_sampling_depends_on_seed_and_number_alone(predictor: Predictor, words: list[str]) -> None:
    drawn = predictor(words, method="sample", temperature=1.5)
    assert drawn != predictor(words, method="sample", temperature=1.5, seed=2)
    for i in (0, 13, 35):
        assert predictor([words[i]], method="sample", temperature=1.5, first=i) == [drawn[i]]
    halves = [
        predictor(words[half], method="sample", temperature=1.5, first=half.start)
        for half in (slice(0, 20), slice(20, 36))
    ]
    assert halves[0] + halves[1] == drawn


@pytest.mark.parametrize("method", ["sample", "beam"])
def test_mbr_is_the_best_by_agreement_of_what_the_search_finds(
    predictor: Predictor, words: list[str], method: str
) -> None:
    options = {"method": "sample", "seed": 3} if method == "sample" else {"beam": 8}
    several = predictor.predict(words[:6], n_best=8, **options)
    found = predictor.predict(words[:6], mbr="cer", candidates=8, n_best=2, **options)
    other = 0
    for one, candidates in zip(found, several, strict=True):
        log_probs = None if method == "sample" else [each.log_prob for each in candidates]
        best = by_agreement([each.text for each in candidates], TEXT_METRICS["cer"](), log_probs)
        assert [each.text for each in one] == [candidates[place].text for place in best[:2]]
        other += best[0] != 0
    assert other, "agreement chose as the search did, throughout"


def test_prefix(predictor: Predictor) -> None:
    [[output]] = predictor.predict(["abc"], prefix="H H")
    assert output.text.startswith("H H")
    assert predictor(["abc", "", "abc"], prefix=["H", "A", "G"])[1] == ""
    assert [text[:1] for text in predictor(["abc", "", "abc"], prefix=["H", "A", "G"])] == ["H", "", "G"]


def test_constraints(predictor: Predictor, words: list[str]) -> None:
    for outputs in predictor.predict(words, constraints=["H A", "D"], beam=8):
        if outputs[0].text:
            phones = outputs[0].text.split()
            assert "D" in phones and ["H", "A"] in [phones[i : i + 2] for i in range(len(phones))]
    each = predictor(["abc", "", "abc"], constraints=[["G"], ["A"], []])
    assert "G" in each[0].split() and each[1] == "" and each[2] == predictor(["abc"])[0]


@pytest.mark.parametrize(
    "constraints, options, message",
    [
        ("H", {}, "put it in a list"),
        (["H", ["A"]], {}, "found both"),
        ([["H"], ["A"]], {}, "2 lists of them for 1 texts"),
        ([" "], {}, "no word in it"),
        (["H"], {"method": "greedy"}, "for beam search without groups"),
        (["H"], {"beam": 4, "groups": 2}, "for beam search without groups"),
    ],
)
def test_constraints_that_cannot_be(
    predictor: Predictor, constraints: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RegardError, match=message):
        predictor.predict(["abc"], constraints=constraints, **options)


def test_groups_find_outputs_that_differ(predictor: Predictor, words: list[str]) -> None:
    plain = predictor.predict(words, beam=4, n_best=4)
    apart = predictor.predict(words, beam=4, n_best=4, groups=4, diversity=3.0)
    assert all(len({one.text for one in outputs}) == len(outputs) for outputs in apart)
    seconds = [
        sum(len({one.text.split()[0] for one in outputs if one.text}) for outputs in found) for found in (plain, apart)
    ]
    assert seconds[0] < seconds[1], "of their first phones, more are unlike"
    assert predictor.search_config(method="greedy").groups == 1


def test_progress_counts_every_text(predictor: Predictor, words: list[str]) -> None:
    counts: list[int] = []
    predictor.predict(words, batch=7, done=counts.append)
    assert sum(counts) == len(words) and len(counts) > 3


# Limits


def test_long_texts_are_refused_and_cost_nothing(toy_run: Path) -> None:
    predictor = load(toy_run, device="cpu", max_source_length=10)
    outputs = predictor.predict(["a" * 10, "a" * 11, "word " * 100_000, "abc"])
    assert [one.problem for [one] in outputs] == [
        None,
        "11 tokens, more than 10; shorten it, split it, or raise max_source_length (--max-source-length).",
        "500,000 characters, more than 200; shorten it, split it, or raise max_source_length (--max-source-length).",
        None,
    ]
    assert outputs[1][0].text == outputs[2][0].text == "" and outputs[3][0].text == "C B A"
    with pytest.raises(RegardError, match=r"^text 2: 11 tokens, more than 10"):
        predictor.predict(["abc", "a" * 11], strict=True)


def test_wide_searches_come_in_smaller_batches(predictor: Predictor) -> None:
    config = predictor.search_config(beam=1000)
    sizes = dict((size, rows) for rows, size in predictor._batch_sizes([5, 5, 900], config, 64))
    assert sizes == {8: [0, 1], 1: [2]}
    assert [size for _, size in predictor._batch_sizes([30], predictor.search_config(), 1000)] == [1000]


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beems": 3}, "search option 'beems': there is none; did you mean beam?"),
        ({"beam": 0}, "beam must be a whole number, greater than or equal to 1, found 0"),
        ({"n_best": 6}, "n_best is 6, more than beam, 5; raise beam to 6"),
        ({"n_best": 2, "method": "greedy"}, "n_best is 2, but greedy search finds one output"),
        ({"beam": 2, "method": "greedy"}, "beam=2 and method=greedy: only beam search has a beam"),
        ({"top_k": 2}, "top_k: for sampling, and the search is beam; add method=sample (--sample)"),
        ({"mbr": "bleurt"}, "search.mbr: no metric 'bleurt' compares texts; there are bleu, chrf,"),
        ({"mbr": "distinct1"}, "search.mbr: no metric 'distinct1' compares texts"),
        ({"mbr": "chrf", "method": "greedy"}, "mbr chrf chooses among several outputs, and greedy finds one"),
        ({"candidates": 8}, "candidates: for a search that compares its outputs; add mbr=chrf"),
        ({"batch": 0}, "batch: 0 sentences; at least one is needed"),
        ({"prefix": ["A", "B"]}, "prefix: 2 of them for 1 texts"),
    ],
)
def test_options_that_cannot_be(predictor: Predictor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RegardError) as error:
        predictor(["abc"], **options)
    assert message in str(error.value)


def test_options_go_over_the_recipe(predictor: Predictor, toy_run: Path) -> None:
    assert predictor.search_config(beam=2).beam == 2
    assert predictor.search_config(length_penalty=0.5).beam == predictor.recipe.search.beam
    greedy = load(toy_run, overrides=["search.method=greedy"])
    assert greedy.search_config().method == "greedy"
    assert greedy.search_config(beam=3).method == "beam"
    with pytest.raises(RegardError, match=r"model\.embed=3: after training only data.root, .* can be changed"):
        load(toy_run, overrides=["model.embed=3"])


def test_one_text_is_no_list(predictor: Predictor) -> None:
    with pytest.raises(RegardError, match="expected a list of texts, found one text; put it in a list"):
        predictor("abc")
    with pytest.raises(RegardError, match="predict: text 2 is NoneType, expected str"):
        predictor(["abc", None])  # type: ignore[list-item]


# Forced scoring


@pytest.mark.parametrize("options", [{}, {"length_penalty": 0.3, "coverage_penalty": 0.2}])
def test_forced_scores_are_those_that_search_reports(
    predictor: Predictor, words: list[str], options: dict[str, Any]
) -> None:
    texts = [word for word in words if word]
    found = [one for [one] in predictor.predict(texts, attention=True, **options)]
    texts, found = zip(*[(text, one) for text, one in zip(texts, found, strict=True) if one.finished], strict=True)
    told = predictor.score(texts, [one.text for one in found], attention=True, **options)
    assert len(told) > 25
    for one, again in zip(found, told, strict=True):
        if one.ids != again.ids:  # a text that search has spelled otherwise, byte by byte
            continue
        assert again.log_prob == pytest.approx(one.log_prob, rel=1e-4, abs=1e-5)
        assert again.score == pytest.approx(one.score, rel=1e-4, abs=1e-5)
        assert again.token_log_probs == pytest.approx(one.token_log_probs, rel=1e-3, abs=1e-5)
        assert one.attention is not None and again.attention is not None
        torch.testing.assert_close(again.attention, one.attention, rtol=1e-3, atol=1e-5)


def test_two_roads_of_forced_scoring(toy_run: Path, words: list[str]) -> None:
    """All tokens at once, and token by token, in float64: equal to rounding."""
    predictor = load(toy_run, device="cpu", precision="float64")
    config = predictor.search_config(coverage_penalty=0.1)
    model = predictor.members[0].model
    sources = [[*ids, 3] for ids in predictor.tokenizers["source"].encode(["abcd", "hhga", "aaaa"])]
    targets = predictor.tokenizers["target"].encode(["D C B A", "", "A A B C D E F"])
    source = model.decoder.prepare([model.encode(torch.tensor(sources), torch.tensor([5, 5, 5]))])
    stepwise = score_targets(model.decoder, source, targets, config)
    whole = predictor.score(["abcd", "hhga", "aaaa"], ["D C B A", "", "A A B C D E F"], search=config)
    for one, two in zip(stepwise, whole, strict=True):
        assert two.log_prob == pytest.approx(one.log_prob, rel=1e-12)
        assert two.score == pytest.approx(one.score, rel=1e-12)
        assert two.token_log_probs == pytest.approx(one.token_log_probs, rel=1e-10)


def test_forced_scores_do_not_depend_on_the_batch(predictor: Predictor, words: list[str]) -> None:
    targets = predictor(list(reversed(words)))
    expected = essence([[one] for one in predictor.score(words, targets, batch=1)])
    for batch in (7, 64):
        assert essence([[one] for one in predictor.score(words, targets, batch=batch)]) == expected
    with pytest.raises(RegardError, match="36 sources and 1 targets; give one for each"):
        predictor.score(words, targets[:1])


# Ensembles


def test_a_run_with_itself_is_itself(predictor: Predictor, toy_run: Path, words: list[str]) -> None:
    both = load([toy_run, toy_run], device="cpu")
    for [one], [two] in zip(predictor.predict(words), both.predict(words), strict=True):
        assert two.text == one.text
        assert two.log_prob == pytest.approx(one.log_prob, abs=1e-5)
    targets = predictor(words)
    for one, two in zip(predictor.score(words, targets), both.score(words, targets), strict=True):
        assert two.log_prob == pytest.approx(one.log_prob, abs=1e-5)


@pytest.fixture
def other(toy_run: Path, tmp_path: Path) -> Path:
    """The same run with other weights."""
    shutil.copytree(toy_run, tmp_path / "other")
    run = Run(tmp_path / "other")
    draw = torch.Generator().manual_seed(1)
    run.write_weights({name: w + 0.05 * torch.randn(w.shape, generator=draw) for name, w in run.weights().items()})
    return run.path


def test_an_ensemble_is_the_mean_of_probabilities(predictor: Predictor, toy_run: Path, other: Path) -> None:
    both, second = load([toy_run, other], device="cpu"), load(other, device="cpu")
    first_terms, second_terms, terms = (
        torch.tensor(one.score(["abca"], ["A C"])[0].token_log_probs, dtype=torch.float64)
        for one in (predictor, second, both)
    )
    torch.testing.assert_close(terms.exp(), (first_terms.exp() + second_terms.exp()) / 2, rtol=1e-5, atol=1e-8)
    words = ["abcd", "hg", "abab", "b"]
    expected = essence(both.predict(words, batch=1, n_best=3))
    assert essence(both.predict(words, batch=64, n_best=3)) == expected
    found = [one for [one, *_] in both.predict(words)]
    for one, again in zip(found, both.score(words, [one.text for one in found]), strict=True):
        assert again.log_prob == pytest.approx(one.log_prob, rel=1e-4, abs=1e-5)


def test_evaluation_of_an_ensemble(predictor: Predictor, toy_run: Path) -> None:
    """Perplexity on the second road (forced scores) is that of the first (the training loss)."""
    one = evaluate(predictor, split_examples(predictor, "valid"))
    two = evaluate(load([toy_run, toy_run], device="cpu"), split_examples(predictor, "valid"))
    assert two.outputs == one.outputs
    assert two.perplexity.value == pytest.approx(one.perplexity.value, rel=1e-5)


def test_members_share_vocabularies(toy_run: Path, other: Path) -> None:
    path = other / "tokenizer-target.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["text"]["lowercase"] = True
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        RegardError, match=r"an ensemble needs one target vocabulary: .* has 269 target pieces, .* 269 others"
    ):
        load([toy_run, other])


# Loading


def test_precision(toy_run: Path) -> None:
    wide = load(toy_run, precision="float64", device="cpu")
    assert {p.dtype for p in wide.members[0].model.parameters()} == {torch.float64}
    assert wide(["abc"]) == ["C B A"]
    with pytest.raises(RegardError, match="there is no 'float16'; choose one of float32, float64"):
        load(toy_run, precision="float16")
    with pytest.raises(RegardError, match="no run folder given"):
        load([])


def test_a_model_without_attention_has_none_to_show(tmp_path: Path, toy_run: Path) -> None:
    shutil.copytree(toy_run, tmp_path / "blind")
    run = Run(tmp_path / "blind")
    recipe = run.recipe
    blind = recipe.model_copy(update={"model": recipe.model.model_copy(update={"attention": None})})
    (run.path / "recipe.yaml").write_text(blind.to_yaml(), encoding="utf-8")
    from regard.tasks import TASKS
    from regard.train.weights import model_tensors

    run.write_weights(model_tensors(TASKS[blind.task](blind).build(run.tokenizers())))
    predictor = load(run.path, device="cpu")
    assert len(predictor(["abc", "a"])) == 2
    with pytest.raises(RegardError, match="this model has no attention"):
        predictor.predict(["abc"], attention=True)


def test_a_token_that_looked_nowhere_is_not_aligned() -> None:
    """As monotonic attention leaves those past its end."""
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.2, 0.0, 0.7]])
    found = Prediction(tokens=["a", "b"], source_tokens=["x", "y", "</s>"], attention=weights)
    assert found.alignment == [(1, 0)]
