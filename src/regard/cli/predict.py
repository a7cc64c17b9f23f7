"""`regard predict RUN [TEXT]…`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.options import (
    Batch,
    Device,
    Int8,
    LanguageModel,
    LanguageWeight,
    Runs,
    Shortlist,
    Threads,
    language_options,
)
from regard.data.config import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regard.decode.config import SearchConfig
    from regard.predict.documents import Documents
    from regard.predict.lines import Line
    from regard.predict.predictor import Predictor

SHOWN_PROBLEMS = 10
"""Refused lines named on standard error; the others are counted. JSON lines name every one."""


Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; default: the lines of --input.")]
Input = Annotated[
    str | None, typer.Option("--input", "-i", metavar="FILE", help="One text a line, .gz too; - is standard input.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Written whole or not at all.")]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="text|tsv|jsonl", help="Default: text, or tsv where text is too little."),
]
NBest = Annotated[int | None, typer.Option("--n-best", min=1, max=1000, help="Outputs for each text.")]
Beam = Annotated[int | None, typer.Option("--beam", min=1, max=1000, help="Beam search of this width.")]
Greedy = Annotated[bool, typer.Option("--greedy", help="The best token each time.")]
Sample = Annotated[bool, typer.Option("--sample", help="Draw tokens at random.")]
Temperature = Annotated[float | None, typer.Option("--temperature", help="With --sample: below 1 is careful.")]
TopK = Annotated[int | None, typer.Option("--top-k", help="With --sample: among the k likeliest.")]
TopP = Annotated[float | None, typer.Option("--top-p", help="With --sample: among those holding share p.")]
Seed = Annotated[int | None, typer.Option("--seed", help="With --sample: another seed, other draws.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the recipe's search, as length_penalty=0.6."),
]
Prefix = Annotated[str | None, typer.Option("--prefix", metavar="TEXT", help="Every output begins with it.")]
Tag = Annotated[
    str | None,
    typer.Option("--tag", metavar="TAGS", help="Put behind every text, as for a run that knows several languages."),
]
Constraint = Annotated[
    list[str] | None, typer.Option("--constraint", metavar="TEXT", help="Must be in every output; once for each.")
]
Constraints = Annotated[
    Path | None,
    typer.Option("--constraints", metavar="FILE", help="Line N: what must be in output N, with tabs between."),
]
Scores = Annotated[bool, typer.Option("--scores", help="Add tokens and their log-probabilities.")]
Alignments = Annotated[bool, typer.Option("--alignments", help="Add where attention looked for each token.")]
Picture = Annotated[
    Path | None,
    typer.Option("--attention", metavar="FILE", help="Draw the attention of one text: .png .svg .pdf; labels: .html."),
]
More = Annotated[list[str] | None, typer.Option("--ensemble", metavar="RUN", help="One more run, and one more …")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at a line that is too long or no UTF-8; default: an empty output.")
]
Sentences = Annotated[
    str | None,
    typer.Option("--sentences", metavar="LANGUAGE", help="Cut each line into sentences, by the rules of en, fr, ja, …"),
]
Markup = Annotated[
    bool, typer.Option("--markup", help="Tags, {placeholders} and addresses go past the model into the answer.")
]
Chunk = Annotated[
    int, typer.Option("--chunk", min=1, help="Lines read before answers are written; 1 answers each at once.")
]
Longest = Annotated[
    int, typer.Option("--max-source-length", min=1, help="Tokens of a text; also 20 characters for each.")
]
Precision = Annotated[str | None, typer.Option("--precision", help="float32 or float64; default: as the weights are.")]


def command(
    context: typer.Context,
    run: Runs,
    texts: Texts = None,
    input_: Input = None,
    output: Output = None,
    format_: Format = None,
    n_best: NBest = None,
    beam: Beam = None,
    greedy: Greedy = False,
    sample: Sample = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    settings: Settings = None,
    tag: Tag = None,
    prefix: Prefix = None,
    constraint: Constraint = None,
    constraints: Constraints = None,
    scores: Scores = False,
    alignments: Alignments = False,
    attention: Picture = None,
    ensemble: More = None,
    language_model: LanguageModel = None,
    language_weight: LanguageWeight = None,
    sentences: Sentences = None,
    markup: Markup = False,
    strict: Strict = False,
    batch: Batch = 64,
    chunk: Chunk = 2000,
    max_source_length: Longest = MOST_TOKENS,
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = None,
    int8: Int8 = False,
    shortlist: Shortlist = False,
) -> None:
    """Answer texts with a trained run: line N out answers line N in.

    \b
    An empty line has an empty output. So has a line that is too long or no
    UTF-8, and standard error says which (--strict stops there instead). Where
    no line at all can be answered, the exit status is 2, with all lines written.

    \b
    text   the best output, one line for each text
    tsv    line, rank, score, log_prob, text; with --scores tokens and
           token_log_probs (the last is that of the end); with --alignments
           pairs source-target of tokens, counted from 0; no head line
    jsonl  one object for each text: line, source, text, problem (if refused),
           outputs: [{text, score, log_prob, probability, finished,
           tokens, token_log_probs, alignment}], source_tokens
    """
    form = _format(format_, scores or alignments or (n_best or 1) > 1, attention)
    language = language_options(language_model, language_weight)
    predictor = _predictor(run, ensemble, device, threads, precision, max_source_length, int8, shortlist, language)
    options = dict(n_best=n_best, beam=beam, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    given = _given({**options, "method": _method(greedy, sample)})
    search = predictor.search_config(**{**_settings(settings or []), **given})
    answerer = _documents(predictor, sentences, markup, scores or attention is not None)
    where, lines = _lines(context, texts or [], input_)
    lines = _constrained(context, _tagged(predictor, lines, tag), where, constraint or [], constraints)
    if attention:
        lines = _draw(predictor, list(lines), search, attention, prefix)
    written = dict(batch=batch, chunk=chunk, prefix=prefix, attention=alignments, strict=strict)
    _write(answerer, lines, search, where, output, form, scores, alignments, written)


def _format(chosen: str | None, more: bool, picture: Path | None) -> str:
    """The format of the answers, refused before a run is loaded; the same for the picture's suffix."""
    from regard.errors import RegardError
    from regard.predict.formats import FORMATS

    form = chosen or ("tsv" if more else "text")
    if form not in FORMATS:
        raise RegardError(f"--format: there is no {form!r}; choose one of {', '.join(FORMATS)}.")
    if form == "text" and more:
        raise RegardError("--format text is one output a line and nothing else; choose tsv or jsonl for the rest.")
    if picture:
        from regard.explain.shaded_text import check_page, is_page
        from regard.picture import check_path

        (check_page if is_page(picture) else check_path)(picture)
    return form


