"""Summaries: a run from JSON lines to ROUGE, long documents, names that are copied, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.tasks.small import small_recipe

import regard
from regard.errors import RegardError
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

TOPICS = ["the budget", "a meeting", "new prices"]
TEXT = {"tokenizer": "word", "segment": "punctuation", "vocab": 400, "min_frequency": 5, "unknown": "hash"}


def mails(count: int, seed: int) -> list[dict[str, Any]]:
    """A body of some 20 to 60 words, and "TOPIC (NAME)", where most names occur once."""
    draw, found = random.Random(seed), []
    for number in range(count):
        name, topic = "".join(draw.choices("bdklmnrt", k=5)).title(), draw.choice(TOPICS)
        filler = " ".join(draw.choices(["yes,", "no.", "please", "see", "below", "thanks!"], k=draw.randint(10, 50)))
        body = f"Hi, I am {name}.\nWe need to talk about {topic}: {filler}"
        found.append({"id": number, "mail": {"body": body, "subject": f"{topic.title()} ({name})"}, "person": topic})
    return found


def recipe(folder: Path, **more: Any) -> Recipe:
    columns = {"source_column": "mail.body", "target_column": "mail.subject"}
    data = {**columns, "source": {**TEXT, "truncate": 16}, "target": TEXT}
    small = {"hidden": 24}
    model = {"embed": 16, "encoder": small, "attention": {"dim": 24}, "decoder": small, "readout": "copy"}
    train = {"batch_tokens": 400, "learning_rate": 1e-2}
    splits = {"train": mails(400, 1), "valid": mails(40, 2)}
    return small_recipe(folder, splits, {"task": "summarize", "data": data, "model": model, "train": train}, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("summarize")
    return regard.train(recipe(folder), folder / "run", console=Console(quiet=True)).path


@pytest.mark.slow
def test_names_never_seen_before_are_in_the_summary(run: Path) -> None:
    predictor = regard.load(run)
    mail = mails(1, seed=99)[0]["mail"]
    [found] = predictor([mail["body"]])
    assert found == mail["subject"]  # with its marks as they were written


def test_evaluation_says_rouge_and_validation_chose_by_it(run: Path) -> None:
    predictor = regard.load(run)
    result = evaluate(predictor, split_examples(predictor, "valid"))
    assert list(result.scores) == ["rouge1", "rouge2", "rougel"]
    assert result.scores["rouge1"].value > 80 and "words:unicode" in result.signatures["rouge1"]
    assert result.refused == result.unscored == 0
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    final = next(each for each in log if each["type"] == "final")
    assert final["rouge1"] == pytest.approx(result.scores["rouge1"].value)
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["metric"] == "rouge1"


def test_of_a_long_document_the_beginning_is_read(run: Path) -> None:
    predictor = regard.load(run)
    body = mails(1, seed=7)[0]["mail"]["body"]
    short, long = predictor([" ".join(body.split()[:12]), body + " and so on" * 20_000])
    assert short == long != ""


def test_scores_against_what_several_people_wrote(run: Path) -> None:
    one, two = (regard.load(run, overrides=changes) for changes in ([], ["data.target_column=[mail.subject, person]"]))
    scores, others = (evaluate(each, split_examples(each, "valid")) for each in (one, two))
    assert "nrefs:1" in scores.signatures["rouge1"] and "nrefs:2" in others.signatures["rouge1"]
    assert others.outputs == scores.outputs and others.scores["rouge1"].value >= scores.scores["rouge1"].value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"target_column": "subject"}}, r"subject"),
        ({"data": {"target": {**TEXT, "truncate": 5}}}, r"target\.truncate: what is written is learned whole"),
        ({"data": {"source": {**TEXT, "segment": "spaces"}}}, r"shared_vocabulary needs the same tokenizer, segment"),
        ({"data": {"source": {**TEXT, "truncate": 0}}}, r"truncate"),
        ({"train": {"metric": "bleu"}}, r"there are rouge1, rouge2, rougel, perplexity"),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RegardError, match=message):
        regard.train(recipe(tmp_path, **changes), tmp_path / "run", console=Console(quiet=True))


def test_a_mail_without_a_body_is_counted_and_named(tmp_path: Path) -> None:
    wanted = recipe(tmp_path, train={"epochs": None, "updates": 1}, data={"max_bad_fraction": 0.1})
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"mail": {"body": null, "subject": "nothing"}}\n{"mail": 3}\n')
    run = regard.train(wanted, tmp_path / "run", console=Console(quiet=True))
    report = json.loads((run.path / "data-report.json").read_text(encoding="utf-8"))
    assert report["splits"]["train"]["bad"] == 2
    assert report["splits"]["train"]["first_bad"][0].startswith("train.jsonl line 401: ")
