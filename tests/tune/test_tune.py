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
from regard.tune.folder import held
from regard.tune.space import Choice, Range, parse_space
from regard.tune.trials import Running

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
        (["train.metric=wer,cer"], "train.metric: has one value in all trials"),
    ],
)
def test_what_the_recipe_cannot_have_is_said_before_anything_is_written(
    recipe: Path, tmp_path: Path, space: list[str], said: str
) -> None:
    with pytest.raises(RegardError, match=said):
        tune(recipe, space, tmp_path / "study")
    assert not (tmp_path / "study").exists()


# A study, with trainings that are made up


class Made:
    """In the place of `Running`: a validation with every look, of a value that its learning rate says."""

    begun: ClassVar[list[list[str]]] = []
    stopped: ClassVar[list[int]] = []
    looks = 4

    def __init__(self, trial: Any, recipe: Any, folder: Path, changes: list[str]) -> None:
        self.trial, self.changes, self.reported, self.seen = trial, changes, 0, 0
        self.rate, self.output = recipe.train.learning_rate, folder / "output.txt"
        (folder / f"{trial.number:04d}").mkdir(parents=True, exist_ok=True)
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

    def ask_to_stop(self) -> None:
        pass

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
    assert abs(best.train.learning_rate - 0.01) == pytest.approx(found.value - 1.0, abs=1e-12) and best.seed == 7
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
    others = {
        "seed was 1, is 2": [*SPACE, "seed=2"],
        "train.minutes was None, is 3": [*SPACE, "train.minutes=3"],
        "what is searched is something else": SPACE[:2],
    }
    for said, other in others.items():
        with pytest.raises(RegardError, match=f"holds another search: .*{said}"):
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


