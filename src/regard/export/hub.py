"""Runs on the Hugging Face hub: a folder of files there is a run's folder here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.data.files import expanded
from regard.errors import RegardError
from regard.export.card import model_card, public
from regard.train.runfolder import CALIBRATION, SIDES, Run
from regard.yaml_text import write_yaml

if TYPE_CHECKING:
    from regard.predict import Predictor

CARD = "README.md"
SHARED = (
    "run.json",
    "weights.safetensors",
    *(f"tokenizer-{side}.json" for side in SIDES),
    "metrics.jsonl",
    "curves.png",
    CALIBRATION,
    "shortlist.safetensors",
)
"""What of a run goes as it is. The data report stays: it quotes lines of the data."""
FETCHED = [*SHARED, "recipe.yaml", CARD]


def push_to_hub(
    run: str | Path,
    name: str,
    *,
    scores: str | Path | None = None,
    private: bool = True,
    token: str | None = None,
    message: str = "A run of Regard",
) -> str:
    """Upload a run with its model card; returns where it is.

        push_to_hub("runs/multi30k", "someone/multi30k-de-en", scores="test.json")
        push_to_hub("runs/multi30k", "./shared/multi30k")         # the same files in a folder

    name      `owner/name` on the hub; or a path with a dot or a slash at its beginning, for a folder
    scores    a file of `regard evaluate RUN --json FILE`, for the card
    private   whether others can see it, where it is new
    token     of the hub; default: that of `hf auth login`, or the environment's HF_TOKEN
    """
    found = Run(run)
    found.weights()  # says best what a folder is that is no trained run
    if _is_path(name):
        target = expanded(name, "the folder to share in")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RegardError(f"{target}: holds files already; choose another folder.")
        with _packed(found, name, scores) as folder:
            target.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                shutil.copyfile(path, target / path.name)
        return str(target)
    _check_name(name)
    with _packed(found, name, scores) as folder, _hub(name):
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(name, private=private, exist_ok=True)
        done: Any = api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
        return str(getattr(done, "commit_url", done))


def from_hub(name: str | Path, *, revision: str | None = None, token: str | None = None, **options: Any) -> Predictor:
    """The predictor of a run on the hub, or in a folder; options as in `regard.load`."""
    from regard.predict import load

    return load(fetch(name, revision=revision, token=token), **options)


def fetch(name: str | Path, *, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of a run on the hub, downloaded once and kept in the hub's cache; a local folder is itself.

    revision   branch, tag or commit; name a commit where the same weights are wanted for ever
    """
    folder, name = expanded(name, "from_hub"), str(name)
    if folder.is_dir():
        return folder
    if _is_path(name):
        raise RegardError(f"{name}: no such folder.")
    _check_name(name)
    with _hub(name):
        from huggingface_hub import snapshot_download

        return Path(str(snapshot_download(name, revision=revision, token=token, allow_patterns=FETCHED)))


@contextmanager
def _packed(run: Run, name: str, scores: str | Path | None) -> Iterator[Path]:
    """A temporary folder with what others get."""
    card = model_card(run, name, scores=scores)
    with tempfile.TemporaryDirectory(prefix="regard-") as place:
        folder = Path(place)
        for each in SHARED:
            if (run.path / each).is_file():
                shutil.copyfile(run.path / each, folder / each)
        (folder / "recipe.yaml").write_text(write_yaml(public(run.recipe)), encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        yield folder


@contextmanager
def _hub(name: str) -> Iterator[None]:
    """Whatever the network or the hub says, in one sentence."""
    try:
        yield
    except RegardError:
        raise
    except Exception as error:  # a missing network, token, repository, revision: a class for each, of several libraries
        said = " ".join(str(error).split())[:300]
        raise RegardError(
            f"{name}: the hub did not do it ({type(error).__name__}: {said}): check the name, the network and the "
            "token (`hf auth login`)."
        ) from None


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1


def _check_name(name: str) -> None:
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except ValueError as error:
        raise RegardError(f"{name}: no name of a repository ({error}): expected owner/name.") from None
