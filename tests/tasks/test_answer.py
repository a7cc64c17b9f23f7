"""Answers to questions: a run from files in SQuAD's form to exact match, no answer where there is none, and what is
refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.tasks.small import small_recipe

import regard
from regard.cli import main
from regard.errors import RegardError
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")

NAMES = ["Anna", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana"]
TOWNS = ["Paris", "Rome", "Oslo", "Bonn", "Lima", "Cairo", "New  York", "Den Haag"]
WORDS = {"tokenizer": "word", "segment": "punctuation", "lowercase": True, "vocab": 400, "question": True}


def questions(count: int, seed: int) -> list[dict[str, Any]]:
    """Who lives where; one in five asks for someone who is not there."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        people = draw.sample(NAMES, 4)
        towns = draw.sample(TOWNS, 3)
        context = " ".join(f"{name} is from {town}." for name, town in zip(people[:3], towns, strict=True))
        asked = draw.randrange(4) if draw.random() < 0.3 else draw.randrange(3)
        answers = {"text": [], "answer_start": []}
        if asked < 3:
            answers = {"text": [towns[asked]], "answer_start": [context.index(towns[asked])]}
        found.append({"question": f"Where is {people[asked]} from?", "context": context, "answers": answers})
    return found


def recipe(folder: Path, **more: Any) -> Recipe:
    data = {
        **{"source_column": ["question", "context"], "target_column": "answers", "shared_vocabulary": False},
        **{"source": WORDS, "target": {"tokenizer": "span"}},
    }
    model = {
        **{"embed": 16, "tie": "output", "attention": "none", "decoder": "span"},
        **{"spelling": {"dim": 4, "filters": 8, "width": 3}},
        "encoder": {"type": "flow", "hidden": 16, "modelling": {"hidden": 16}},
    }
    splits = {"train": questions(400, 1), "valid": questions(60, 2), "test": questions(60, 3)}
    train = {"batch_tokens": 400, "learning_rate": 2e-2, "epochs": 8}
    return small_recipe(folder, splits, {"task": "answer", "data": data, "model": model, "train": train}, **more)


def trained(wanted: Recipe, folder: Path) -> Path:
    return regard.train(wanted, folder / "run", console=Console(quiet=True)).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answer")
    return trained(recipe(folder), folder)


ASKED = "Where is Zoe from?\tAnna is from Oslo. Zoe is from New  York. Carl is from Bonn."


@pytest.mark.slow
def test_it_learns_to_find_answers(run: Path) -> None:
    predictor = regard.load(run)
    result = evaluate(predictor, split_examples(predictor, "test"))
    scores = {name: score.value for name, score in result.scores.items()}
    assert scores["em"] > 90 and scores["answer_f1"] >= scores["em"] and 1 <= result.perplexity.value < 2
    text, *_ = predictor(["Where is Ben from?\tBen is from New  York. Dora is from Lima. Gus is from Rome."])
    assert text == "New  York"  # as it stands in the passage
    [outputs] = predictor.predict(["Where is Ben from?\tDora is from Lima. Gus is from Rome."], beam=20, n_best=5)
    assert outputs[0].text == "" and sum(one.probability for one in outputs) <= 1 + 1e-6


@pytest.mark.slow
def test_what_was_looked_at_is_where_the_answer_is_and_what_was_asked(run: Path) -> None:
    text = "Where is Ben from?\tDora is from Lima. Ben is from Rome."
    [[best]] = regard.load(run).predict([text], attention=True)
    assert best.text == "Rome" and best.source_tokens is not None and best.attention is not None
    tab = best.source_tokens.index("⏎")
    where = best.attention[0].argmax()
    assert best.source_tokens[where] == "rome" and where > tab
    assert best.attention[2, : tab + 1].sum() == pytest.approx(1, abs=1e-5) and not best.attention[2, tab + 1 :].any()


@pytest.mark.slow
def test_a_page_shows_what_an_answer_rests_on(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("Where is Ben from?\tDora is from Lima. Ben is from Rome.\n")
    page = tmp_path / "shown.html"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), "--input", str(tmp_path / "in.txt"), "--attention", str(page)])
    text = page.read_text()
    assert ended.value.code == 0 and "<h1>Rome" in text and text.count("<tr>") == 2 and 'class="share"' not in text
    strongest = [
        row[row.index("color: white") :].split(">")[1] for row in text.split("<tr>")[1:] if "color: white" in row
    ]
    assert "rome</b" in strongest