def _predictor(
    run: str,
    ensemble: list[str] | None,
    device: str,
    threads: int | None,
    precision: str | None,
    longest: int,
    int8: bool,
    shortlist: bool,
    language: dict[str, Any],
) -> Predictor:
    from regard.predict import load
    from regard.train.machine import threads_for

    runs = [run] if Path(run).exists() else [part for part in run.split(",") if part]
    return load(
        [*runs, *(ensemble or [])],
        device=device,
        threads=threads_for(threads, 1),
        precision=precision,
        max_source_length=longest,
        int8=int8,
        shortlist=shortlist,
        **language,
    )


def _documents(predictor: Predictor, sentences: str | None, markup: bool, tokens: bool) -> Predictor | Documents:
    """What answers lines of several sentences, or with marks. tokens   are wanted, which a text put together lacks"""
    from regard.errors import RegardError
    from regard.predict.documents import Documents

    if not (sentences or markup):
        return predictor
    if predictor.task.points:
        raise RegardError("--sentences and --markup take texts apart, and an answer is a part of one: leave them out.")
    if tokens:
        raise RegardError("--sentences and --markup put a text together: leave out --scores and --attention.")
    return Documents(predictor, sentences=sentences, markup=markup)


def _method(greedy: bool, sample: bool) -> str | None:
    from regard.errors import RegardError

    if greedy and sample:
        raise RegardError("--greedy and --sample: choose one of them.")
    return "greedy" if greedy else "sample" if sample else None


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _settings(overrides: list[str]) -> dict[str, Any]:
    """`key=value` as a recipe would hold it; `search.key=value` is the same."""
    from regard.errors import RegardError
    from regard.yaml_text import read_yaml

    found = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RegardError(f"--set {override}: expected key=value, such as length_penalty=0.6.")
        found[key.strip().removeprefix("search.")] = read_yaml(text, f"--set {override}").value
    return found


def _lines(context: typer.Context, texts: list[str], input_: str | None) -> tuple[str, Iterable[Line]]:
    """What to answer, and what to call it in messages."""
    import sys

    from regard.errors import RegardError
    from regard.predict.lines import Line, read_lines

    if texts and input_:
        raise RegardError("texts and --input: give one of them.")
    if texts:
        for number, text in enumerate(texts, start=1):
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise RegardError(f"text {number}: not UTF-8; is this terminal's encoding UTF-8?")
        return "command", [Line(number, text) for number, text in enumerate(texts, start=1)]
    if input_ and input_ != "-":
        path = Path(input_)
        if path.is_dir():
            raise RegardError(f"{path}: a folder, expected a file of texts, one a line.")
        return input_, _file_lines(context, path)
    if input_ is None and sys.stdin.isatty():
        raise RegardError("nothing to answer: give texts, --input FILE, or lines on standard input.")
    return "standard input", read_lines(sys.stdin.buffer, "standard input")


