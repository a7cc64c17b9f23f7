"""From files to prepared splits, once: whatever was prepared before is found again by its content.

The name of everything in the cache is a hash of the files' bytes, the settings that matter and the code's version.
Of a file above `WHOLE_BYTES` its size, its time of change and blocks from all over it are hashed instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from regard.data.config import DataConfig, SplitConfig, TextConfig
from regard.data.files import expanded, find, members, raw_lines
from regard.data.formats import parquet_rows, table_format
from regard.data.paradigm import Paradigms
from regard.data.read import Problems, load_hub, read_split, split_files
from regard.data.report import data_report
from regard.data.series import Series, load_tokenizer
from regard.data.store import Pairs, finish, write_store
from regard.data.text import normalize
from regard.data.tokenizer import Tokenizer
from regard.data.vocabulary import learn, words_in, words_of
from regard.errors import RegardError

VERSION = 3
"""Raise it when the same files and settings come to other prepared data."""
READER_VERSIONS = {"csv": 2, "jsonl": 2, "parquet": 2}
"""The same for one format of table."""
REPORT_VERSION = 3
"""The same for the report on them."""
WHOLE_BYTES = 64 * 2**20
VOCABULARY_LINES = 1_000_000
"""From more lines than this, vocabularies are learned on every n-th line, with the smallest n that gives fewer."""
STALE_SECONDS = 24 * 3600

T = TypeVar("T")


@dataclass
class Prepared:
    """What training needs of the data. `tokenizers` has the keys "source" and "target"."""

    train: Pairs
    valid: Pairs
    tokenizers: Mapping[str, Tokenizer]
    report: dict[str, Any]


def prepare(data: DataConfig, *, tokenizers: Mapping[str, Tokenizer] | None = None, about: object = None) -> Prepared:
    """Read, learn the vocabularies (unless `tokenizers` are given, for fine-tuning), tokenize, report; or find all
    that in the cache.

    about   title, source and licence of the data, for the error when a file is missing
    """
    for split in (data.train, data.valid, *([data.test] if data.test else [])):
        split_files(split, data, about)  # a missing file is said before any work is done
    if tokenizers is None:
        tokenizers = learn_tokenizers(data, about) if data.vocabulary_from is None else tokenizers_of_run(data)
    train = prepare_split(data.train, data, tokenizers, training=True, about=about)
    valid = prepare_split(data.valid, data, tokenizers, about=about)
    splits = {"train": train, "valid": valid}
    if data.test is not None:
        splits["test"] = prepare_split(data.test, data, tokenizers, about=about)
    key = _hash(
        {
            "version": VERSION,
            "report": REPORT_VERSION,
            "stores": {name: pairs.folder.name for name, pairs in splits.items()},
        }
    )
    report = _cached(
        _cache(data) / f"report-{key}",
        lambda folder: _write_json(folder / "report.json", data_report(splits)),
        lambda folder: dict(json.loads((folder / "report.json").read_text(encoding="utf-8"))),
    )
    return Prepared(train, valid, tokenizers, report)


def prepare_split(
    split: SplitConfig,
    data: DataConfig,
    tokenizers: Mapping[str, Tokenizer],
    *,
    training: bool = False,
    about: object = None,
) -> Pairs:
    """One split, tokenized. Only in training are empty and over-long examples left out; of plain text, nothing is."""
    whole = split.text is not None or not training
    key = _hash(
        {
            **_content(split, data, training, about),
            "tokenizers": {side: tokenizers[side].to_json() for side in ("source", "target")},
            "max_length": None if whole else data.max_length,
        }
    )

    def build(folder: Path) -> None:
        problems = Problems()
        examples = read_split(split, data, training=training, about=about, problems=problems)
        counts = write_store(folder, examples, tokenizers, None if whole else data.max_length)
        if counts.examples == 0 and training:
            told = f", and {counts.not_found} have an answer that is not in the passage" if counts.not_found else ""
            raise RegardError(
                f"no training example is left of {problems.lines} lines: {problems.bad} are bad, {counts.too_long} "
                f"longer than data.max_length={data.max_length} and {counts.left_out_empty} empty once "
                f"cleaned{told}."
            )
        finish(folder, {**asdict(counts), "lines": problems.lines, "bad": problems.bad, "first_bad": problems.first})

    pairs = _cached(_cache(data) / f"pairs-{key}", build, lambda f: Pairs(f, tokenizers["target"].config))
    Problems(pairs.meta["lines"], pairs.meta["bad"], pairs.meta["first_bad"]).check(data.max_bad_fraction)
    return pairs


def learn_tokenizers(data: DataConfig, about: object = None) -> dict[str, Tokenizer]:
    """The vocabularies of both sides, from the training split; with `shared_vocabulary`, one for both."""
    configs = {"source": data.source, "target": data.target}
    content = _content(data.train, data, True, about)
    if (rows := sum(map(parquet_rows, _parquet_files(data.train, data, about)))) > VOCABULARY_LINES:
        content["rows"] = rows  # of other formats the key says nothing, as it never did
    key = _hash({**content, "shared": data.shared_vocabulary, **{k: c.model_dump() for k, c in configs.items()}})

    def build(folder: Path) -> None:
        words = {"source": Counter[str](), "target": Counter[str]()}
        if data.source.numeric:

            def sources() -> Iterator[str]:
                for example in read_split(data.train, data, training=True, about=about):
                    words["target"].update(words_of(example.targets[0], data.target))
                    yield example.source

            Series.learn(sources(), data.source).save(folder / "source.json")
            Tokenizer(learn(words["target"], data.target), data.target).save(folder / "target.json")
            return
        paradigms = learn_paradigms(data, about)
        every = max(1, -(-_lines(data.train, data, about) // VOCABULARY_LINES))
        for i, example in enumerate(read_split(data.train, data, training=True, about=about)):
            if i % every == 0:
                words["source"].update(_source_words(example.source, data.source, paradigms))
            if i % every == 0 or data.target.labelled:  # every label there is
                words["target"].update(words_of(example.targets[0], data.target))
        for counted in words.values():
            del counted[""]
        if data.train.text is not None:
            core = learn(words["target"], data.target)
            found = dict.fromkeys(configs, Tokenizer(core, data.target))
        else:
            if data.shared_vocabulary:
                words["source"].update(words["target"])
                cores = dict.fromkeys(configs, learn(words["source"], data.source))
            else:
                cores = {side: learn(words[side], config) for side, config in configs.items()}
            found = {
                "source": Tokenizer(cores["source"], data.source, paradigms),
                "target": Tokenizer(cores["target"], data.target),
            }
        for side, tokenizer in found.items():
            tokenizer.save(folder / f"{side}.json")

    def load(folder: Path) -> dict[str, Tokenizer]:
        return {side: load_tokenizer(folder / f"{side}.json") for side in configs}

    return _cached(_cache(data) / f"tokenizers-{key}", build, load)


def tokenizers_of_run(data: DataConfig) -> dict[str, Tokenizer]:
    """The vocabularies of `data.vocabulary_from`; plain text is read and written with that of the target."""
    folder = Path(str(data.vocabulary_from))
    written = "target" if data.train.text is not None else "source"
    found = {
        side: load_tokenizer(folder / f"tokenizer-{other}.json")
        for side, other in (("source", written), ("target", "target"))
    }
    for side in ("target",) if written == "target" else ("source", "target"):
        ours, theirs = (config.model_dump() for config in (getattr(data, side), found[side].config))
        unlike = [
            f"{side}.{key} is {theirs[key]} there and {ours[key]} here" for key in ours if ours[key] != theirs[key]
        ]
        if unlike:
            raise RegardError(f"data.vocabulary_from: {folder}: data.{'; data.'.join(unlike)}: make them the same.")
    return found


def learn_paradigms(data: DataConfig, about: object = None) -> Paradigms | None:
    """What training data has of each lemma, with `source.known_forms`."""
    if not data.source.known_forms or data.train.text is not None:
        return None
    read = data.source.model_copy(update={"tags": False})  # a form is cleaned as a lemma is
    return Paradigms.learn(
        (normalize(example.source, data.source), normalize(target, read))
        for example in read_split(data.train, data, training=True, about=about)
        for target in example.targets
    )


def _source_words(source: str, config: TextConfig, paradigms: Paradigms | None) -> list[str]:
    cleaned = normalize(source, config)
    return words_in(cleaned if paradigms is None else paradigms.show(cleaned, config.known_forms), config)


def _cached(final: Path, build: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """Load the folder `final`; if it is missing or not whole, build it under a temporary name and rename it.
    Several processes may do so at once: the first to finish is believed, the others throw theirs away.

    An OSError of `build` is one of writing: readers of data turn theirs into RegardError.
    """
    try:
        return load(final)
    except (OSError, ValueError, KeyError):
        pass  # not there, or not whole
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=final.parent))
        try:
            inner = temporary / "new"
            inner.mkdir()  # with the user's umask; mkdtemp's own folder is closed to everyone else
            build(inner)
            _put(inner, final, load)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RegardError(
            f"prepared data cannot be written to {final.parent} ({error.strerror or error}): "
            "make room there, or set data.cache= or REGARD_CACHE to another folder."
        ) from error
    return load(final)


def _put(temporary: Path, final: Path, load: Callable[[Path], T]) -> None:
    for _ in range(10):
        try:
            temporary.rename(final)
            return
        except OSError:
            if not final.exists():
                raise
        try:
            load(final)
            return  # someone else was first
        except (OSError, ValueError, KeyError):
            broken = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=final.parent))
            with suppress(FileNotFoundError):  # someone else may have moved it away
                final.rename(broken / "broken")
            shutil.rmtree(broken, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """What killed runs left behind."""
    for path in cache.glob(".unfinished-*"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue


def _cache(data: DataConfig) -> Path:
    named = data.cache or os.environ.get("REGARD_CACHE") or "~/.cache/regard"
    return expanded(named, "data.cache or REGARD_CACHE") / "data"


def _content(split: SplitConfig, data: DataConfig, training: bool, about: object) -> dict[str, Any]:
    """What the examples of a split depend on."""
    if split.hub is not None:
        files: list[Any] = [str(load_hub(split, data, about)._fingerprint)]
    else:
        found = split_files(split, data, about)
        files = [[path.suffixes, file_hash(path)] for path in found]
    keys = {"format", "separator", "source_column", "target_column"}
    forms = {table_format(Path(name), data.format) for name in split.tables()}
    return {
        "version": VERSION,
        **{form: READER_VERSIONS[form] for form in sorted(forms & READER_VERSIONS.keys())},
        "files": files,
        "sides": [len(split.tables()), len(split.sources()), len(split.targets())],
        "percent": split.percent,
        **({"classes": _counted_classes(split, data)} if split.classes else {}),
        **({"encoding": data.encoding} if data.encoding != "utf-8" else {}),
        **({"dialogue": [data.dialogue, data.source.turns]} if data.dialogue is not None else {}),
        **({"text": [len(split.texts()), split.part, data.lines]} if split.text is not None else {}),
        "training": training,
        **data.model_dump(mode="json", include=keys),
    }


def _counted_classes(split: SplitConfig, data: DataConfig) -> list[list[Any]]:
    """How many files each label has, of each name that the recipe says."""
    found = []
    for label, files in (split.classes or {}).items():
        for name in [files] if isinstance(files, str) else files:
            inside = members(name, data.root)
            found.append([label, None if inside is None else len(inside)])
    return found


def file_hash(path: Path) -> str:
    """By content; files above `WHOLE_BYTES` by size, time of change and 64 blocks of 64 KiB spread over the file."""
    status = path.stat()
    return _file_hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            return hashlib.file_digest(file, "blake2b").hexdigest()
        digest = hashlib.blake2b(f"{size} {changed_ns}".encode())
        for block in range(64):
            file.seek((size - 2**16) * block // 63)
            digest.update(file.read(2**16))
        return digest.hexdigest()


def _lines(split: SplitConfig, data: DataConfig, about: object) -> int:
    """About how many examples a split has; lines inside quoted CSV cells are counted too."""
    if split.hub is not None:
        return len(load_hub(split, data, about))
    count, parquet = 0, _parquet_files(split, data, about)
    for name in split.model_copy(update={"target": None}).files():
        inside = members(name, data.root) if split.classes else None
        if inside is not None:
            count += len(inside)
            continue
        path = find(name, data.root, about)
        count += parquet_rows(path) if path in parquet else sum(1 for _ in raw_lines(path))
    return count


def _parquet_files(split: SplitConfig, data: DataConfig, about: object) -> list[Path]:
    found = (find(name, data.root, about) for name in split.tables())
    return [path for path in found if table_format(path, data.format) == "parquet"]


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