def test_some_that_fail_end_no_search_in_which_others_are_under_way(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings that diverge end first."""
    monkeypatch.setattr(Made, "ended", property(lambda one: one.seen >= (2 if one.rate > 0.09 else 9)))
    space = ["train.learning_rate=0.1,0.2,0.3,0.4,0.01,0.02"]
    found = tune(recipe, space, tmp_path / "study", trials=6, at_once=6, tell=lambda _: None)
    assert found.failed == 4 and found.value == 1.0


def test_combinations_that_no_recipe_may_have_are_told_and_not_counted(
    recipe: Path, tmp_path: Path, made_up: type[Made]
) -> None:
    """Three heads go with a size of 12 alone."""
    heads, said = "{type: slstm, heads: 3}", list[str]()
    space = ["model.encoder.hidden=8,12", f"model.encoder.cell=lstm,{heads}"]
    found = tune(recipe, space, tmp_path / "study", trials=12, at_once=1, tell=said.append)
    assert ["model.encoder.hidden=12", f"model.encoder.cell={heads}"] in made_up.begun
    assert ["model.encoder.hidden=8", f"model.encoder.cell={heads}"] not in made_up.begun
    assert len(found.trials) == 12 and found.failed == 0
    assert sum("left out" in line and "8 units are no multiple of 3 heads" in line for line in said) == 1
    space = ["model.encoder.hidden=8,12", "model.decoder.cell={type: slstm, heads: 5},{type: slstm, heads: 7}"]
    with pytest.raises(RegardError, match="12 units are no multiple of 5 heads"):
        tune(recipe, space, tmp_path / "other", tell=said.append)


def test_what_trains_already_is_not_trained_beside_itself(recipe: Path, tmp_path: Path, made_up: type[Made]) -> None:
    found = tune(
        recipe, ["train.learning_rate=0.01,0.02"], tmp_path / "study", trials=6, at_once=4, tell=lambda _: None
    )
    assert len(made_up.begun) == 2 and len(found.trials) == 6


@pytest.mark.parametrize(("seen", "stops"), [(1, False), (2, True)])
def test_the_first_validation_stops_nothing(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch, seen: int, stops: bool
) -> None:
    """Five good trials, and then a bad one that says no more than so many values."""
    space, folder = ["train.learning_rate=1e-3..0.09"], tmp_path / "study"
    tune(recipe, space, folder, trials=5, at_once=1, tell=lambda _: None)
    monkeypatch.setattr(Made, "validations", lambda one, _: [9.0] * min(one.seen, seen))
    monkeypatch.setattr(Made, "ended", property(lambda one: setattr(one, "seen", one.seen + 1) or one.seen > 4))
    found = tune(recipe, space, folder, trials=6, at_once=1, tell=lambda _: None)
    assert found.stopped == stops


def test_a_value_that_is_not_finite_makes_no_failure_of_what_is_stopped(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, folder = ["train.learning_rate=1e-3..0.09"], tmp_path / "study"
    tune(recipe, space, folder, trials=5, at_once=1, tell=lambda _: None)
    monkeypatch.setattr(Made, "validations", lambda *_: [9.0, 9.0, None])
    found = tune(recipe, space, folder, trials=6, at_once=1, tell=lambda _: None)
    assert (found.stopped, found.failed) == (1, 0)


def test_time_that_is_up_stops_what_is_under_way_and_it_goes_on_later(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    monkeypatch.setattr(Made, "looks", 10**9)
    with pytest.raises(RegardError, match="no trial has finished yet"):
        tune(recipe, SPACE, folder, minutes=0.03, at_once=2, tell=lambda _: None)
    assert sorted(made_up.stopped) == [0, 1]
    begun, said = list(made_up.begun), list[str]()
    monkeypatch.setattr(Made, "looks", 4)
    recipe.write_text(recipe.read_text().replace("embed: 8", "embed: 8  # the same"))
    found = tune(recipe, SPACE, folder, trials=2, at_once=1, tell=said.append)  # one after the other now
    assert made_up.begun == [*begun, *begun] and len(found.trials) + found.stopped == 2
    assert said[0] == "trial 0: goes on" and "trial 1: goes on" in said


# What a kill leaves


def test_a_search_is_one_process(recipe: Path, tmp_path: Path, made_up: type[Made]) -> None:
    with held(tmp_path / "study"), pytest.raises(RegardError, match=f"another process is searching.*{os.getpid()}"):
        tune(recipe, SPACE, tmp_path / "study", tell=lambda _: None)


def test_a_torn_journal_and_a_lock_that_was_left(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = tune(recipe, SPACE, Path("study"), trials=6, at_once=1, tell=lambda _: None)
    journal = tmp_path / "study" / "study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "worker')
    (tmp_path / "study" / "study.journal.lock").symlink_to("study/study.journal")
    again = tune(recipe, SPACE, Path("study"), trials=8, at_once=1, tell=lambda _: None)
    assert set(map(str, first.trials)) <= set(map(str, again.trials)) and len(made_up.begun) == 8


def test_the_best_recipe_and_the_runs_are_what_the_journal_says(
    recipe: Path, tmp_path: Path, made_up: type[Made]
) -> None:
    folder = tmp_path / "study"
    found = tune(recipe, SPACE, folder, trials=6, at_once=1, tell=lambda _: None)
    text = found.best.read_text()
    found.best.unlink()
    (folder / "trials" / "0077").mkdir()
    again = tune(recipe, SPACE, folder, trials=6, at_once=1, tell=lambda _: None)
    assert again == found and found.best.read_text() == text
    assert [path.name for path in (folder / "trials").iterdir()] == [f"{found.trials[0][0]:04d}"]


def test_a_trial_killed_before_it_began_is_suggested_again(
    recipe: Path, tmp_path: Path, made_up: type[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("regard.tune.study._Search._problem", killed)
        tune(recipe, SPACE, folder, at_once=1, tell=lambda _: None)
    tune(recipe, SPACE, folder, trials=2, at_once=1, tell=lambda _: None)
    assert made_up.begun[0] == ["model.dropout=0.3", "train.learning_rate=0.002", "model.encoder.hidden=12"]


def test_stopping_asks_once(recipe: Path, tmp_path: Path) -> None:
    """Training takes a second signal for a wish to stop without saving."""
    trial = type("Trial", (), {"number": 0})()
    one = Running(trial, load_recipe(recipe, ["train.epochs=3000"]), tmp_path / "trials", [])
    asked = []
    terminate = one.process.terminate
    one.process.terminate = lambda: asked.append(terminate())  # type: ignore[method-assign]
    one.ask_to_stop()
    one.stop()
    assert len(asked) == 1 and one.ended and one.value("perplexity") is None
    assert "ended by SIGTERM" in one.last_words() or one.process.returncode > 0


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
    assert json.loads((tmp_path / "study" / "space.json").read_text())["model.encoder.hidden"][0] == "Choice"
    assert f"{info['final']['perplexity']:.4g}" in done.stdout
