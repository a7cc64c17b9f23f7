"""`regard tune`: what is searched, what a study does with its trials, and a real search that is killed and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from regard.errors import RegardError
from regard.recipe import load_recipe
from regard.train import Run
from regard.tune import study, tune
from regard.tune.space import Choice, Range, parse_space

RECIPE = """\
task: transduce
data:
  root: {root}
  train: {{table: train.tsv}}
  valid: {{table: valid.tsv}}
  source_column: 0
  target_column: 1
  source: {{tokenizer: char}}
  target: {{tokenizer: char}}
model:
  embed: 8
  encoder: {{hidden: 12}}
  attention: {{dim: 8}}
  decoder: {{hidden: 12}}
train: {{epochs: 2, batch_tokens: 200, warmup: 5, save_every: 4, device: cpu, metric: perplexity}}
"""
SPACE = ["model.dropout=0..0.5", "train.learning_rate=1e-4..1e-1", "model.encoder.hidden=8,12"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Spell a word backwards."""
    words = [f"{a}{b}{c}" for a in ("ka", "to", "mi") for b in ("re", "su", "no", "la") for c in ("pe", "xi", "du", "")]
    for name, chosen in (("train", words[:40]), ("valid", words[40:])):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in chosen))
    path = tmp_path / "words.yaml"
    path.write_text(RECIPE.format(root=tmp_path))
    return path


# The space


def test_ranges_lists_and_fixed_values() -> None:
    space, fixed = parse_space(
        [
            "model.dropout=0..0.5",
            "model.encoder.layers=1..3",
            "train.learning_rate=1e-4..1e-2",
            "model.decoder.cell=lstm, {type: attentive, dim: 8},gru,gru",
            "train.frozen=[encoder.*, decoder.*]",
            "about.title='a, b'",
        ]
    )
    assert space == {
        "model.dropout": Range(0.0, 0.5, whole=False),
        "model.encoder.layers": Range(1.0, 3.0, whole=True),
        "train.learning_rate": Range(1e-4, 1e-2, whole=False),
        "model.decoder.cell": Choice(("lstm", "{type: attentive, dim: 8}", "gru")),
    }
    assert fixed == ["train.frozen=[encoder.*, decoder.*]", "about.title='a, b'"]
    assert [values.log for values in space.values() if isinstance(values, Range)] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model.dropout", "'model.dropout': expected KEY=VALUE"),
        ("model.dropout=0.5..0.1", "the first must be the smaller one"),
        ("model.embed=8,,16", "nothing between two commas"),
    ],
)
def test_malformed_spaces(text: str, said: str) -> None:
    with pytest.raises(RegardError, match=said):
        parse_space([text])


def test_a_key_is_searched_once() -> None:
    with pytest.raises(RegardError, match="embed is given twice"):
        parse_space(["model.embed=8,16", "model.embed=8..64"])


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (["train.learing_rate=1e-4..1e-2"], "learing_rate"),
        (["model.dropout=2..3"], "model.dropout"),
        (["train.epochs=1"], "nothing to search"),
        (["model.embed=8,16", "train.processes=2"], "trials run side by side already"),
    ],
)
def test_what_the_recipe_cannot_have_is_said_before_anything_is_written(
    recipe: Path, tmp_path: Path, space: list[str], said: str
) -> None:
    with pytest.raises(RegardError, match=said):
        tune(recipe, space, tmp_path / "study")
    assert not (tmp_path / "study").exists()


# A study, with trainings that are made up


class Process:
    def terminate(self) -> None:
        pass


