"""`regard compare A B`"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.options import Batch, Device, Json, References, Source, Threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from regard.score.bootstrap import Paired
    from regard.score.metric import Metric

CLEAR = 0.05
"""Above this p-value a difference is said to be none; the convention of the field."""


@dataclass(frozen=True)
class Row:
    """One metric for two systems; `paired` is a minus b."""

    metric: Metric
    a: float
    b: float
    paired: Paired

    @property
    def winner(self) -> str:
        """`A`, `B`, or nothing where the difference may be chance."""
        if self.paired.p_value >= CLEAR or self.paired.delta == 0:
            return ""
        return "A" if (self.paired.delta > 0) == self.metric.higher_is_better else "B"


Split = Annotated[
    str | None,
    typer.Option("--data", metavar="train|valid|test", help="For runs: a split of A's recipe; default test."),
]
Names = Annotated[
    str | None, typer.Option("--metrics", help="For files: names from `regard list metrics`; default bleu,chrf,ter.")
]
Tokenize = Annotated[str | None, typer.Option("--tokenize", help="For files: BLEU's tokenizer; default 13a.")]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="For files: compare lower-cased texts (TER always does).")]


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="A run folder, or a file of outputs, one a line.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same kind.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="For both runs: search.*, score.* or data.root of the recipe."),
    ] = None,
    split: Split = None,
    source: Source = None,
    references: References = None,
    metrics: Names = None,
    tokenize: Tokenize = None,
    lowercase: Lowercase = False,
    json_: Json = None,
    batch: Batch = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Two runs, or two files of outputs, on the same sentences: paired bootstrap of the difference.

    \b
    Each of 1,000 draws takes the same sentences for both. The p-value is
    two-sided; below 0.05 the better one is named.
    """
    from regard.errors import RegardError

    files = [Path(system).is_file() for system in (a, b)]
    for_runs = {"--data": split, "--source": source, **dict.fromkeys(overrides or [], True)}
    for_files = {"--metrics": metrics, "--tokenize": tokenize, "--lowercase": lowercase}
    if not any(files):
        _refuse(
            for_files, "files of outputs, and these are runs; set score.* of their recipes, as score.lowercase=true"
        )
        rows, facts = _runs(a, b, overrides or [], split, source, references or [], batch, device, threads)
    elif not all(files):
        raise RegardError(f"{a} and {b}: one is a file and one is not; give two run folders or two files of outputs.")
    else:
        _refuse(for_runs, "runs, and these are files of outputs; name their references with --references")
        rows, facts = _files(a, b, references or [], _metrics(metrics or "bleu,chrf,ter", tokenize, lowercase))
    if json_:
        _write_json(json_, {"a": a, "b": b, **facts, "metrics": _records(rows)})
    _print(rows, a, b, facts)


def _refuse(options: dict[str, Any], what: str) -> None:
    """Options that would do nothing: whoever gives one expects it to."""
    from regard.errors import RegardError

    given = [name for name, value in options.items() if value]
    if given:
        raise RegardError(f"{', '.join(given)}: for {what}.")


def _write_json(path: Path, record: dict[str, Any]) -> None:
    import json

    from regard.cli.output import writing

    with writing(path) as file:
        file.write(json.dumps(record, ensure_ascii=False, indent=2) + "\n")


def _print(rows: list[Row], a: str, b: str, facts: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(rows))
    lines = [f"A  {a}", f"B  {b}", f"on {facts['data']}, {facts['sentences']:,} sentences"]
    if facts.get("bad"):
        lines.append(f"bad lines, left out: {facts['bad']:,}; the first: {facts['first_bad']}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _runs(
    a: str,
    b: str,
    overrides: list[str],
    split: str | None,
    source: Path | None,
    references: list[Path],
    batch: int,
    device: str,
    threads: int | None,
) -> tuple[list[Row], dict[str, Any]]:
    """Evaluate both on A's data."""
    import numpy as np

    from regard.cli.evaluate import choose_data, measure, open_run
    from regard.errors import RegardError
    from regard.score import Perplexity

    first, second = (open_run(run, overrides, device, threads) for run in (a, b))
    results = [measure(one, choose_data(one, split, source, references), batch) for one in (first, second)]
    if results[0].metrics != results[1].metrics:
        raise RegardError(f"{a} and {b}: their recipes score outputs differently; set the same score.* for both.")
    if results[0].references != results[1].references:
        raise RegardError(
            f"{a} and {b}: their recipes name different data as {results[0].data['name']}, or clean its references "
            "differently; name one set with --source and --references, or compare files of outputs."
        )
    one, two = results
    rows = _rows(one.metrics, one.statistics, two.statistics)
    if np.array_equal(one.told.statistics[:, 1], two.told.statistics[:, 1]):  # in as many pieces
        rows += _rows([Perplexity()], *({"perplexity": each.told.statistics} for each in results))
    if not rows:
        raise RegardError(f"{a} and {b}: their perplexities are of different pieces, and cannot be compared.")
    facts = {"data": one.data["name"], "sentences": one.sentences, "bad": one.bad, "first_bad": one.first_bad}
    return rows, facts


