"""A search for better settings: trials that Optuna suggests, side by side, stopped early where they are behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regard.errors import RegardError
from regard.recipe import Recipe, difference, load_recipe
from regard.tasks import TASKS
from regard.train.files import write_bytes
from regard.train.machine import physical_cores
from regard.tune.folder import at, held, need_optuna, open_study, remember
from regard.tune.space import Choice, Space, parse_space, shown
from regard.tune.trials import Running

POLL_SECONDS = 0.3
ILLEGAL = 50
"""So many combinations one after the other that no recipe may have: then there are none."""
FAILED = 3
"""So many trainings that failed, and none that went well: then the fault is the recipe's."""
STARTUP, WARMUP = 5, 2
"""Trials that must have finished before one is stopped, and the first validation that can stop it (MedianPruner)."""
FIXED = ("train.processes", "train.metric", "train.threads")
"""Keys that are the same for all trials."""


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
    """of the trials asked for, those that are under way or still to be made"""


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
    at_once    trainings side by side; default: one a core, or one where there is a GPU
    """
    space, fixed = parse_space(given)
    if not space:
        raise RegardError("nothing to search: name a range, KEY=LOW..HIGH, or several values, KEY=VALUE,VALUE.")
    if same := [key for key in FIXED if key in space]:
        raise RegardError(f"{', '.join(same)}: has one value in all trials; name that.")
    base = load_recipe(recipe, fixed)
    if base.train.processes > 1:
        raise RegardError("train.processes: trials run side by side already; set it to 1 (train.processes=1).")
    _check_values(recipe, fixed, space)
    with held(folder):
        return _Search(base, space, folder, seed, tell).run(trials, minutes, at_once or _at_once(base))


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
    def __init__(self, base: Recipe, space: Space, folder: Path, seed: int, tell: Callable[[str], None]) -> None:
        optuna = need_optuna()
        self.trial_of, self.state = optuna.trial.Trial, optuna.trial.TrialState
        self.space, self.folder, self.tell = space, folder, tell
        self.base = remember(folder, base, space)
        task = TASKS[base.task](base)
        self.metric = base.train.metric or task.default_metric
        self.higher = task.metrics[self.metric]
        self.study = open_study(folder, higher=self.higher, seed=seed, startup=STARTUP, warmup=WARMUP)
        self.running: list[Running] = []
        self.left: list[Any] = []  # trials that an earlier search was stopped in
        self.refused: set[str] = set()
        self.illegal = self.failures = 0
        self.full = False  # all that can be suggested is under way
        self._take_up()
        self._tidy()

    # What was there

    def _take_up(self) -> None:
        """Trials that a killed or stopped search left under way; the recipe's own values where nothing has begun."""
        for left in self._trials(self.state.RUNNING):
            if "changes" in left.user_attrs:
                self.left.append(left)
            else:  # killed before it began
                self.study.tell(left.number, state=self.state.FAIL)
                if left.params.keys() == self.space.keys():
                    self.study.enqueue_trial(left.params)
        if not self.study.trials and (own := self._own()).keys() == self.space.keys():
            self.study.enqueue_trial(own)  # so that what is found is no worse

    def _own(self) -> dict[str, Any]:
        """The recipe's own values, of the keys whose space has them."""
        found: dict[str, Any] = {}
        for key, values in self.space.items():
            if isinstance(values, Choice):
                if same := [text for text in values.values if self._is_own(f"{key}={text}")]:
                    found[key] = same[0]
            elif isinstance(own := at(self.base, key), int | float) and values.low <= own <= values.high:
                found[key] = own
        return found

    def _is_own(self, change: str) -> bool:
        try:
            return not difference(self.base, self._recipe([change]))
        except RegardError:
            return False

    def _tidy(self) -> None:
        """best.yaml as the study has it, and no runs but of the best trial and those under way."""
        best, kept = self._best(), {trial.number for trial in self._trials(self.state.RUNNING)}
        if best is not None:
            kept.add(best.number)
            text = self._recipe(best.user_attrs["changes"]).to_yaml().encode()
            path = self.folder / "best.yaml"
            if not path.exists() or path.read_bytes() != text:
                write_bytes(path, text)
        for run in (self.folder / "trials").glob("[0-9]*"):
            if run.is_dir() and int(run.name) not in kept:
                shutil.rmtree(run, ignore_errors=True)

    # Trials

    def run(self, trials: int, minutes: float | None, at_once: int) -> Tuned:
        end = None if minutes is None else time.monotonic() + 60 * minutes

        def over() -> bool:
            return end is not None and time.monotonic() >= end

        try:
            while True:
                while len(self.running) < at_once and not over() and self._next(trials, at_once):
                    pass
                if not self.running or over():
                    break
                time.sleep(POLL_SECONDS)
                for one in list(self.running):
                    self._look_at(one)
        finally:
            for one in self.running:
                one.ask_to_stop()
            for one in self.running:
                one.stop()
        under_way = len(self.running) + len(self.left)
        if under_way:
            self.tell(f"time is up: {under_way} under way; the same command goes on with them")
        return self._found(max(0, trials - len(self._made())) + under_way)

    def _next(self, trials: int, at_once: int) -> bool:
        """Begin one more, if there is one; whether to ask again."""
        if self.left:
            left = self.left.pop(0)
            self.tell(f"trial {left.number}: goes on")
            self._start(self.trial_of(self.study, left._trial_id), left.user_attrs, len(left.intermediate_values))
            return True
        if self.full or len(made := self._made()) >= trials:
            return False
        trial = self.study.ask()
        changes = [f"{key}={values.suggest(trial, key)}" for key, values in self.space.items()]
        if problem := self._problem(changes):
            self._refuse(trial, changes, problem)
            return True
        self.illegal = 0
        same = [other for other in made if set(other.user_attrs["changes"]) == set(changes)]
        if same and same[0].state == self.state.RUNNING:
            self.study.tell(trial, state=self.state.FAIL)  # not counted, as it has no changes
            self.full = True
            return False
        threads = at(self.base, "train.threads") or max(1, physical_cores() // at_once)
        trial.set_user_attr("threads", threads)
        trial.set_user_attr("changes", changes)
        if same:  # training it again would give the same
            done = same[0]
            self.study.tell(trial, done.value if done.state == self.state.COMPLETE else None, state=done.state)
        else:
            self._start(trial, {"changes": changes, "threads": threads}, 0)
        return True

    def _start(self, trial: Any, noted: dict[str, Any], reported: int) -> None:
        recipe = self._recipe([*noted["changes"], f"train.threads={noted['threads']}"])
        one = Running(trial, recipe, self.folder / "trials", noted["changes"])
        one.reported = reported
        self.running.append(one)

    def _problem(self, changes: list[str]) -> str:
        """Why no recipe may have these values together, if none may."""
        try:
            self._recipe(changes)
        except RegardError as error:
            return str(error)
        return ""

    def _refuse(self, trial: Any, changes: list[str], problem: str) -> None:
        self.study.tell(trial, state=self.state.PRUNED)  # from which the sampler learns; of failures it does not
        if problem not in self.refused:
            self.tell(f"left out: {shown(changes)}: {problem}")
        self.refused.add(problem)
        self.illegal += 1
        if self.illegal >= ILLEGAL:
            raise RegardError(f"{ILLEGAL} combinations one after the other cannot be; the last: {problem}")

    def _recipe(self, changes: Sequence[str]) -> Recipe:
        return load_recipe(self.folder / "recipe.yaml", changes)

    def _look_at(self, one: Running) -> None:
        ended = one.ended  # before what it wrote is read
        new = one.validations(self.metric)[one.reported :]
        for value in new:
            one.reported += 1
            if value is not None:
                one.trial.report(value, one.reported)
        if ended:
            one.stop()
            self._end(one, one.value(self.metric))
        elif (finite := [value for value in new if value is not None]) and one.trial.should_prune():
            one.stop()
            self._end(one, None, behind=finite[-1])

    def _end(self, one: Running, value: float | None, behind: float | None = None) -> None:
        number = one.trial.number
        if value is not None:
            self.study.tell(one.trial, value)
            best = self._best()
            first = best is not None and best.number == number
            told = f"{self.metric} {value:.4g}{', the best so far' if first else ''}"
        elif behind is not None:
            self.study.tell(one.trial, state=self.state.PRUNED)
            told = f"stopped early at {self.metric} {behind:.4g}"
        else:
            self.study.tell(one.trial, state=self.state.FAIL)
            self.failures += 1
            told = f"failed: {one.last_words()}"
        self.running.remove(one)
        self.full = False
        self._tidy()
        self.tell(f"trial {number}: {told} · {shown(one.changes)}")
        if self.failures >= FAILED and self._best() is None and not any(other.reported for other in self.running):
            raise RegardError(f"trial {number} {told} (see {one.output})")

    # What was found

    def _trials(self, *states: Any) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False, states=states or None)
        return found

    def _made(self) -> list[Any]:
        """Trials that were trained, or need not be."""
        return [trial for trial in self._trials() if "changes" in trial.user_attrs]

    def _complete(self) -> list[Any]:
        """Finished trials, the best first; of equal ones the older."""
        found = self._trials(self.state.COMPLETE)
        return sorted(found, key=lambda trial: (-trial.value if self.higher else trial.value, trial.number))

    def _best(self) -> Any | None:
        return next(iter(self._complete()), None)

    def _found(self, left: int) -> Tuned:
        complete, made = self._complete(), self._made()
        failed = sum(trial.state == self.state.FAIL for trial in made)
        if not complete:
            what = f"{failed} failed" if failed else "give it more --minutes, or make trials shorter"
            raise RegardError(f"{self.folder}: no trial has finished yet: {what}.")
        return Tuned(
            metric=self.metric,
            best=self.folder / "best.yaml",
            value=complete[0].value,
            trials=[(trial.number, trial.value, trial.user_attrs["changes"]) for trial in complete],
            stopped=sum(trial.state == self.state.PRUNED for trial in made),
            failed=failed,
            left=left,
        )


def _at_once(base: Recipe) -> int:
    gpu = base.train.device.startswith("cuda") or (base.train.device == "auto" and torch.cuda.is_available())
    return 1 if gpu else physical_cores()
