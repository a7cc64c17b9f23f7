"""Dated results: one JSON file each in benchmarks/results/, with all that the numbers depend on.

    write("train-speed", "speed", {"hidden 256": …}, threads=1)     → results/2026-03-01-train-speed.json

`python -m benchmarks.results` lists them, a line each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from regard.train.machine import describe

FOLDER = Path(__file__).resolve().parent / "results"
FORMAT = 1


def facts() -> dict[str, Any]:
    """Commit, versions and machine of this process."""
    told = describe()
    return {
        **split_commit(told["commit"]),
        "versions": {"regard": told["regard"], "python": told["python"], **told["versions"]},
        "machine": {
            "processor": told["processor"],
            "cores": told["cores"],
            "memory_gib": memory_gib(),
            "system": told["system"],
            "vector": torch.backends.cpu.get_cpu_capability(),
        },
    }


def split_commit(said: str | None) -> dict[str, Any]:
    """`1a2b3c+`, as the log says it, into the commit and whether files differed from it."""
    if said is None:
        return {"commit": None, "dirty": None}
    return {"commit": said.removesuffix("+"), "dirty": said.endswith("+")}


def memory_gib() -> float | None:
    """Memory of the machine."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def write(name: str, kind: str, values: Mapping[str, Any], *, folder: Path = FOLDER) -> Path:
    """Write a result under today's date; a second one of the same name and day gets a number.

    kind      what sort of result: training, speed, memory, resume, invariance
    values    go over `facts()`, so that a record of an older run can say what was true then
    """
    date = datetime.now(UTC).date().isoformat()
    path, number = folder / f"{date}-{name}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{date}-{name}-{number}.json"
    folder.mkdir(parents=True, exist_ok=True)
    record = portable({"format": FORMAT, "kind": kind, "name": name, "date": date, **facts(), **values})
    path.write_text(as_text(record) + "\n", encoding="utf-8")
    return path


def portable(value: Any) -> Any:
    """The same without folders that only this machine has: a path below the data root or the working directory
    becomes relative, any other keeps its name alone."""
    if isinstance(value, Mapping):
        return {str(key): portable(item) for key, item in value.items()}  # as JSON has them
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if not isinstance(value, str) or not os.path.isabs(value):
        return value
    for root in filter(None, (os.environ.get("REGARD_DATA"), os.getcwd())):
        if Path(value).is_relative_to(root) and Path(value) != Path(root):
            return str(Path(value).relative_to(root))
    return Path(value).name


def as_text(value: Any, indent: str = "") -> str:
    """JSON for people: what fits a line is on one, and a list of numbers is never a column."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    plain = isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)
    if len(indent + flat) <= 110 or plain or not isinstance(value, dict | list):
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {as_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + as_text(item, inner) for item in value) + f"\n{indent}]"


def read_all(folder: Path = FOLDER, kind: str | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The results of a kind (default: of all), oldest first."""
    found = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
    found.sort(key=lambda each: (each[1]["date"], len(each[0].name), each[0].name))
    yield from ((path, record) for path, record in found if kind in (None, record["kind"]))


def main() -> None:
    """One line for each result."""
    for path, record in read_all():
        commit = f"{record['commit']}{'+' if record['dirty'] else ''}"
        print(f"{path.stem:44} {record['kind']:10} {commit:13} {record.get('summary', '')}")


if __name__ == "__main__":
    main()