def _tagged(predictor: Predictor, lines: Iterable[Line], tag: str | None) -> Iterable[Line]:
    """Each line that is not empty with these tags behind it."""
    from dataclasses import replace

    from regard.errors import RegardError

    if tag is None:
        return lines
    if not predictor.tokenizers["source"].config.tags:
        raise RegardError("--tag: this run was trained on texts without tags (data.source.tags); leave it out.")
    return (replace(line, text=f"{line.text}\t{tag}" if line.text.strip() else line.text) for line in lines)


def _constrained(
    context: typer.Context, lines: Iterable[Line], where: str, of_all: list[str], file: Path | None
) -> Iterable[Line]:
    """Each line with what must be in its output: of all, and of its own line of a file."""
    from dataclasses import replace
    from itertools import zip_longest

    from regard.errors import RegardError

    if file is None:
        return (replace(line, required=tuple(of_all)) for line in lines)
    theirs = _file_lines(context, file)

    def both() -> Iterable[Line]:
        for line, own in zip_longest(lines, theirs):
            if line is None or own is None:
                longer, shorter = (file, where) if line is None else (where, file)
                raise RegardError(f"{longer} has more lines than {shorter}: each output has a line in both.")
            if own.problem:
                raise RegardError(f"{file} line {own.number}: {own.problem}")
            words = [word for word in own.text.split("\t") if word.strip()]
            yield replace(line, required=(*of_all, *words))

    return both()


def _file_lines(context: typer.Context, path: Path) -> Iterable[Line]:
    """A missing file is said now; the command closes it, as the lines need not be read to their end."""
    from regard.predict.lines import read_lines

    file = open(path, "rb")  # noqa: SIM115 - closed below
    context.call_on_close(file.close)
    return read_lines(file, str(path))


def _write(
    predictor: Predictor | Documents,
    lines: Iterable[Line],
    search: SearchConfig,
    where: str,
    output: Path | None,
    form: str,
    scores: bool,
    alignments: bool,
    options: dict[str, Any],
) -> None:
    """Answer and write chunk by chunk; name the lines that were refused."""
    import sys

    from regard.cli.output import counter, writing
    from regard.errors import RegardError
    from regard.predict.formats import FORMATS, Extras
    from regard.predict.stream import answers

    extras, asked, refused, first = Extras(scores, alignments), 0, 0, ""
    with writing(output) as file, counter("predict", shown=output is not None) as done:
        for chunk in answers(predictor, lines, search, where=where, done=done, **options):
            for answer in chunk:
                asked += 1
                if answer.problem:
                    refused += 1
                    message = f"{where} line {answer.line.number}: {answer.problem}"
                    first = first or message
                    if refused <= SHOWN_PROBLEMS:
                        print(f"regard: {message}", file=sys.stderr)
                file.write(FORMATS[form](answer, extras))
            file.flush()
        if refused > SHOWN_PROBLEMS:
            print(f"regard: and {refused - SHOWN_PROBLEMS:,} more lines were refused.", file=sys.stderr)
    if refused and refused == asked:  # the lines are written all the same: line N answers line N
        raise RegardError(f"{where}: none of {asked:,} lines could be answered; the first: {first}")


def _draw(predictor: Predictor, lines: list[Line], search: SearchConfig, path: Path, prefix: str | None) -> list[Line]:
    """The attention of the best output of the one text there is."""
    from regard.errors import RegardError
    from regard.explain import attention_picture, shaded_text
    from regard.explain.shaded_text import LABELLED, is_page
    from regard.predict.prediction import END_MARK

    if len(lines) != 1:
        raise RegardError(f"--attention draws one text, found {len(lines):,}; give one.")
    page = is_page(path)
    if page and not (predictor.task.decides or predictor.task.points):
        raise RegardError(
            "--attention: a page shows what a label or an answer rests on; for this run name a .png, .svg or .pdf."
        )
    if page:
        search = search.model_copy(update={"method": "beam", "beam": max(LABELLED, search.beam), "n_best": LABELLED})
    words = lines[0].required or None
    [found] = predictor.predict(
        [lines[0].text], search=search, prefix=prefix, constraints=words, attention=True, strict=True
    )
    best = found[0]
    if best.attention is None or best.source_tokens is None:
        raise RegardError("--attention: the text is empty, so there is nothing to draw.")
    if page:
        points = predictor.task.points
        named = [(one.text.replace("\t", ", ") or "no answer" * points, one.probability) for one in found]
        weights = best.attention.mean(0) if points else best.attention[0]  # pointers, and what they asked
        shaded_text(best.source_tokens[:-1], weights.tolist()[:-1], named, path, shares=not points)
        return lines
    target = [*best.tokens, END_MARK] if best.finished else best.tokens
    attention_picture(best.attention, best.source_tokens, target, path)
    return lines
