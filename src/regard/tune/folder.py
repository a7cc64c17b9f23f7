"""A search's folder: who holds it, what it searches, and Optuna's journal, whatever a kill has left of it.

folder/
  recipe.yaml        the recipe that is searched, as it was when the search began
  space.json         what is searched
  study.journal      Optuna's, a line for every event
  trials/0003        the run of a trial, as long as it trains or is the best
  best.yaml          the best recipe so far, whole
  lock               held while the search is under way
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regard.errors import RegardError
from regard.recipe import Recipe, difference, load_recipe
from regard.train.files import TEMPORARY, json_bytes, write_bytes
from regard.train.runfolder import lock_alone
from regard.tune.space import Space

NAME = "regard"
BUDGET = ("train.minutes", "data.root")
"""Keys that say nothing of what a recipe is, and change what a trial finds."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder, and keep others from searching in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+") as file:
        if not lock_alone(file.fileno()):
            file.seek(0)
            holder = file.read(20).strip() or "unknown"
            raise RegardError(
                f"{folder}: another process is searching here (process {holder}); wait for it, or stop it."
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def remember(folder: Path, base: Recipe, space: Space) -> Recipe:
    """The recipe of the search that is in the folder, or begins there; another search is refused."""
    asked = json.loads(json.dumps({key: [type(values).__name__, asdict(values)] for key, values in space.items()}))
    recipe_file, space_file = folder / "recipe.yaml", folder / "space.json"
    if not space_file.exists():
        others = {path.name for path in folder.iterdir() if not TEMPORARY.fullmatch(path.name)}
        if others - {"lock", "recipe.yaml"}:
            raise RegardError(f"{folder}: holds something else; choose another --study.")
        write_bytes(recipe_file, base.to_yaml().encode())
        write_bytes(space_file, json_bytes(asked))
    begun = load_recipe(recipe_file)
    changed = difference(begun, base) + [
        f"{key} was {at(begun, key)}, is {at(base, key)}" for key in BUDGET if at(begun, key) != at(base, key)
    ]
    if json.loads(space_file.read_text(encoding="utf-8")) != asked:
        changed.append("what is searched is something else")
    if changed:
        raise RegardError(f"{folder}: holds another search: {'; '.join(changed)}. Choose another --study.")
    return begun


def open_study(folder: Path, *, higher: bool, seed: int, startup: int, warmup: int) -> Any:
    """Optuna's study. Only by who holds the folder: what a killed search left half written is mended."""
    optuna = need_optuna()
    path = folder.resolve() / "study.journal"  # Optuna's lock is a link to it, which has to lead somewhere
    for left in folder.glob("study.journal.lock*"):
        left.unlink()
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        write_bytes(path, content[: content.rfind(b"\n") + 1])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=NAME,
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path))),
        direction="maximize" if higher else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup),
        load_if_exists=True,
    )
    # A sampler begins its draws anew: with the seed alone, one that goes on would repeat those it has made.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), constant_liar=True)
    return study


def at(recipe: Recipe, key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    values: Any = recipe.to_dict()
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def need_optuna() -> Any:
    """The package, or what to do to have it."""
    try:
        import optuna
        import optuna.storages.journal
    except ImportError:
        raise RegardError("regard tune needs a package; run `pip install 'regard[tune]'`.") from None
    return optuna
