"""A search for better settings: trials that Optuna suggests, trained side by side, stopped early where they are behind.

folder/
  study.journal      Optuna's, a line for every event: what a killed search goes on from
  space.json         what is searched, so that another search is not taken for this one
  trials/0003        the run of a trial, as long as it trains or is the best
  best.yaml          the best recipe so far, whole
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regard.errors import RegardError
from regard.recipe import Recipe, difference, find_recipe, load_recipe
from regard.tasks import TASKS
from regard.train.files import json_bytes, write_bytes
from regard.tune.space import Choice, Space, parse_space
from regard.tune.trials import Running

POLL_SECONDS = 0.3
NAME = "regard"
ILLEGAL = 50
"""So many combinations one after the other that no recipe may have: then there are none."""
FAILED = 3
"""So many trainings that failed, and none that did not: then the fault is the recipe's."""
STARTUP, WARMUP = 5, 1
"""Trials that are compared with, and validations of each that nothing is stopped by (Optuna's MedianPruner)."""


@dataclass(frozen=True)
class Tuned:
    """What a search has found."""

    metric: str
    best: Path
    """recipe of the best trial"""
    value: float
    trials: list[tuple[int, float, list[str]]]
    """finished ones, the best first: number, value, changes"""
    stopped: int
    failed: int
    left: int
    """of the trials asked for, those that are still to be made"""


def tune(
    recipe: str | Path,
    given: Sequence[str],
    folder: Path,
    *,
    trials: int = 30,
    minutes: float | None = None,
    at_once: int | None = None,
    seed: int = 1,
    tell: Callable[[str], None] = print,
) -> Tuned:
    """Search, or go on with the search that is in `folder`.

        found = tune("demo-cmudict", ["train.minutes=1", "model.dropout=0..0.5"], Path("studies/words"))
        found.best, found.value

    given      as in `parse_space`
    trials     how many the study shall have in all, those that were stopped early or failed counted
    minutes    when to stop all that is under way; a later call goes on with it
    at_once    trainings side by side, one thread each unless the recipe says otherwise; default: one a core
    """
    space, fixed = parse_space(given)
    if not space:
        raise RegardError("nothing to search: name a range, KEY=LOW..HIGH, or several values, KEY=VALUE,VALUE.")
    base = _base(recipe, fixed)
    _check_values(recipe, fixed, space)
    search = _Search(recipe, fixed, space, base, folder, seed, tell)
    return search.run(trials, None if minutes is None else time.monotonic() + 60 * minutes, at_once or _cores())


def _base(recipe: str | Path, fixed: list[str]) -> Recipe:
    found = load_recipe(recipe, fixed)
    if found.train.processes > 1:
        raise RegardError("train.processes: trials run side by side already; set it to 1 (train.processes=1).")
    return found


def _check_values(recipe: str | Path, fixed: list[str], space: Space) -> None:
    """Refuse a key of which no value, each by itself, is one that the recipe may have."""
    for key, values in space.items():
        problems = []
        for text in values.ends():
            try:
                load_recipe(recipe, [*fixed, f"{key}={text}"])
            except RegardError as error:
                problems.append(str(error))
        if len(problems) == len(values.ends()):
            raise RegardError(problems[0])