class Made:
    """In the place of `Running`: a validation with every look, of a value that its learning rate says."""

    begun: ClassVar[list[list[str]]] = []
    stopped: ClassVar[list[int]] = []
    looks = 4

    def __init__(self, trial: Any, recipe: Any, folder: Path, changes: list[str]) -> None:
        self.trial, self.changes, self.reported, self.seen = trial, changes, 0, 0
        self.rate, self.output, self.process = recipe.train.learning_rate, folder / "output.txt", Process()
        (folder / f"{trial.number:04d}").mkdir(parents=True)
        Made.begun.append(changes)

    def validations(self, metric: str) -> list[float]:
        assert metric == "perplexity"
        self.seen += 1
        return [1.0 + abs(self.rate - 0.01) + 1.0 / look for look in range(1, min(self.seen, self.looks) + 1)]

    @property
    def ended(self) -> bool:
        return self.seen >= self.looks

    def value(self, metric: str) -> float | None:
        return None if self.rate > 0.09 else 1.0 + abs(self.rate - 0.01)

    def stop(self) -> None:
        Made.stopped.append(self.trial.number)

    def last_words(self) -> str:
        return "the loss is not finite"


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> type[Made]:
    monkeypatch.setattr(study, "Running", Made)
    monkeypatch.setattr(study, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(Made, "begun", [])
    monkeypatch.setattr(Made, "stopped", [])
    return Made


def test_it_finds_the_best_and_writes_its_recipe(recipe: Path, tmp_path: Path, made_up: type[Made]) -> None:
    said: list[str] = []
    found = tune(recipe, [*SPACE, "seed=7"], tmp_path / "study", trials=40, at_once=2, tell=said.append)
    values = [value for _, value, _ in found.trials]
    assert found.metric == "perplexity" and values == sorted(values) and found.value == values[0] < 1.004
    assert len(values) + found.stopped + found.failed == 40 and found.left == 0 and found.stopped > 3
    best = load_recipe(found.best)
    assert abs(best.train.learning_rate - 0.01) == pytest.approx(found.value - 1.0) and best.seed == 7
    assert best.train.threads is None  # that of a trial, not of the recipe
    assert [path.name for path in (tmp_path / "study" / "trials").iterdir()] == [f"{found.trials[0][0]:04d}"]
    assert sum("the best so far" in line for line in said) >= 2 and any("stopped early" in line for line in said)
    assert made_up.begun[0] == ["model.dropout=0.3", "train.learning_rate=0.002", "model.encoder.hidden=12"], "its own"


def test_a_search_goes_on_and_another_one_is_refused(recipe: Path, tmp_path: Path, made_up: type[Made]) -> None:
    folder = tmp_path / "study"
    first = tune(recipe, SPACE, folder, trials=4, at_once=1, tell=lambda _: None)
    again = tune(recipe, SPACE, folder, trials=9, at_once=1, tell=lambda _: None)
    assert len(first.trials) + first.stopped + first.failed == 4
    assert len(again.trials) + again.stopped + again.failed == 9 and len(made_up.begun) == 9
    assert len({tuple(changes) for changes in made_up.begun}) == 9, "what was drawn is not drawn again"
    for other in ([*SPACE, "seed=2"], SPACE[:2], [*SPACE[:2], "model.encoder.hidden=8,16"]):
        with pytest.raises(RegardError, match="another recipe or space"):
            tune(recipe, other, folder)
    with pytest.raises(RegardError, match="holds something else"):
        tune(recipe, SPACE, tmp_path)


def test_settings_that_come_again_are_not_trained_again(recipe: Path, tmp_path: Path, made_up: type[Made]) -> None:
    found = tune(
        recipe, ["train.learning_rate=0.01,0.02"], tmp_path / "study", trials=12, at_once=1, tell=lambda _: None
    )
    assert len(made_up.begun) == 2 and len(found.trials) == 12 and found.value == 1.0


def test_trainings_that_fail_are_told_and_end_a_search_in_which_none_succeeds(
    recipe: Path, tmp_path: Path, made_up: type[Made]
) -> None:
    space = ["train.learning_rate=0.1,0.2,0.3,0.4,0.5"]
    with pytest.raises(RegardError, match=r"trial \d failed: the loss is not finite \(see .*output.txt\)"):
        tune(recipe, space, tmp_path / "study", at_once=1, tell=lambda _: None)
    assert len(made_up.begun) == 3
    space = ["train.learning_rate=0.1,0.2,0.01"]
    found = tune(recipe, space, tmp_path / "other", trials=12, at_once=1, tell=lambda _: None)
    assert found.value == 1.0 and found.failed > 0


def test_combinations_that_no_recipe_may_have_are_passed_over(
    recipe: Path, tmp_path: Path, made_up: type[Made]
) -> None:
    """Three heads go with a size of 12 alone."""
    heads = "{type: slstm, heads: 3}"
    space = ["model.encoder.hidden=8,12", f"model.encoder.cell=lstm,{heads}"]
    found = tune(recipe, space, tmp_path / "study", trials=25, at_once=1, tell=lambda _: None)
    assert ["model.encoder.hidden=12", f"model.encoder.cell={heads}"] in made_up.begun
    assert ["model.encoder.hidden=8", f"model.encoder.cell={heads}"] not in made_up.begun and found.failed > 0


def test_time_that_is_up_stops_what_is_under_way(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Made, "looks", 10**9)
    with pytest.raises(RegardError, match="no trial has finished yet"):
        tune(recipe, SPACE, tmp_path / "study", minutes=0.002, at_once=2, tell=lambda _: None)
    assert sorted(made_up.stopped) == [0, 1]


# A real one


def command(recipe: Path, folder: Path, *more: str) -> list[str]:
    words = ["-c", "from regard.cli import main; main()", "tune", str(recipe), *SPACE, "--study", str(folder)]
    return [sys.executable, *words, "--at-once", "2", *more]


@pytest.mark.slow
def test_a_killed_search_goes_on_with_its_trials(recipe: Path, tmp_path: Path) -> None:
    folder, end = tmp_path / "study", time.monotonic() + 90
    words = command(recipe, folder, "train.epochs=3000", "--trials", "2")
    first, run = subprocess.Popen(words, stdout=subprocess.DEVNULL), Run(folder / "trials" / "0000")
    while not (run.path / "metrics.jsonl").is_file() or '"valid"' not in (run.path / "metrics.jsonl").read_text():
        assert time.monotonic() < end and first.poll() is None
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    while run.status == "training" and time.monotonic() < end:  # its worker sees that it is alone
        time.sleep(0.1)
    assert run.status == "interrupted"
    before = run.info["update"]
    again = subprocess.run([*words, "--minutes", "0.3"], capture_output=True, text=True)
    assert "trial 0: goes on" in again.stdout and "no trial has finished yet" in again.stderr
    assert run.status == "interrupted" and run.info["update"] > before > 0


@pytest.mark.slow
def test_a_search_of_three_trials(recipe: Path, tmp_path: Path) -> None:
    done = subprocess.run(command(recipe, tmp_path / "study", "--trials", "3"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "best.yaml: the best recipe" in done.stdout and "3 trials finished" in done.stdout
    [run] = [path for path in (tmp_path / "study" / "trials").iterdir() if path.is_dir()]
    best, info = load_recipe(tmp_path / "study" / "best.yaml"), Run(run).info
    assert info["status"] == "finished" and Run(run).recipe.model == best.model
    assert json.loads((tmp_path / "study" / "space.json").read_text())["name"] == "words"
    assert f"{info['final']['perplexity']:.4g}" in done.stdout
