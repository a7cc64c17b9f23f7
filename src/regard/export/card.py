"""A model card: what was learned from what, how good it is, and how to use it.

Mitchell et al. 2019, "Model cards for model reporting" (arXiv:1810.03993), as far as a run knows the answers; the rest
is asked of the reader's eye, in the open questions at the end. The metadata above it is the hub's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regard.errors import RegardError
from regard.recipe import Recipe
from regard.tasks import TASKS
from regard.train.runfolder import Run
from regard.yaml_text import write_yaml

PRIVATE = ("root", "cache")
"""Keys of `data` that say where files lie on the author's machine."""
PIPELINES = {
    "translate": "translation",
    "summarize": "summarization",
    "classify": "text-classification",
    "write": "text-generation",
    "reply": "text-generation",
    "transduce": "text2text-generation",
}
"""The hub's name of each task."""


def model_card(run: Run, name: str, *, scores: str | Path | None = None) -> str:
    """The text of README.md.

    name     under which the model will be found, for the lines that show its use
    scores   a file of `regard evaluate RUN --json FILE`: scores with intervals, shown beside those of validation
    """
    recipe, info = run.recipe, run.info
    start = next((record for record in run.metrics() if record["type"] == "start"), {})
    measured = _scores(run, scores)
    parts = [
        "---\n" + write_yaml(_metadata(recipe, name, measured)).strip() + "\n---",
        f"# {recipe.about.title or Path(name).name}",
        f"A model for {TASKS[recipe.task].summary.partition(' (')[0]}, {start.get('parameters', 0):,} parameters, "
        f"trained with [Regard](https://pypi.org/project/regard) {start.get('regard', '')}.",
        "## Use it\n\n" + _use(recipe, name),
        "## What it learned from\n\n" + _data(recipe, start),
        "## How good it is\n\n" + _results(run.best, measured),
        "## How it was trained\n\n" + _training(start, info),
        "## Recipe\n\n```yaml\n" + write_yaml(public(recipe)).strip() + "\n```",
        "## Before you rely on it\n\n" + QUESTIONS,
    ]
    return "\n\n".join(parts) + "\n"


QUESTIONS = (
    "What a run cannot know, and its author should say here: whose texts these are and whether they agreed; on which "
    "kinds of text it fails; what must not be decided by it alone."
)


def public(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values without what is about the author's machine."""
    values = recipe.to_dict()
    return {**values, "data": {**values["data"], **dict.fromkeys(PRIVATE)}}


def _scores(run: Run, path: str | Path | None) -> dict[str, Any]:
    """What `evaluate` wrote, checked to be of these weights."""
    if path is None:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        digests = [one["weights_sha256"] for one in found["runs"]]
        assert isinstance(found["scores"], dict) and isinstance(found["perplexity"], float)
    except OSError as error:
        raise RegardError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise RegardError(f"{path}: no scores in it: make it with `regard evaluate {run.path} --json FILE`.") from None
    if digests != [run.info["weights_sha256"][0]]:
        raise RegardError(f"{path}: scores of other weights: `regard evaluate {run.path} --json {path}` again.")
    return dict(found)


def _metadata(recipe: Recipe, name: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What the hub reads above the text."""
    tags = ["regard", recipe.task, recipe.model.encoder.type, recipe.model.decoder.type]
    found: dict[str, Any] = {
        "library_name": "regard",
        "pipeline_tag": PIPELINES[recipe.task],
        "tags": list(dict.fromkeys(tags)),
        "license": "other",
        "license_name": recipe.about.license or "unknown",
    }
    if measured:
        dataset = {"name": recipe.about.title or "own data", "type": "own", "split": measured["data"]["name"]}
        metrics = [{"type": metric, "value": round(one["value"], 4)} for metric, one in measured["scores"].items()]
        metrics.append({"type": "perplexity", "value": round(measured["perplexity"], 4)})
        task = {"type": PIPELINES[recipe.task]}
        found["model-index"] = [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]
    return found


def _use(recipe: Recipe, name: str) -> str:
    shown = f'predictor(["{"Once" if TASKS[recipe.task].continues else "…"}"])'
    return f"""```python
import regard

predictor = regard.from_hub("{name}")
print({shown})
```

It runs on a CPU. Nothing in it can be executed: weights are safetensors, the rest is JSON and YAML."""


def _data(recipe: Recipe, start: Mapping[str, Any]) -> str:
    about = recipe.about
    lines = [f"{about.title or 'The author’s own data'}, {start.get('examples', 0):,} examples."]
    lines += [f"Source: {about.source}."] if about.source else []
    lines.append(f"Licence of the data: {about.license or 'not stated'}.")
    lines += [f"Protocol: {about.note}."] if about.note else []
    return "  \n".join(lines)


def _results(best: Mapping[str, float], measured: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {value:.2f} | |" for name, value in best.items()]
    text = "On the validation data, which chose the weights:\n\n| metric | value | 95 % interval |\n|---|---|---|\n"
    text += "\n".join(rows)
    if measured:
        data, found = measured["data"]["name"], measured["scores"]
        low, high = measured["perplexity_interval"]
        lines = [f"| {name} | {s['value']:.2f} | {s['low']:.2f} – {s['high']:.2f} |" for name, s in found.items()]
        lines.append(f"| perplexity | {measured['perplexity']:.3f} | {low:.3f} – {high:.3f} |")
        signatures = "".join(f"\n- {name}: `{s['signature']}`" for name, s in found.items())
        text += (
            f"\n\nOn the data called {data}, {measured['sentences']:,} texts:\n\n"
            "| metric | value | 95 % interval |\n|---|---|---|\n" + "\n".join(lines) + "\n" + signatures
        )
    return text


def _training(start: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    seconds = info.get("seconds")
    minutes = f"{seconds / 60:.1f} minutes on " if seconds else ""
    machine = f"{start.get('device', '')}, {start.get('processor', '')}".strip(", ")
    told = (
        f"{minutes}{machine}; {start.get('processes', 1)} process(es) of {start.get('threads', 1)} thread(s), "
        f"{start.get('precision', '')}, seed {start.get('seed', '')}."
    )
    approximate = "".join(f" Approximate: {what}." for what in start.get("approximate") or [])
    return (
        f"{told}{approximate} The weights are those of update {info.get('best_update')} of {info.get('update')}; "
        f"commit {start.get('commit') or 'unknown'}, recipe {str(start.get('recipe', ''))[:12]}."
    )
