"""Fine-tuning: start from another run's weights, also where the vocabulary is a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regard.data.tokenizer import RESERVED, Tokenizer
from regard.errors import RegardError
from regard.train.optimise import matching
from regard.train.runfolder import Run
from regard.train.weights import model_tensors

TABLES = {"source": "source_embedding.weight", "target": "decoder.embedding.weight"}
"""Embedding tables by side, as parts of the model."""

ROWS = {
    "source_embedding.weight": "source",
    "decoder.embedding.weight": "target",
    "decoder.readout.table.weight": "target",
    "decoder.readout.bias": "target",
}
"""Tensors with one row per piece of a side's vocabulary. Row i of two runs is the same piece only by chance."""

CHARACTERS = "source_embedding.characters.weight"
"""The tensor with a row per character by which the source's pieces are spelled."""


@torch.no_grad()
def start_from(
    run: Run,
    model: nn.Module,
    tokenizers: Mapping[str, Tokenizer],
    parts: Sequence[str] = (),
    names: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Copy what `run` and `model` share: tensors of one name and shape, and the rows of pieces in both vocabularies.

    parts   patterns of the names that are wanted; none: all
    names   how names begin here and there, where they differ

    Returns what was and was not: {"copied": names, "rows": {name: "shared of all"}, "new": names, "unused": names}.
    """
    stored = run.weights()
    given = {TABLES["target"]: stored[TABLES["source"]], **stored}  # one table for both is stored under its first name
    before = run.tokenizers()
    report: dict[str, Any] = {"run": str(run.path), "copied": [], "rows": {}, "new": [], "unused": []}
    wanted = model_tensors(model)
    matched = matching(model, parts, "train.init_parts")
    used, unused = set(), {here for here, _ in names}
    for name, target in wanted.items():
        here, there = next(((here, there) for here, there in names if name.startswith(here)), ("", ""))
        unused -= {here}
        origin = there + name.removeprefix(here)
        used.add(origin)
        source = given.get(origin) if not parts or name in matched else None
        if source is None or source.shape[1:] != target.shape[1:] or source.ndim != target.ndim:
            report["new"].append(name)
        elif name == CHARACTERS:
            count = _copy_rows(target, source, tokenizers["source"].characters(), before["source"].characters())
            report["rows"][name] = f"{count:,} of {len(target):,}"
        elif name in ROWS:
            now, then = tokenizers[ROWS[name]], before[ROWS.get(origin, ROWS[name])]
            count = _copy_rows(target, source, _ids(now), _ids(then))
            report["rows"][name] = f"{count:,} of {len(target):,}"
        elif source.shape == target.shape:
            target.copy_(source)
            report["copied"].append(name)
        else:
            report["new"].append(name)
    report["unused"] = [name for name in stored if name not in used]
    if unused:
        raise RegardError(
            f"train.init_names: no parameter begins with {', '.join(map(repr, sorted(unused)))}; some that do are "
            f"{', '.join(list(wanted)[:3])}."
        )
    if not report["copied"] and not (parts and report["rows"]):
        raise RegardError(
            f"train.init_from: {run.path} shares no tensor's name and shape with this recipe's model: give both the "
            f"same model section."
        )
    return report


def _copy_rows(target: Tensor, source: Tensor, now: Mapping[str | int, int], before: Mapping[str | int, int]) -> int:
    """Copy the rows of shared pieces, or characters; how many they are."""
    pairs = [(row, before[piece]) for piece, row in now.items() if piece in before]
    rows, from_rows = torch.tensor(pairs).T
    target[rows] = source.to(target)[from_rows]
    return len(pairs)


def _ids(tokenizer: Tokenizer) -> dict[str | int, int]:
    """Each piece and its id; special tokens and bytes, whose ids are fixed, stand for themselves."""
    fixed = len(RESERVED)
    learned: dict[str | int, int] = {tokenizer.pieces([row])[0]: row for row in range(fixed, tokenizer.size)}
    return {**{row: row for row in range(fixed)}, **learned}