@pytest.mark.slow
def test_told_answers_are_scored(run: Path) -> None:
    predictor = regard.load(run)
    text = "Where is Ben from?\tDora is from Lima. Ben is from Rome."
    [[found]] = predictor.predict([text])
    told = predictor.score([text] * 4, ["Rome", "Lima", "", "Berlin"])
    assert told[0].log_prob == pytest.approx(found.log_prob, abs=1e-5) and told[0].text == "Rome"
    assert told[0].score == pytest.approx(found.score, abs=1e-5)
    assert told[1].log_prob < told[0].log_prob and told[2].log_prob < told[0].log_prob and told[2].text == ""
    assert told[3].problem and "not in the passage" in told[3].problem


@pytest.mark.slow
def test_answers_do_not_depend_on_the_batch(run: Path) -> None:
    predictor, rows = regard.load(run), questions(30, 5)
    texts = [f"{row['question']}\t{row['context']}" for row in rows]
    texts += ["Where is Ben from?\tRome", "Where is Ben from?\t" + "Anna is from Oslo. " * 30]
    wide = {"beam": 200, "n_best": 3, "min_length": 5, "no_repeat_ngram": 1, "max_length": 6}  # limits of texts
    together = predictor.predict(texts, **wide)
    for text, outputs in zip(texts, together, strict=True):
        [alone] = predictor.predict([text], **wide)
        assert all(one.finished and len(one.ids) == 2 for one in outputs)
        assert [(one.text, one.score) for one in alone] == [(one.text, one.score) for one in outputs]


@pytest.mark.slow
def test_two_runs_answer_together_and_lines_are_kept(run: Path, tmp_path: Path, capsys: Any) -> None:
    both, alone = regard.load([run, run]), regard.load(run)
    found = [evaluate(one, split_examples(one, "test")).perplexity.value for one in (both, alone)]
    assert found[0] == pytest.approx(found[1], rel=1e-4)  # per question, however many run together
    assert both([ASKED]) == regard.load(run)([ASKED])
    lines = [ASKED, "", "Where is Ben from?", ASKED]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), "--input", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.txt")])
    assert ended.value.code == 0
    found = (tmp_path / "out.txt").read_text().splitlines()
    assert len(found) == 4 and found[0] == found[3] == regard.load(run)([ASKED])[0] and found[1] == found[2] == ""
    assert "no passage" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), "--input", str(tmp_path / "in.txt"), "--sentences", "en"])
    assert ended.value.code and "take texts apart" in capsys.readouterr().err
    with pytest.raises(RegardError, match="prefix"):
        both([ASKED], prefix="Rome")


@pytest.mark.slow
def test_what_a_run_says(tmp_path: Path) -> None:
    train = {"epochs": None, "updates": 4, "batch_tokens": 400, "validate_every": 4}
    run = trained(recipe(tmp_path, train=train), tmp_path)
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    final = next(record for record in log if record["type"] == "final")
    assert {"em", "answer_f1", "perplexity"} <= final.keys() and "accuracy" not in final


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"decoder": "recurrent", "encoder": "birnn"}}, "points into a passage"),
        ({"data": {"source": {**WORDS, "question": False}, "target": {"tokenizer": "word"}}}, "points into a passage"),
        ({"model": {"encoder": "birnn"}}, "go together"),
        ({"train": {"joined": 0.5}}, "spans are none"),
        ({"train": {"sampled_softmax": 100}}, "saves nothing"),
        ({"train": {"pretrained": {"target": "vectors.txt"}}}, "spans have no vectors"),
    ],
)
def test_what_a_recipe_may_not_say(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RegardError, match=said):
        recipe(tmp_path, **changes)


def test_spans_are_for_this_task_alone(tmp_path: Path) -> None:
    with pytest.raises(RegardError, match="are for task answer"):
        Recipe.from_dict({**recipe(tmp_path).to_dict(), "task": "translate"})


def test_validation_without_an_answer_in_its_passage_is_refused(tmp_path: Path) -> None:
    wanted = recipe(tmp_path, train={"epochs": 1, "batch_tokens": 400})
    lines = [json.dumps({"question": "Why?", "context": "A mill.", "answers": "nobody"}) for _ in range(3)]
    (tmp_path / "valid.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RegardError, match="no answer is in its passage"):
        regard.train(wanted, tmp_path / "run", console=Console(quiet=True))
