"""Reading a split, in a stream: examples out, bad lines counted and named.

for example in read_split(data.train, data, training=True):
    print(example.where, example.source, example.targets)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from regard.data.config import Column, DataConfig, Files, SplitConfig
from regard.data.fields import Row, fields, named
from regard.data.files import Bad, describe, find, folder, lines, members, whole
from regard.data.formats import READERS, table_format
from regard.data.series import Alike
from regard.data.text import TAG
from regard.errors import RegardError

COLUMNS_OF_TEXT = (".jsonl", ".ndjson", ".parquet")
"""Files of plain text that are tables, of which a column is read."""
SHOWN = 5
"""So many bad lines are named; the rest are counted."""


@dataclass(frozen=True)
class Example:
    """One example as its file has it: nothing is cleaned yet. `targets` are references, the first is trained on."""

    source: str
    targets: tuple[str, ...]
    where: str


@dataclass
class Problems:
    """Lines that could not be used: how many of how many, and the first few."""

    lines: int = 0
    bad: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        self.bad += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{where}: {reason}")

    def check(self, most: float) -> None:
        if self.bad and self.bad > most * self.lines:
            raise RegardError(
                f"{self.first[0].rstrip('.')} — and {self.bad} of {self.lines} lines are bad, more than "
                f"data.max_bad_fraction={most:g} allows: mend the file or the setting, or raise data.max_bad_fraction."
            )


def read_split(
    split: SplitConfig,
    data: DataConfig,
    *,
    training: bool = False,
    about: object = None,
    problems: Problems | None = None,
) -> Iterator[Example]:
    """The examples of a split, in file order.

    training   an empty side makes a line bad, and every pronunciation of a dictionary's word is an example;
               otherwise empty lines are kept and a word's pronunciations are the references of one example
    about      title, source, license of the data, for the error when a file is missing
    problems   filled with what was skipped; too much of it raises `RegardError` at the end of the data
    """
    problems = Problems() if problems is None else problems
    found = 0
    examples = _checked(split, data, training, about, problems)
    if not training and data.source.question:
        examples = _together(examples)
    elif not training and split.table is not None:
        examples = _grouped(examples, {name for name in split.tables() if _is_dictionary(name, data)})
    for example in examples:
        whole = example.source.partition(TAG)[2] if data.source.question else example.source
        if data.dialogue is not None or _in_part(whole, split):  # all questions of a passage are in one part
            found += 1
            yield example
    problems.check(data.max_bad_fraction)
    if not found:
        names = ", ".join([*split.files(), *([split.hub] if split.hub else [])])
        raise RegardError(
            f"{names}: no example found in {problems.lines} lines{_of_percent(split)}: is it the right data?"
        )


def _in_part(source: str, split: SplitConfig) -> bool:
    if split.percent is None:
        return True
    (low, high), found = split.percent, hundredth(source)
    return low <= found < high if low < high else found >= low or found < high


def hundredth(source: str) -> int:
    """0 … 99, from the text alone: the same on every machine, so that a word is always in the same part."""
    return int.from_bytes(hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).digest()) % 100


def split_files(split: SplitConfig, data: DataConfig, about: object = None) -> list[Path]:
    """Every file of a split, found, and those in its folders; none for a hub data set."""
    found: list[Path] = []
    for name in split.files():
        inside = members(name, data.root) if split.classes else None
        found += [find(name, data.root, about)] if inside is None else inside
    return found


def _checked(
    split: SplitConfig, data: DataConfig, training: bool, about: object, problems: Problems
) -> Iterator[Example]:
    optional = data.target.tokenizer in ("labels", "span")  # there may be none
    alike = Alike() if data.source.numeric else None
    for name, number, row in _rows(split, data, about):
        problems.lines += 1
        where = f"{name}:{number}"
        if isinstance(row, Bad):
            problems.add(f"{name} line {number}", row)
        elif training and split.text is None and not (row[0].strip() and (row[1].strip() or optional)):
            problems.add(f"{name} line {number}", f"the {'target' if row[0].strip() else 'source'} is empty")
        elif alike is not None and (defect := alike.defect(row[0])):
            problems.add(f"{name} line {number}", defect)
        else:
            yield Example(row[0], (row[1], *(text for text in row[2:] if text.strip())), where)


def _rows(split: SplitConfig, data: DataConfig, about: object) -> Iterator[tuple[str, int, tuple[str, ...] | Bad]]:
    columns = data.columns()
    if split.hub is not None:
        for number, row in _hub_rows(split, data, columns, about):
            yield from ((split.hub, number, pair) for pair in _pairs(row, split, data))
    elif split.source is not None:
        yield from _parallel(split, data, about)
    elif split.text is not None:
        yield from _texts(split, data, about)
    elif split.classes is not None:
        yield from _classes(split.classes, data, about)
    else:
        for name in split.tables():
            path = find(name, data.root, about)
            form = table_format(path, data.format)
            if form not in READERS:
                raise RegardError(
                    f"data.format is {form!r} but {name} is a table: name parallel text as source and target, "
                    f"or set data.format to one of {', '.join(READERS)}."
                )
            for number, row in READERS[form](path, columns, data):
                yield from ((name, number, pair) for pair in _pairs(row, split, data))


def _pairs(row: tuple[str, ...] | Bad, split: SplitConfig, data: DataConfig) -> Iterator[tuple[str, ...] | Bad]:
    """What a row of a table is: a pair, several columns of whose source are one text; or many, of a conversation,
    all of which are in a part of the data, or none."""
    sources = len(data.source_columns())
    if isinstance(row, Bad):
        yield row
    elif data.dialogue is None:
        read = [text.replace(TAG, " ") for text in row[:sources]] if data.source.question else row[:sources]
        yield row if sources == 1 else (TAG.join(read), *row[sources:])
    elif _in_part(row[0], split):
        turns = [turn for turn in row[0].split("\t") if turn.strip()]
        assert data.source.turns is not None, "checked when the recipe is read"
        if len(turns) < 2:
            yield Bad(
                f"a conversation of {len(turns)} turn{'s' * (len(turns) != 1)} has no reply (a list of texts is one)"
            )
        for reply in range(1, len(turns)):
            yield "\t".join(turns[max(0, reply - data.source.turns) : reply]), turns[reply]


def _parallel(split: SplitConfig, data: DataConfig, about: object) -> Iterator[tuple[str, int, tuple[str, ...] | Bad]]:
    sources, targets = split.sources(), split.targets()
    # One source file with its references, or several source files, each with its target
    sets = [(sources[0], *targets)] if len(sources) == 1 else list(zip(sources, targets, strict=True))
    for names in sets:
        streams = [lines(find(name, data.root, about), data.encoding) for name in names]
        for together in zip_longest(*streams):
            present = [item for item in together if item is not None]
            if len(present) < len(together):
                ended = names[next(i for i, item in enumerate(together) if item is None)]
                longer = names[next(i for i, item in enumerate(together) if item is not None)]
                number = present[0][0]
                raise RegardError(
                    f"{ended} ends after line {number - 1} but {longer} goes on: line i of one belongs to "
                    "line i of the other, so both need the same number of lines."
                )
            number, texts = present[0][0], [text for _, text in present]
            i = next((i for i, text in enumerate(texts) if isinstance(text, Bad)), None)
            if i is None:
                yield names[0], number, tuple(texts)
            else:
                yield names[i], number, Bad(texts[i])


def _texts(split: SplitConfig, data: DataConfig, about: object) -> Iterator[tuple[str, int, tuple[str, ...] | Bad]]:
    """The lines of plain text, as targets without a source; with `lines: false` they have their line breaks."""
    paths = [find(name, data.root, about) for name in split.texts()]
    low, high = (0.0, 100.0) if split.part is None else split.part
    total = sum(len(line) + 1 for path in paths for _, line in _lines_of(path, data)) if split.part else 1
    begins = 0
    for name, path in zip(split.texts(), paths, strict=True):
        for number, line in _lines_of(path, data):
            inside = split.part is None or low <= 100.0 * begins / total < high
            begins += len(line) + 1
            if inside:
                yield name, number, line if isinstance(line, Bad) else ("", line if data.lines else line + "\n")


def _lines_of(path: Path, data: DataConfig) -> Iterator[tuple[int, str | Bad]]:
    """Of a file of text its lines; of JSON lines and Parquet the target column of each row, as a line."""
    form = table_format(path, data.format) if path.name.removesuffix(".gz").endswith(COLUMNS_OF_TEXT) else "text"
    if form == "text":
        yield from lines(path, data.encoding)
        return
    for number, row in READERS[form](path, data.target_columns()[:1], data):
        yield number, row if isinstance(row, Bad) else " ".join(row[0].splitlines())


def _classes(
    classes: Mapping[str, Files], data: DataConfig, about: object
) -> Iterator[tuple[str, int, tuple[str, ...] | Bad]]:
    """The texts of each label: lines of files, or whole files of folders."""
    for label, files in classes.items():
        for name in [files] if isinstance(files, str) else files:
            inside = members(name, data.root)
            if inside is None:
                for number, line in lines(find(name, data.root, about), data.encoding):
                    yield name, number, line if isinstance(line, Bad) else (line, label)
                continue
            for number, path in enumerate(inside, start=1):
                text = whole(path, data.encoding)
                yield f"{name} file {path.name}", number, text if isinstance(text, Bad) else (text, label)


def load_hub(split: SplitConfig, data: DataConfig, about: object = None) -> Any:
    """The `datasets.Dataset` of a hub name, or of a local folder of that shape below the root."""
    import datasets

    assert split.hub is not None, "only for a split that names a hub data set"
    place = folder(split.hub, data.root)
    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(str(place or split.hub), split.hub_config, split=split.hub_split)
    except Exception as error:  # anything from a missing network to a wrong split name
        said = " ".join(str(error).split())[:300]
        raise RegardError(
            f"data set {split.hub!r}, split {split.hub_split!r} cannot be loaded ({type(error).__name__}: {said}): "
            f"check hub, hub_config and hub_split, and the network.{describe(about)}"
        ) from None
    finally:
        if shown:
            datasets.enable_progress_bars()


def _hub_rows(split: SplitConfig, data: DataConfig, columns: Sequence[Column], about: object) -> Iterator[Row]:
    found = load_hub(split, data, about)
    wanted = [named(column, found.column_names, str(split.hub)) for column in columns]
    number = 0
    top = list(dict.fromkeys(name if name in found.column_names else name.split(".")[0] for name in wanted))
    batches = found.select_columns(top).iter(batch_size=1000)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, ValueError) as error:  # Arrow's errors and UnicodeDecodeError are among these
            raise RegardError(
                f"data set {split.hub!r} after row {number}: cannot be read on ({error}): fetch it again."
            ) from None
        if batch is None:
            return
        for values in zip(*(batch[name] for name in top), strict=True):
            number += 1
            yield number, fields(dict(zip(top, values, strict=True)), wanted, data)


def _together(examples: Iterator[Example]) -> Iterator[Example]:
    """All answers to one question about one passage as references of one example, where it stands first."""
    found: dict[str, Example] = {}
    for example in examples:
        before = found.get(example.source)
        targets = example.targets if before is None else before.targets + example.targets
        found[example.source] = replace(before or example, targets=tuple(dict.fromkeys(targets)))
    yield from found.values()


def _grouped(examples: Iterator[Example], dictionaries: set[str]) -> Iterator[Example]:
    """Neighbouring entries of one word in a dictionary, as one example."""
    if not dictionaries:
        yield from examples
        return

    def entry(example: Example) -> tuple[str, str]:
        name = example.where.rpartition(":")[0]
        return (name, example.source) if name in dictionaries else ("", example.where)

    for _, same in groupby(examples, key=entry):
        alike = list(same)
        yield Example(alike[0].source, tuple(text for example in alike for text in example.targets), alike[0].where)


def _is_dictionary(name: str, data: DataConfig) -> bool:
    return table_format(Path(name), data.format) == "dictionary"


def _of_percent(split: SplitConfig) -> str:
    return "" if split.percent is None else f" in percent {list(split.percent)}"
