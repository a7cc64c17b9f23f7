"""Language models: windows of a stream, perplexity that knows no chunks, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import regard
from regard.cli import load_command
from regard.cli.evaluate import facts, table
from regard.data.report import render
from regard.data.tokenizer import BOS, EOS, PAD
from regard.data.windows import Windows
from regard.errors import RegardError
from regard.predict.evaluate import evaluate, split_examples
from regard.predict.shortlist import make_shortlist
from regard.recipe import Recipe
from regard.tasks import TASKS
from regard.tasks.write import stream_scores, stream_told

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

TOKENS = np.arange(10, 33, dtype=np.int32)


# Windows


@pytest.mark.parametrize("context", [0, 3, 8, 100])
def test_every_token_is_learned_once_with_what_is_before_it(context: int) -> None:
    windows = Windows(TOKENS, steps=8, context=context)
    assert len(windows) == 3 and (windows.target_lengths + 1).tolist() == [8, 8, 7]
    batch, learned = windows.batch([2, 0, 1]), []
    for row, begin in enumerate((16, 0, 8)):
        told, right = batch.target_in[row].tolist(), batch.target_out[row].tolist()
        real = [place for place, token in enumerate(right) if token != PAD]
        assert real == list(range(real[0], real[-1] + 1)) and right[real[0]] == TOKENS[begin]
        assert real[0] == min(context, begin)  # as much as there is
        for place in range(real[-1] + 1):
            at = begin - real[0] + place  # where in the stream
            assert told[place] == (TOKENS[at - 1] if at else BOS)
        learned += [right[place] for place in real]
    assert sorted(learned) == TOKENS.tolist() and batch.tokens == 23
    assert batch.source.tolist() == [[EOS]] * 3


# Runs

TEXT = "the cat sat on the mat.\n\nthe dog sat on the log.\n" * 40


def recipe(folder: Path, **more: Any) -> Recipe:
    with gzip.open(folder / "text.txt.gz", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    split = {"text": "text.txt.gz"}
    data = {"root": str(folder), "train": {**split, "part": [0, 80]}, "valid": {**split, "part": [80, 100]}}
    letters = {"lines": False, "target": {"tokenizer": "char", "normalize": "none"}}
    decoder = {"hidden": 24, "input_feeding": False, **more.pop("decoder", {})}
    model = {"embed": 16, "encoder": "none", "attention": "none", "decoder": decoder, "dropout": 0.0}
    train = {"epochs": 15, "batch_tokens": 128, "window": 32, "learning_rate": 1e-2, "warmup": 10, "threads": 1}
    return Recipe.from_dict(
        {
            "task": "write",
            "data": {**data, **letters, **more.pop("data", {})},
            "model": {**model, "output_dropout": 0.0, **more.pop("model", {})},
            "train": {**train, "label_smoothing": 0, **more.pop("train", {})},
            **more,
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("write")
    return regard.train(recipe(folder), folder / "run", console=Console(quiet=True)).path


def test_a_run_learns_the_text(run: Path) -> None:
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    start, final = (next(each for each in log if each["type"] == kind) for kind in ("start", "final"))
    assert start["examples"] == math.ceil(len(TEXT) * 0.8 / 32)
    assert final["perplexity"] == pytest.approx(math.exp(final["nats"])) and final["nats"] < 0.3
    epoch = next(each for each in log if each["type"] == "epoch")
    assert epoch["tokens"] == len(TEXT) * 0.8  # each letter and line break once


@pytest.mark.parametrize("cell", ["lstm", "gru", {"type": "attentive", "window": 5, "dim": 24}])
def test_perplexity_does_not_depend_on_how_much_is_read_at_once(tmp_path: Path, cell: Any) -> None:
    task = TASKS["write"](recipe(tmp_path, decoder={"cell": cell, "layers": 2}))
    prepared = task.prepare()
    model: Any = task.build(prepared.tokenizers).double().eval()
    tokens = task.tokens(prepared.valid)[:100]
    found = [stream_told(model, tokens, chunk=chunk) for chunk in (1, 7, 64, 1000)]
    for log_probs, hits in found[1:]:
        assert log_probs == pytest.approx(found[0][0], rel=1e-10) and (hits == found[0][1]).all()
    with torch.no_grad():  # and it is that of a step at a time, as search goes
        source = model.decoder.prepare([model.encode(torch.tensor([[EOS]]), torch.ones(1, dtype=torch.int64))])
        state, nats = model.decoder.start(source), 0.0
        for before, after in zip([BOS, *tokens[:-1].tolist()], tokens.tolist(), strict=True):
            output, state = model.decoder.step(torch.tensor([before]), state, source)
            nats -= float(output.scores.log_softmax(-1)[0, after])
    assert stream_scores(model, tokens)["nats"] == pytest.approx(nats / 100, rel=1e-10)
    assert -found[0][0].mean() == pytest.approx(nats / 100, rel=1e-10)


def test_lines_end_and_line_breaks_are_letters(tmp_path: Path) -> None:
    whole = TASKS["write"](recipe(tmp_path))
    prepared = whole.prepare()
    tokens = whole.tokens(prepared.train)
    assert prepared.tokenizers["target"].decode(tokens) == TEXT[: round(len(TEXT) * 0.8)] and EOS not in tokens
    assert prepared.tokenizers["target"].decode(whole.tokens(prepared.valid)) == TEXT[round(len(TEXT) * 0.8) :]
    words = TASKS["write"](recipe(tmp_path, data={"lines": True, "target": {"tokenizer": "word"}}))
    prepared = words.prepare()
    tokens = words.tokens(prepared.train).tolist()
    assert tokens.count(EOS) == 96 and tokens[6:8] == [EOS, EOS]  # an empty line has an end alone
    assert prepared.report["splits"]["train"]["examples"] == 96


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"target": {"tokenizer": "char"}}}, r"lines: false .* set target\.normalize to none"),
        ({"data": {"valid": {"table": "a.tsv"}}}, r"task write learns from plain text: name it as text in data\.train"),
        ({"data": {"valid": {"text": "a.txt", "part": [90, 10]}}}, r"part is \[a, b\] of text with a < b"),
        ({"data": {"valid": {"text": "no.txt"}}}, r"no\.txt: no such file"),
        ({"model": {"encoder": "birnn"}}, r"task write has no source: set model\.encoder and model\.attention to none"),
        ({"model": {"attention": {"score": "dot"}}}, r"encoder none reads nothing, so there is nothing to attend to"),
        ({"train": {"joined": 1}}, r"train\.joined and hallucinated make pairs, .*task write learns from none"),
        ({"data": {"valid": {"text": "a.txt", "percent": [0, 10]}}}, r"percent goes by sources, .* use part"),
        ({"decoder": {"input_feeding": True}}, r"model\.decoder\.input_feeding to false"),
        ({"task": "translate"}, r"data: text is for task write; task translate needs sources and targets"),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RegardError, match=message):
        regard.train(recipe(tmp_path, **changes), tmp_path / "run", console=Console(quiet=True))


# Using it


def test_outputs_go_on_from_the_texts(run: Path) -> None:
    predictor = regard.load(run)
    found = predictor.predict(["the cat", "the d", ""], method="greedy", max_length=60)
    texts = [several[0].text for several in found]
    assert texts[0].startswith("the cat") and texts[1].startswith("the d")
    assert all(set(text.split()[:-1]) <= set(TEXT.split()) for text in texts)  # it can spell
    assert [len(text) for text in texts] == [60, 60, 0]  # an empty line has an empty answer
    alone = predictor.predict(["the d"], method="greedy", max_length=60)
    assert alone[0][0].text == texts[1] and alone[0][0].log_prob == found[1][0].log_prob
    drawn = [predictor.predict(["the "], method="sample", seed=seed, max_length=30)[0][0].text for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1 and all(text.startswith("the ") for text in drawn)
    with pytest.raises(RegardError, match="prefix: outputs begin with the texts themselves"):
        predictor.predict(["the"], prefix="a")


@pytest.mark.parametrize("options", [{"method": "greedy"}, {"method": "sample", "seed": 4, "temperature": 1.5}])
def test_written_piece_by_piece_it_is_what_search_finds(run: Path, options: dict[str, Any]) -> None:
    predictor, method = regard.load(run), options["method"]
    for text, length in (("the c", 40), ("the mat.\n", 10), ("the long beginning", 5)):
        whole = predictor.predict([text], max_length=length, first=3, **options)[0][0]
        pieces = list(predictor.as_written(text, max_length=length, number=3, **options))
        assert text + "".join(pieces) == whole.text and whole.text.startswith(text)
        assert len(whole.ids) == max(length, len(text)) and not whole.finished
        if method == "greedy":  # a sample may have bytes, several to a letter
            assert len(pieces) == max(0, length - len(text))  # as they came, not at the end
    alone = "".join(predictor.as_written("", max_length=25, **options))  # from nothing
    assert len(predictor.tokenizers["target"].encode([alone])[0]) == 25 or method == "sample"
    with pytest.raises(RegardError, match="token by token: for greedy search or a single sample"):
        list(predictor.as_written("the", method="beam"))


def test_a_cache_is_put_on_after_training(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("the cat sat on the zqvx.\nthe dog sat on the zqvx.\n" * 10, encoding="utf-8")
    new = f"data.test={{text: {tmp_path / 'new.txt'}}}"
    found = []
    for cache in ("none", "{size: 500, temperature: 0.5, weight: 0.5}"):
        predictor = regard.load(run, overrides=[f"model.cache={cache}", new])
        result = evaluate(predictor, split_examples(predictor, "test"))
        found.append(result.perplexity.value)
        assert ("size" in str(result.to_dict()["cache"])) == (cache != "none")
    assert found[1] < found[0] / 2  # a word it had never seen, ten times
    whole = predictor.predict(["the cat sat on the zqvx. the "], method="greedy", max_length=60)[0][0]
    pieces = predictor.as_written("the cat sat on the zqvx. the ", method="greedy", max_length=60)
    assert "the cat sat on the zqvx. the " + "".join(pieces) == whole.text
    told = predictor.score([""], [whole.text])[0]
    assert told.token_log_probs[:60] == pytest.approx(whole.token_log_probs, abs=1e-4)


def test_the_command_writes_to_the_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = load_command("write")
    for given, begins in ((["the dog"], "the dog"), ([], ""), (["model.cache={}", "model.cache.size=9"], "")):
        command([str(run), *given, "search.max_length=30", "search.seed=2"], standalone_mode=False)
        said = capsys.readouterr().out
        assert said.startswith(begins) and len(said) == 31 and said.endswith("\n")


def test_there_is_no_shortlist_for_it(run: Path) -> None:
    with pytest.raises(RegardError, match="task write has no source that could suggest words"):
        make_shortlist(run)


def test_evaluation_reads_the_text_as_a_whole(run: Path) -> None:
    predictor = regard.load(run)
    result = evaluate(predictor, split_examples(predictor, "valid"))
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    final = next(each for each in log if each["type"] == "final")
    assert result.perplexity.value == pytest.approx(final["perplexity"], rel=1e-9) and result.scores == {}
    console = Console(file=io.StringIO(), width=120)
    console.print(table(result), *facts(result))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "nats per token" in shown and f"{final['nats']:.4f}" in shown and f"{result.sentences:,} text" in shown
    with pytest.raises(RegardError, match="perplexity of several language models together"):
        two = regard.load([run, run])
        evaluate(two, split_examples(two, "valid"))


@pytest.mark.parametrize("lines", [True, False])
def test_a_text_is_resampled_in_blocks(tmp_path: Path, lines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["write"](recipe(tmp_path, data={"lines": lines}))
    prepared = task.prepare()
    model: Any = task.build(prepared.tokenizers).eval()
    pairs = prepared.valid
    log_probs, _ = stream_told(model, task.tokens(pairs))
    for block, size in ((10**6, len(log_probs) // 20), (7, 7)):
        monkeypatch.setattr("regard.tasks.write.BLOCK", block)
        told = task.told(model, pairs, np.arange(len(pairs)))
        assert told.statistics.sum(0) == pytest.approx([-log_probs.sum(), len(log_probs)])
        assert set(told.statistics[:-1, 1]) == {size} and 0 < told.statistics[-1, 1] <= size
        assert told.statistics[1, 0] == pytest.approx(-log_probs[size : 2 * size].sum())


def test_what_would_say_nothing_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = regard.load(run)
    predictor.approximate = ["int8"]
    with pytest.raises(RegardError, match="int8: a language model's perplexity is that of the exact model"):
        evaluate(predictor, split_examples(predictor, "valid"))
    small = tmp_path / "small.txt"
    small.write_text(TEXT[:300], encoding="utf-8")
    words = recipe(tmp_path, data={"target": {"tokenizer": "word", "normalize": "none"}}, train={"epochs": 1})
    of_words = regard.train(words, tmp_path / "words", console=Console(quiet=True)).path
    compare = load_command("compare")
    text = f"data.test={{text: {small}}}"
    with pytest.raises(RegardError, match="perplexities are of different pieces, and cannot be compared"):
        compare([str(run), str(of_words), text], standalone_mode=False)
    compare([str(run), str(run), text], standalone_mode=False)
    assert "perplexity" in capsys.readouterr().out


def test_the_report_tells_of_no_sources(run: Path) -> None:
    report = json.loads((run / "data-report.json").read_text(encoding="utf-8"))
    console = Console(file=io.StringIO(), width=120)
    console.print(render(report))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "lines" in shown and "target tokens" in shown and "source" not in shown and "pairs" not in shown
