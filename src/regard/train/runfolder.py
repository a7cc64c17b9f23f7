"""A run: a folder that is complete and readable by itself.

recipe.yaml              the recipe as resolved
tokenizer-source.json    and tokenizer-target.json
weights.safetensors      the best model so far (averaged, where the recipe averages)
run.json                 format version, status, scores, the weights' SHA-256
metrics.jsonl            the log          curves.png          the same as a picture
data-report.json         what was found in the data
checkpoint/              the newest state of training, for resuming
lock                     held while the run is written; the system lets go of it when the process dies
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regard.errors import RegardError
from regard.train.checkpoint import clean, newest_update
from regard.train.files import FORMAT, check_format, digest, json_bytes, pack, read_json, unpack, write_bytes
from regard.train.log import read_metrics

if TYPE_CHECKING:
    from regard.data.tokenizer import Tokenizer
    from regard.recipe import Recipe

SIDES = ("source", "target")
CALIBRATION = "calibration.json"
"""What `regard calibrate` adds, and `load` reads."""
WRITTEN = (
    "metrics.jsonl",
    "data-report.json",
    *(f"tokenizer-{side}.json" for side in SIDES),
    "weights.safetensors",
    "run.json",
    "recipe.yaml",
    "lock",
)
"""What a run writes, in the order of removing it: what is left at any moment is a run, or may become one."""


class RunLockedError(RegardError):
    """Another process writes this run."""


class Run:
    """A run folder, for reading; `train` writes it.

    run = Run("runs/demo-cmudict")
    run.status, run.best              # 'finished', {'wer': 29.3, …}
    run.recipe, run.weights()         # all that is needed to build the model again
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._before: frozenset[str] = frozenset()  # names in the folder when we came to lock it
        self._made = False  # whether we made the folder

    def temperature(self) -> float:
        """By which logits of labels are divided: what `regard calibrate` found, 1 where it was not asked."""
        path = self.path / CALIBRATION
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            temperature, digest = float(content["temperature"]), content["weights_sha256"]
        except FileNotFoundError:
            return 1.0
        except (OSError, ValueError, KeyError, TypeError):
            temperature = digest = 0.0
        again = f"run `regard calibrate {self.path}` again, or remove the file"
        if not 0.0 < temperature < float("inf"):
            raise RegardError(f"{path} says no temperature: {again}.")
        if digest != self.info["weights_sha256"][0]:
            raise RegardError(f"{path} was made for other weights: {again}.")
        return temperature

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, status={self.status!r})"

    @property
    def info(self) -> dict[str, Any]:
        """run.json, its format checked."""
        if not self.path.is_dir():
            raise RegardError(f"{self.path}: no such run folder; `regard train` makes one below runs/.")
        path = self.path / "run.json"
        if not path.is_file():
            raise RegardError(f"{self.path}: no run.json: this folder is no run, or its training has not begun.")
        info = read_json(path)
        check_format(info.get("format"), path)
        return info

    @property
    def status(self) -> str:
        """`new`, `training` (under way, or killed), `interrupted` or `finished`."""
        return str(self.info["status"]) if (self.path / "run.json").is_file() else "new"

    @property
    def best(self) -> dict[str, float]:
        """Validation scores of the weights that are kept; after the run, those of the final evaluation."""
        info = self.info
        return dict(info.get("final") or info.get("best") or {})

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained."""
        from regard.recipe import load_recipe

        path = self.path / "recipe.yaml"
        if not path.is_file():
            raise RegardError(f"{path}: the file is missing: is {self.path} a run folder?")
        return load_recipe(path)

    def tokenizers(self) -> dict[str, Tokenizer]:
        """Tokenizers by side."""
        from regard.data.series import load_tokenizer

        return {side: load_tokenizer(self.path / f"tokenizer-{side}.json") for side in SIDES}

    def weights(self) -> dict[str, Tensor]:
        """The weights by parameter name, their SHA-256 checked."""
        digests = self.info.get("weights_sha256")
        if not isinstance(digests, list) or not digests:
            raise RegardError(f"{self.path}: no weights yet: the run stopped before its first validation.")
        return unpack(self.path / "weights.safetensors", digests)

    def metrics(self) -> list[dict[str, Any]]:
        """The log's records."""
        return read_metrics(self.path / "metrics.jsonl")

    @property
    def has_updates(self) -> bool:
        """Whether training has come so far as to log an update."""
        path = self.path / "metrics.jsonl"
        return path.is_file() and b'{"type": "train"' in path.read_bytes()

    @property
    def has_begun(self) -> bool:
        """Whether there is work that a new start would lose: updates, a checkpoint or weights."""
        weights = (self.path / "run.json").is_file() and "weights_sha256" in self.info
        return weights or self.has_updates or newest_update(self.path / "checkpoint") is not None

    # Writing: for the holder of the lock

    def begin(self, recipe: bytes) -> None:
        """Make the folder a run of `recipe`; what a start left that was killed while it prepared is replaced."""
        write_bytes(self.path / "recipe.yaml", recipe)
        write_bytes(self.path / "run.json", json_bytes({"format": FORMAT, "status": "training"}))

    def write_info(self, **changes: Any) -> None:
        """Change keys of run.json."""
        info = self.info if (self.path / "run.json").is_file() else {"format": FORMAT}
        write_bytes(self.path / "run.json", json_bytes({**info, **changes}))

    def write_weights(self, tensors: Mapping[str, Tensor], **info: Any) -> None:
        """Replace the weights. Two files cannot change at one moment, so run.json accepts the old and the new
        weights in between."""
        content, path = pack(tensors), self.path / "weights.safetensors"
        new = digest(content)
        old = [digest(path.read_bytes())] if path.is_file() else []
        self.write_info(weights_sha256=[new, *old])
        write_bytes(path, content)
        self.write_info(weights_sha256=[new], **info)

    def refuse_foreign(self, recipe: bytes = b"") -> None:
        """Raise unless the folder is absent, empty, a run, or what a killed start left of a run of just this recipe."""
        path = self.path / "run.json"
        if path.is_file():
            check_format(read_json(path).get("format"), path)
            return
        for name in sorted(os.listdir(self.path)) if self.path.exists() else ():
            hidden = name.startswith(".")  # such as .gitkeep: nothing of ours has such a name for long
            if not hidden and not (name in ("lock", "recipe.yaml") and _is_ours(self.path / name, recipe)):
                raise RegardError(f"{self.path}: holds {name!r} and is no run: choose another run folder.")

    def abandon(self) -> None:
        """Remove what the holder of the lock wrote for a run that did not come to its first update, so that the next
        try is free. What was there before the lock was taken stays."""
        if self.has_updates:
            return
        for name in WRITTEN:
            if name not in self._before:
                with contextlib.suppress(OSError):
                    (self.path / name).unlink()
        if self._made:
            with contextlib.suppress(OSError):  # not empty: it holds something of the user's
                self.path.rmdir()

    @contextlib.contextmanager
    def locked(self, recipe: bytes = b"") -> Iterator[None]:
        """Hold the run; a second writer is refused, and so is a folder of something else, which is left as it is.

        recipe   recipe.yaml of a run that begins: a folder that holds just this file may become one
        """
        try:
            self.refuse_foreign(recipe)
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._before = frozenset(os.listdir(self.path))
            file = open(self.path / "lock", "a+")  # noqa: SIM115 - closed below
        except OSError as error:
            what = f"cannot be written ({error.strerror}); choose another run folder."
            raise RegardError(f"{self.path}: {what}") from None
        with file:
            if not lock_alone(file.fileno()):
                file.seek(0)
                holder = file.read(20).strip() or "unknown"
                raise RunLockedError(
                    f"{self.path}: another process is training this run (process {holder}); wait for it, stop it, or "
                    f"choose another run folder."
                )
            self.refuse_foreign(recipe)  # again: another run may have come and gone before the lock was ours
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            clean(self.path, (*WRITTEN, "curves.png", "shortlist.safetensors", CALIBRATION))
            clean(self.path / "checkpoint")
            yield


def _is_ours(path: Path, recipe: bytes) -> bool:
    """Whether a `lock` or `recipe.yaml` in a folder without run.json is what a killed start leaves."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        content = file.read(len(recipe) + 20)
    if path.name == "lock":
        return not content or (len(content) < 20 and content.strip().isdigit())
    return bool(recipe) and content == recipe


LOCKED_BYTE = 1 << 20
"""Which byte of `lock` Windows locks: one beyond its content, which a second process must be able to read."""


def lock_alone(descriptor: int) -> bool:
    """Whether the file could be locked for us alone, until it is closed or this process ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)  # it locks from the position on, which differs with the content
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
