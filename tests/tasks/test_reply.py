"""Replies: conversations to pairs, turns as the encoder sees them, a run, its scores, and talking with it."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.tasks.small import small_recipe

import regard
from regard.cli import main
from regard.cli.evaluate import open_run
from regard.data.read import Problems, read_split
from regard.decode.engine import layout
from regard.errors import RegardError
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

TEXT = {"tokenizer": "word", "segment": "punctuation", "vocab": 320}
ANSWERS = ["Oh, really?", "Go on."]
THINGS = ["tea", "jazz", "chess"]


def conversations(count: int, seed: int) -> list[dict[str, Any]]:
    """The last turn says what the first one named: only who knows the first turn can answer."""
    draw, found = random.Random(seed), []
    for number in range(count):
        thing, answer = draw.choice(THINGS), draw.choice(ANSWERS)
        turns = [f"I like {thing}.", answer, "What was it again?", f"You like {thing}."]
        found.append({"id": number, "turns": turns[draw.randint(0, 1) :] if draw.random() < 0.1 else turns})
    return found


def recipe(folder: Path, **more: Any) -> Recipe:
    data = {"dialogue": "turns", "source": {**TEXT, "turns": 3}, "target": TEXT}
    encoder = {"type": "hierarchical", "memory": "bottom", "hidden": 48}
    model = {"embed": 32, "encoder": encoder, "attention": {"dim": 48}, "decoder": {"hidden": 48}}
    train = {"batch_tokens": 300, "learning_rate": 5e-3}
    splits = {"train": conversations(200, 1), "valid": conversations(20, 2)}
    return small_recipe(folder, splits, {"task": "reply", "data": data, "model": model, "train": train}, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reply")
    return regard.train(recipe(folder), folder / "run", console=Console(quiet=True)).path


def test_every_turn_but_the_first_is_a_target_after_those_before_it(tmp_path: Path) -> None:
    lines = [{"t": ["a", "b\tc", " ", "d", "e"]}, {"t": ["alone"]}, {"t": "f\tg"}, {"t": 3}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = {"dialogue": "t", "source": {**TEXT, "turns": 2}, "max_bad_fraction": 0.5}
    wanted = recipe(tmp_path, data=data).data
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    problems = Problems()
    found = list(read_split(wanted.train, wanted, training=True, problems=problems))
    pairs = [(each.source, *each.targets) for each in found]
    assert pairs == [("a", "b c"), ("a\tb c", "d"), ("b c\td", "e"), ("f", "g")]
    assert problems.bad == 2
    assert "line 2: a conversation of 1 turn has no reply" in problems.first[0]
    assert "line 4: column 't' is int, expected text" in problems.first[1]


def test_a_conversation_is_in_one_part_of_the_data(tmp_path: Path) -> None:
    wanted = recipe(tmp_path).data
    parts = []
    for low, high in ((0, 70), (70, 100)):
        split = wanted.train.model_copy(update={"percent": (low, high)})
        parts.append({example.where for example in read_split(split, wanted, training=True)})
    assert parts[0] and parts[1] and not parts[0] & parts[1]


def test_lists_in_any_source_column_are_turns(tmp_path: Path) -> None:
    lines = [{"p": "I am a cook.", "h": ["Hi", "Hello"], "r": ["Fine.", "Good."]}, {"p": "a", "h": None, "r": "b"}]
    data = {"dialogue": None, "source_column": ["p", "h"], "target_column": "r", "max_bad_fraction": 0.5}
    wanted = recipe(tmp_path, data=data).data
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    problems = Problems()
    [example] = read_split(wanted.train, wanted, training=True, problems=problems)
    assert (example.source, example.targets) == ("I am a cook.\tHi\tHello", ("Fine.", "Good."))
    assert problems.bad == 1 and "column 'h' is null" in problems.first[0]


def test_a_long_history_is_read_from_its_end(run: Path) -> None:
    predictor = regard.load(run)
    last = "I like chess.\tGo on.\tWhat was it again?"
    assert predictor(["Hm.\t" * 10_000 + last]) == predictor([last]) != [""]


def test_a_tab_is_a_piece_and_turns_are_cleaned_one_by_one(run: Path) -> None:
    tokenizer = regard.load(run).tokenizers["source"]
    text = "too old\t I like  tea.\t\tOh, really? \tWhat was it again?"
    [ids] = tokenizer.encode([text])
    assert tokenizer.decode(ids) == "I like tea.\tOh, really?\tWhat was it again?"
    length, *ends = layout(ids)
    assert [tokenizer.pieces(ids)[end] for end in ends] == ["⏎", "⏎"] and length == len(ids)
    [alone] = tokenizer.encode(["Oh, really?"])
    assert ids[ends[0] + 1 : ends[1]] == alone  # a turn's pieces are the same wherever it stands


def test_it_answers_with_what_was_said_three_turns_ago_in_any_batch(run: Path) -> None:
    predictor = regard.load(run)
    asked = ["\t".join(each["turns"][:3]) for each in conversations(30, seed=5) if len(each["turns"]) == 4]
    right = [each["turns"][3] for each in conversations(30, seed=5) if len(each["turns"]) == 4]
    found = predictor.predict(asked, batch=64)
    assert [one.text for [one] in found] == right
    assert predictor.predict(asked, batch=1) == found
    [[seen]] = predictor.predict(asked[:1], attention=True)
    assert seen.attention is not None and seen.attention.shape[1] == len(seen.source_tokens or [])


@pytest.mark.slow
def test_the_hierarchy_makes_a_difference(tmp_path: Path) -> None:
    """The same words, cut into other turns, are other memories."""
    predictor = regard.load(regard.train(recipe(tmp_path, train={"epochs": None, "updates": 1}), tmp_path / "run",
                                         console=Console(quiet=True)).path)  # fmt: skip
    one, other = (predictor.score([text], ["You like tea."])[0].log_prob for text in ("I like\ttea.", "I\tlike tea."))
    assert one != pytest.approx(other, abs=1e-7)


def test_evaluation_says_perplexity_bleu_and_distinct(run: Path) -> None:
    predictor = regard.load(run)
    result = evaluate(predictor, split_examples(predictor, "valid"))
    assert list(result.scores) == ["bleu", "distinct1", "distinct2"] and result.perplexity.value < 3
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["metric"] == "perplexity"


def test_a_chat_keeps_its_history_until_it_is_told_to_forget(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "I like chess.\n\nWhat was it again?\n/new\nI like tea.\n"
    for options in (["search.method=greedy"], ["search.method=beam"]):
        typed = io.TextIOWrapper(io.BytesIO(lines.encode() + b"\xff\n"), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", typed)
        with pytest.raises(SystemExit, match="0"):
            main(["chat", str(run), *options])
        first, second, third, _ = capsys.readouterr().out.splitlines()
        assert first in ANSWERS and second == "You like chess." and third in ANSWERS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"source": TEXT, "dialogue": None}}, "set data.source.turns, how many before a reply"),
        ({"data": {"source": TEXT}}, "dialogue: set source.turns"),
        ({"data": {"source": {**TEXT, "turns": 0}}}, "turns"),
        ({"data": {"target": {**TEXT, "turns": 2}}}, "turns are what is read"),
        ({"data": {"valid": {"source": "a.txt", "target": "b.txt"}}}, "dialogue is a column of tables"),
        ({"data": {"source": {"tokenizer": "char", "turns": 3, "tags": True}}}, "without tags"),
        ({"data": {"source": {**TEXT, "turns": 3, "truncate": 9}}}, "set one of the two"),
        ({"model": {"encoder": {"type": "hierarchical", "pooling": {"type": "structured"}}}}, "set it to 0"),
        ({"model": {"encoder": {"type": "hierarchical"}}}, "model.encoder.memory to bottom"),
        ({"model": {"encoder": {"type": "hierarchical", "memory": "bottom", "depth": 3}}}, "depth is 2, found 3"),
    ],
)  # fmt: skip
def test_mistakes_in_a_recipe(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RegardError, match=message):
        recipe(tmp_path, **changes)


def test_a_key_of_sampling_needs_sampling(run: Path) -> None:
    with pytest.raises(RegardError, match=r"temperature: for sampling, and the search is beam; add search.method=samp"):
        open_run(str(run), ["search.temperature=0.5"], "auto", None)
    open_run(str(run), ["search.method=sample", "search.temperature=0.5"], "auto", None)
    predictor = regard.load(run, overrides=["search.temperature=0.5"])  # a call may ask for a sample
    assert predictor.search_config(method="sample").temperature == 0.5


def test_a_run_of_another_task_is_no_partner(capsys: pytest.CaptureFixture[str], toy_run: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["chat", str(toy_run)])
    assert "holds no conversations: use `regard predict`" in capsys.readouterr().err