class _Search:
    def __init__(
        self,
        recipe: str | Path,
        fixed: list[str],
        space: Space,
        base: Recipe,
        folder: Path,
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self.recipe, self.fixed, self.space, self.folder, self.tell = recipe, fixed, space, folder, tell
        task = TASKS[base.task](base)
        self.metric = base.train.metric or task.default_metric
        self.higher = task.metrics[self.metric]
        self.optuna = _optuna()
        folder.mkdir(parents=True, exist_ok=True)
        new = self._remember(base)
        self.study = self._open(seed)
        if new:
            self._begin_with(base)
        self.running: list[Running] = []
        self.illegal = 0

    # The study

    def _remember(self, base: Recipe) -> bool:
        """Whether this search begins; a folder that holds another one is refused."""
        asked = {
            "recipe": base.hash(),
            "name": find_recipe(self.recipe).stem,
            "space": {key: {"kind": type(values).__name__, **asdict(values)} for key, values in self.space.items()},
        }
        path = self.folder / "space.json"
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(asked)):
                raise RegardError(f"{self.folder}: holds a search of another recipe or space; choose another --study.")
            return False
        if any(self.folder.iterdir()):
            raise RegardError(f"{self.folder}: holds something else; choose another --study.")
        write_bytes(path, json_bytes(asked))
        return True

    def _open(self, seed: int) -> Any:
        optuna = self.optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        backend = optuna.storages.journal.JournalFileBackend(str(self.folder / "study.journal"))
        study = optuna.create_study(
            study_name=NAME,
            storage=optuna.storages.JournalStorage(backend),
            direction="maximize" if self.higher else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP),
            load_if_exists=True,
        )
        # A sampler begins its draws anew: with the seed alone, one that goes on would repeat those it has made.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        return study

    def _begin_with(self, base: Recipe) -> None:
        """The recipe's own values are the first trial, where the space has them: what is found is no worse."""
        own = {}
        for key, values in self.space.items():
            if isinstance(values, Choice):
                same = [text for text in values.values if not self._changes(base, f"{key}={text}")]
                value: Any = same[0] if same else None
            else:
                value = _at(base.to_dict(), key)
                inside = isinstance(value, int | float) and values.low <= value <= values.high
                value = value if inside else None
            if value is not None:
                own[key] = value
        if len(own) == len(self.space):
            self.study.enqueue_trial(own)

    def _changes(self, base: Recipe, override: str) -> bool:
        try:
            return bool(difference(base, load_recipe(self.recipe, [*self.fixed, override])))
        except RegardError:
            return True

    # Trials

    def run(self, trials: int, end: float | None, at_once: int) -> Tuned:
        try:
            self._go_on(at_once)
            while True:
                while len(self.running) < at_once and self._made() < trials and not _over(end):
                    self._begin(at_once)
                if not self.running or _over(end):
                    break
                time.sleep(POLL_SECONDS)
                for one in list(self.running):
                    self._look_at(one)
        finally:
            under_way = len(self.running)
            for one in self.running:
                one.process.terminate()
            for one in self.running:
                one.stop()
        if under_way:
            self.tell(f"time is up: {under_way} under way; the same command with more --minutes goes on with them")
        return self._found(max(0, trials - self._made() + under_way))

    def _made(self) -> int:
        return len(self.study.trials) - len(self.study.get_trials(states=(self.optuna.trial.TrialState.WAITING,)))

    def _go_on(self, at_once: int) -> None:
        """With the trials that a killed or stopped search left under way, each from its run's last checkpoint."""
        state = self.optuna.trial.TrialState
        for left in self.study.get_trials(states=(state.RUNNING,)):
            changes = left.user_attrs.get("changes")
            if changes is None:  # killed before it began
                self.study.tell(left.number, state=state.FAIL)
                continue
            trial = self.optuna.trial.Trial(self.study, left._trial_id)
            one = Running(trial, self._recipe(changes, at_once), self.folder / "trials", changes)
            one.reported = len(left.intermediate_values)
            self.running.append(one)
            self.tell(f"trial {left.number}: goes on")

    def _begin(self, at_once: int) -> None:
        trial = self.study.ask()
        changes = [f"{key}={values.suggest(trial, key)}" for key, values in self.space.items()]
        try:
            recipe = self._recipe(changes, at_once)
        except RegardError as error:
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            self.illegal += 1
            if self.illegal >= ILLEGAL:
                raise RegardError(f"{ILLEGAL} combinations one after the other are none; the last: {error}") from None
            return
        self.illegal = 0
        trial.set_user_attr("changes", changes)
        for same in self.study.get_trials(states=(self.optuna.trial.TrialState.COMPLETE,)):
            if same.user_attrs.get("changes") == changes:  # training it again would give the same bits
                self.study.tell(trial, same.value)
                return
        self.running.append(Running(trial, recipe, self.folder / "trials", changes))

    def _recipe(self, changes: list[str], at_once: int) -> Recipe:
        recipe = load_recipe(self.recipe, [*self.fixed, *changes])
        if recipe.train.threads is not None:
            return recipe
        return load_recipe(self.recipe, [*self.fixed, *changes, f"train.threads={max(1, _cores() // at_once)}"])

    def _look_at(self, one: Running) -> None:
        ended = one.ended  # before what it wrote is read
        values = one.validations(self.metric)
        for value in values[one.reported :]:
            one.reported += 1
            one.trial.report(value, one.reported)
        if ended:
            one.stop()
            self._end(one, one.value(self.metric))
        elif values and one.trial.should_prune():
            one.stop()
            self._end(one, None, behind=values[-1])

    def _end(self, one: Running, value: float | None, behind: float | None = None) -> None:
        state, number = self.optuna.trial.TrialState, one.trial.number
        self.running.remove(one)
        before = self._best()
        if value is not None:
            self.study.tell(one.trial, value)
            best = self._best()
            is_best = best is not None and best.number == number
            if is_best:
                write_bytes(self.folder / "best.yaml", load_recipe(self.recipe, self._all(one)).to_yaml().encode())
            told = f"{self.metric} {value:.4g}{', the best so far' if is_best else ''}"
            self._drop(before.number if is_best and before is not None else None if is_best else number)
        elif behind is not None:
            self.study.tell(one.trial, state=state.PRUNED)
            told = f"stopped early at {self.metric} {behind:.4g}"
            self._drop(number)
        else:
            self.study.tell(one.trial, state=state.FAIL)
            told = f"failed: {one.last_words()}"
            if before is None and len(self.study.get_trials(states=(state.FAIL,))) >= FAILED:
                raise RegardError(f"trial {number} {told} (see {one.output})")
        self.tell(f"trial {number}: {told} · {' '.join(one.changes)}")

    def _all(self, one: Running) -> list[str]:
        return [*self.fixed, *one.changes]

    def _drop(self, number: int | None) -> None:
        """The run of a trial that is not wanted any more."""
        if number is not None:
            shutil.rmtree(self.folder / "trials" / f"{number:04d}", ignore_errors=True)

    # What was found

    def _complete(self) -> list[Any]:
        """Finished trials, the best first; of equal ones the older."""
        found = self.study.get_trials(states=(self.optuna.trial.TrialState.COMPLETE,))
        return sorted(found, key=lambda trial: (-trial.value if self.higher else trial.value, trial.number))

    def _best(self) -> Any | None:
        return next(iter(self._complete()), None)

    def _found(self, left: int) -> Tuned:
        state, complete = self.optuna.trial.TrialState, self._complete()
        if not complete:
            raise RegardError(
                f"{self.folder}: no trial has finished yet; give it more --minutes, or make trials shorter."
            )
        return Tuned(
            metric=self.metric,
            best=self.folder / "best.yaml",
            value=complete[0].value,
            trials=[(trial.number, trial.value, trial.user_attrs["changes"]) for trial in complete],
            stopped=len(self.study.get_trials(states=(state.PRUNED,))),
            failed=len(self.study.get_trials(states=(state.FAIL,))),
            left=left,
        )


def _over(end: float | None) -> bool:
    return end is not None and time.monotonic() >= end


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _at(values: Any, key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _optuna() -> Any:
    try:
        import optuna
        import optuna.storages.journal
    except ImportError:
        raise RegardError("regard tune needs a package; run `pip install 'regard[tune]'`.") from None
    return optuna