def _files(a: str, b: str, references: list[Path], metrics: list[Metric]) -> tuple[list[Row], dict[str, Any]]:
    """Score both against the same references."""
    from regard.errors import RegardError

    if not references:
        raise RegardError(f"{a} and {b}: files of outputs need --references.")
    systems = [_texts(Path(path)) for path in (a, b)]
    columns = [_texts(path) for path in references]
    for path, texts in zip([a, b, *references], [*systems, *columns], strict=True):
        if len(texts) != len(columns[0]):
            raise RegardError(
                f"{path}: {len(texts):,} lines, and {references[0]} has {len(columns[0]):,}; "
                "line i of one belongs to line i of the others."
            )
    several = [list(together) for together in zip(*columns, strict=True)]
    first, second = ({metric.name: metric.statistics(texts, several) for metric in metrics} for texts in systems)
    return _rows(metrics, first, second), {"data": ", ".join(map(str, references)), "sentences": len(several)}


def _rows(metrics: Sequence[Metric], first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> list[Row]:
    from regard.score import paired

    rows = []
    for metric in metrics:
        one, two = first[metric.name], second[metric.name]
        a, b = (metric.from_statistics(table.sum(axis=0)) for table in (one, two))
        rows.append(Row(metric, a, b, paired(metric, one, two)))
    return rows


def _metrics(names: str, tokenize: str | None, lowercase: bool) -> list[Metric]:
    from pydantic import ValidationError

    from regard.errors import RegardError
    from regard.recipe_errors import nearest
    from regard.score import METRICS

    if tokenize and "bleu" not in names.split(","):
        raise RegardError(f"--tokenize: for BLEU, and --metrics is {names}; leave it out, or add bleu.")
    chosen: list[Metric] = []
    for name in names.split(","):
        if name not in METRICS:
            raise RegardError(f"--metrics: there is no {name!r}{nearest(name, list(METRICS))}")
        options: dict[str, Any] = {"tokenize": tokenize} if name == "bleu" and tokenize else {}
        if lowercase:
            options["lowercase"] = True
        try:
            chosen.append(METRICS[name](**options))
        except ValidationError:
            raise RegardError(
                f"--tokenize: there is no {tokenize!r}; see sacreBLEU: 13a, none, intl, char, zh …"
            ) from None
    return chosen


def _texts(path: Path) -> list[str]:
    """Lines of a file, all of them readable."""
    from regard.errors import RegardError
    from regard.predict.lines import read_lines

    texts = []
    with open(path, "rb") as file:
        for line in read_lines(file, str(path)):
            if line.problem:
                raise RegardError(f"{path} line {line.number}: {line.problem}")
            texts.append(line.text)
    return texts


def _records(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {"name": row.metric.name, "a": row.a, "b": row.b, **asdict(row.paired), "winner": row.winner or None}
        for row in rows
    ]


def _table(rows: list[Row]) -> Any:
    from rich.table import Table

    found = Table("metric", "A", "B", "A − B", "95 % interval", "p", "better")
    for row in rows:
        one = row.paired
        p_value = "< 0.001" if one.p_value < 0.001 else f"{one.p_value:.3f}"
        interval = f"{one.low:+.2f} … {one.high:+.2f}"
        verdict = row.winner or "not clear"
        found.add_row(one.label, f"{row.a:.2f}", f"{row.b:.2f}", f"{one.delta:+.2f}", interval, p_value, verdict)
    return found
