"""`regard evaluate RUN [KEY=VALUE]…`"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.options import (
    Batch,
    Device,
    Int8,
    Json,
    LanguageModel,
    LanguageWeight,
    References,
    Runs,
    Shortlist,
    Source,
    Threads,
    language_options,
)

if TYPE_CHECKING:
    from rich.table import Table

    from regard.predict.evaluate import Evaluation, Examples
    from regard.predict.predictor import Predictor


def command(
    run: Runs,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="search.*, score.*, data.test.*, model.cache … of the recipe, as search.beam=10."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--data", metavar="train|valid|test", help="A split of the recipe; default test.")
    ] = None,
    source: Source = None,
    references: References = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the outputs, one a line.")
    ] = None,
    json_: Json = None,
    confusion: Annotated[
        Path | None, typer.Option("--confusion", metavar="PICTURE", help="Labels: draw which are taken for which.")
    ] = None,
    batch: Batch = 64,
    device: Device = "auto",
    threads: Threads = None,
    int8: Int8 = False,
    shortlist: Shortlist = False,
    language_model: LanguageModel = None,
    language_weight: LanguageWeight = None,
) -> None:
    """Score a run on data with references: its search, the task's metrics with bootstrap intervals, perplexity.

    \b
    Outputs and references go through the metric as the recipe's target text is
    cleaned. Where a source stands in several lines of a transduce task, all of
    their targets count as right, and it has one output.
    """
    import json

    from rich.console import Console

    from regard.cli.output import writing
    from regard.predict.formats import one_line

    language = language_options(language_model, language_weight)
    predictor = open_run(run, overrides or [], device, threads, int8=int8, shortlist=shortlist, **language)
    if confusion:
        check_confusion(predictor, confusion)
    result = measure(predictor, choose_data(predictor, split, source, references or []), batch)
    if output:
        with writing(output) as file:
            file.writelines(one_line(text) + "\n" for text in result.outputs)
    if json_:
        with writing(json_) as file:
            file.write(json.dumps(result.to_dict(), ensure_ascii=False, indent=2) + "\n")
    if confusion:
        from regard.explain import confusion_picture

        confusion_picture(result.outputs, [several[0] for several in result.references], confusion)
    console = Console()
    console.print(table(result))
    for line in facts(result):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def check_confusion(predictor: Predictor, path: Path) -> None:
    """Refuse a picture that could not be drawn, before the outputs are found."""
    from regard.errors import RegardError
    from regard.picture import check_path

    if not predictor.task.decides:
        raise RegardError("--confusion is for labels, and this run's outputs are none; leave it out.")
    check_path(path)


def open_run(run: str, overrides: list[str], device: str, threads: int | None, **options: Any) -> Predictor:
    """The predictor of a run or of several, with the keys of its recipe that may change changed."""
    from regard.predict import load
    from regard.predict.options import check_used
    from regard.train.machine import threads_for

    runs = [run] if Path(run).exists() else [part for part in run.split(",") if part]
    predictor = load(runs, device=device, threads=threads_for(threads, 1), overrides=overrides, **options)
    if not predictor.task.continues:  # which samples unless it is told to be greedy
        keys = [override.partition("=")[0].removeprefix("search.") for override in overrides]
        check_used(predictor.recipe.search.method, keys, "search.method=sample")
    return predictor


def choose_data(predictor: Predictor, split: str | None, source: Path | None, references: list[Path]) -> Examples:
    """Files where they are named, else a split of the recipe."""
    from regard.errors import RegardError
    from regard.predict.evaluate import file_examples, split_examples

    if source is None and references:
        raise RegardError("--references: of which texts? Name them with --source.")
    if source and split:
        raise RegardError(f"--data {split} and --source: give one of them.")
    return file_examples(predictor, source, references) if source else split_examples(predictor, split or "test")


def measure(predictor: Predictor, data: Examples, batch: int) -> Evaluation:
    """Evaluate with a live count of outputs, where there are any."""
    from regard.cli.output import counter
    from regard.predict.evaluate import evaluate

    if not predictor.task.scorers():
        return evaluate(predictor, data, batch=batch)
    with counter("evaluate", total=len(predictor.task.examples(data.pairs)[0])) as done:
        return evaluate(predictor, data, batch=batch, done=done)


def table(result: Evaluation) -> Table:
    """The scores for people; `facts` says what they are scores of."""
    from rich.table import Table

    scores = Table("metric", "value", "95 % interval")
    for score in result.scores.values():
        value = f"{score.value:.2f}{score.unit and ' ' + score.unit}"
        scores.add_row(score.label, value, f"{score.low:.2f} – {score.high:.2f}")
    found = result.perplexity
    scores.add_row("perplexity", f"{found.value:.3f}", f"{found.low:.3f} – {found.high:.3f}")
    if not result.scores:  # a language model, whose perplexity is all there is
        nats, low, high = map(math.log, (found.value, found.low, found.high))
        scores.add_row("nats per token", f"{nats:.4f}", f"{low:.4f} – {high:.4f}")
    if result.calibration_error is not None:
        scores.add_row("calibration error", f"{result.calibration_error:.2f} %", "")
    if result.told.accuracy is not None:
        scores.add_row("accuracy", f"{result.told.accuracy:.2f} %", "")
    return scores


def facts(result: Evaluation) -> list[str]:
    """Which data, which weights, which search."""
    refused = f", {result.refused:,} of them too long to be answered" if result.refused else ""
    speed = f"in {result.seconds:.1f} s ({result.sentences_per_second:,.1f} a second)"
    unit = "sentence" if result.scores else "text"
    count = f"{result.sentences:,} {unit}{'s' * (result.sentences != 1)}"
    lines = [f"data    {result.data['name']}: {', '.join(result.data['files'])}; {count}{refused}"]
    if result.bad:
        lines.append(f"        bad lines, left out: {result.bad:,}; the first: {result.first_bad}")
    for run in result.runs:
        update = f"update {run['update']:,}" if run["update"] is not None else "weights"
        lines.append(f"run     {run['path']}, {run['status']}: {update}, SHA-256 {run['weights_sha256'][:12]}…")
    signatures = [f"{score.label:<7} {result.signatures[name]}" for name, score in result.scores.items()]
    forced = (
        "perplexity and accuracy (share of tokens that rank first) count target tokens and ends, the ones before given"
    )
    if "accuracy" in result.scores:  # of labels
        forced = "perplexity is of labels, one or a set for each text; calibration error is of how sure answers were"
    if result.unscored:
        forced += f"; {result.unscored:,} pairs with a side that is too long are left out"
    if result.outputs:
        lines.append(f"search  {describe_search(result)}, {speed}")
    if result.cache:
        lines.append("cache   " + ", ".join(f"{key} {value:g}" for key, value in result.cache.items()))
    if result.approximate:
        lines.append(f"approximate: {', '.join(result.approximate)}")
    return [*lines, *signatures, forced]


def describe_search(result: Evaluation) -> str:
    """The method with the settings that are not at their defaults."""
    search = result.search
    defaults = type(search)()
    kept = {"method", "n_best", "beam", "length_penalty"}
    changed = [
        f"{key} {value}"
        for key, value in search.model_dump().items()
        if key not in kept and value != getattr(defaults, key)
    ]
    method = f"beam {search.beam}" if search.method == "beam" else search.method
    return ", ".join([method, f"length_penalty {search.length_penalty:g}", *changed])
