"""`regard predict` as a user meets it: arguments, files, pipes, formats, mistakes."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from regard import cli

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")


class Done(NamedTuple):
    status: int
    out: str
    err: str


Regard = Callable[..., Done]


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Regard:
    """Runs one command line in this process; `stdin` in bytes, None: a terminal."""

    def run(*arguments: Any, stdin: bytes | None = None) -> Done:
        class Terminal(io.BytesIO):
            def isatty(self) -> bool:
                return stdin is None

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Terminal(stdin or b"")))
        with pytest.raises(SystemExit) as left:
            cli.main([str(one) for one in (*arguments, "--device", "cpu", "--threads", "1")])
        out, err = capsys.readouterr()
        return Done(int(left.value.code or 0), out, err)

    return run


# Texts in, texts out


def test_arguments(regard: Regard, toy_run: Path) -> None:
    assert regard("predict", toy_run, "abc", "", "hg") == (0, "C B A\n\nG H\n", "")


def test_standard_input(regard: Regard, toy_run: Path) -> None:
    text = b"abc\r\n\nhg\n" + b"word " * 100_000 + b"\nab\xff\nhg"
    status, out, err = regard("predict", toy_run, stdin=text)
    assert (status, out) == (0, "C B A\n\nG H\n\n\nG H\n")
    assert err.splitlines() == [
        "regard: standard input line 4: 500,000 characters, more than 20,000; shorten it, split it, or raise "
        "max_source_length (--max-source-length).",
        "regard: standard input line 5: not UTF-8 at byte 3 (found FF); convert the text to UTF-8.",
    ]
    assert regard("predict", toy_run, "--input", "-", stdin=text).out == out
    assert regard("predict", toy_run, "--chunk", 1, "--batch", 1, stdin=text).out == out
    assert regard("predict", toy_run, stdin=b"") == (0, "", "")


def test_strict_stops_with_the_line(regard: Regard, toy_run: Path) -> None:
    done = regard("predict", toy_run, "--strict", stdin=b"abc\n\na\xff\n")
    assert done == (
        2,
        "",
        "regard: standard input line 3: not UTF-8 at byte 2 (found FF); convert the text to UTF-8.\n",
    )
    done = regard("predict", toy_run, "--strict", "--max-source-length", 3, stdin=b"abc\n\nabcd\n")
    assert done.status == 2 and "standard input line 3: 4 tokens, more than 3" in done.err


def test_files(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt.gz").write_bytes(gzip.compress(b"abc\n\nhg\n"))
    done = regard("predict", toy_run, "-i", tmp_path / "in.txt.gz", "-o", tmp_path / "out.txt")
    assert done == (0, "", "")
    assert (tmp_path / "out.txt").read_bytes() == b"C B A\n\nG H\n"
    assert regard("predict", toy_run, "-i", tmp_path / "in.txt.gz", "-o", tmp_path / "out.txt.gz").status == 0
    assert gzip.decompress((tmp_path / "out.txt.gz").read_bytes()) == b"C B A\n\nG H\n"
    assert regard("predict", toy_run, "abc", "-o", os.devnull).status == 0
    assert not Path(os.devnull).is_file()


def test_nothing_half_written(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("older\n")
    arguments = ["--strict", "--chunk", 1, "-o", tmp_path / "out.txt"]
    assert regard("predict", toy_run, *arguments, stdin=b"abc\na\xff\n").status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "older\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGTERM")
def test_terminated_while_writing(toy_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from regard.cli import main; main()", "predict", toy_run, "-o", "out.txt"]
    with subprocess.Popen([*command, "--chunk", "1"], stdin=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(b"abc\n" * 10)
        process.stdin.flush()
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".out.txt.*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert list(tmp_path.iterdir()) == []


# Formats


def test_json_lines(regard: Regard, toy_run: Path) -> None:
    done = regard(
        "predict", toy_run, "--format", "jsonl", "--scores", "--alignments", "--n-best", 2, stdin=b"abc\n\nx\xff\n"
    )
    one, two, three = map(json.loads, done.out.splitlines())
    assert one["text"] == one["outputs"][0]["text"] == "C B A" and len(one["outputs"]) == 2
    assert set(one["outputs"][0]) == {
        "text", "score", "log_prob", "probability", "finished", "tokens", "token_log_probs", "alignment"
    }  # fmt: skip
    assert two == {
        "line": 2,
        "source": "",
        "text": "",
        "outputs": [
            {
                "text": "",
                "score": 0.0,
                "log_prob": 0.0,
                "probability": 1.0,
                "finished": True,
                "tokens": [],
                "token_log_probs": [],
                "alignment": [],
            }
        ],
        "source_tokens": ["</s>"],
    }
    assert three["text"] == "" and three["outputs"] == [] and three["problem"].startswith("not UTF-8")


def test_more_than_texts_is_tsv(regard: Regard, toy_run: Path) -> None:
    rows = [line.split("\t") for line in regard("predict", toy_run, "abc", "hg", "--n-best", 3).out.splitlines()]
    assert [row[:2] for row in rows] == [[line, rank] for line in "12" for rank in "123"]
    assert rows[0][4] == "C B A" and rows[3][4] == "G H"
    assert len(regard("predict", toy_run, "abc", "--scores").out.split("\t")) == 7
    done = regard("predict", toy_run, "abc", "--n-best", 3, "--format", "text")
    assert done.status == 2 and "--format text is one output a line" in done.err


# Searches


def test_searches(regard: Regard, toy_run: Path) -> None:
    asked = ["predict", toy_run, "abcdefgh", "hgxab"]
    assert regard(*asked, "--beam", 1).out == regard(*asked, "--greedy").out
    sample = [*asked, "--sample", "--temperature", 2.0, "--top-k", 5, "--top-p", 0.95]
    first = regard(*sample, "--seed", 3)
    assert first.status == 0
    assert regard(*sample, "--seed", 3, "--batch", 1, "--chunk", 1) == first
    assert regard(*sample, "--seed", 4).out != first.out
    assert regard("predict", toy_run, "abc", "--prefix", "H").out.startswith("H ")
    assert "D H" in regard("predict", toy_run, "abc", "--constraint", "D H").out
    assert len(regard("predict", toy_run, "abcdef", "--set", "max_length=2").out.split()) == 2
    assert len(regard("predict", toy_run, "abcdef", "--set", "search.max_length=2").out.split()) == 2


def test_what_must_be_in_each_line(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    texts, words = tmp_path / "texts.txt", tmp_path / "words.txt"
    texts.write_text("abc\nabc\nabc\n", encoding="utf-8")
    words.write_text("G\n\nD H\tF\n", encoding="utf-8")
    asked = ["predict", toy_run, "--input", texts, "--constraints", words]
    first, second, third = regard(*asked, "--chunk", 1).out.splitlines()
    assert "G" in first.split() and second == "C B A" and "D H" in third and "F" in third.split()
    assert regard(*asked).out.splitlines() == [first, second, third]
    assert all("E" in line.split() for line in regard(*asked, "--constraint", "E").out.splitlines())
    for lines, message in {
        "G\n": "texts.txt has more lines than",
        "G\n\n\n\n": "words.txt has more lines than",
    }.items():
        words.write_text(lines, encoding="utf-8")
        done = regard(*asked)
        assert done.status == 2 and message in done.err


def test_ensembles(regard: Regard, toy_run: Path) -> None:
    alone = regard("predict", toy_run, "abcd", "hxe")
    assert regard("predict", f"{toy_run},{toy_run}", "abcd", "hxe") == alone
    assert regard("predict", toy_run, "abcd", "hxe", "--ensemble", toy_run) == alone


def test_attention_picture(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    assert regard("predict", toy_run, "abc", "--attention", tmp_path / "a.png") == (0, "C B A\n", "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for texts, message in {("abc", "a"): "draws one text, found 2", ("",): "the text is empty"}.items():
        done = regard("predict", toy_run, *texts, "--attention", tmp_path / "b.png")
        assert done.status == 2 and message in done.err
    assert regard("predict", toy_run, "abc", "--attention", tmp_path / "a.gif").status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--greedy", "--sample", "a"], "--greedy and --sample: choose one of them."),
        (["--greedy", "--beam", "3", "a"], "beam=3 and method=greedy: only beam search has a beam."),
        (["--top-k", "3", "a"], "top_k: for sampling, and the search is beam; add method=sample (--sample)."),
        (["--n-best", "9", "a"], "n_best is 9, more than beam, 5; raise beam to 9."),
        (["--set", "beam", "a"], "--set beam: expected key=value, such as length_penalty=0.6."),
        (["--set", "bean=3", "a"], "search option 'bean': there is none; did you mean beam?"),
        (["--format", "xml", "a"], "--format: there is no 'xml'; choose one of text, tsv, jsonl."),
        (["-i", "x", "a"], "texts and --input: give one of them."),
        (["-i", "absent.txt"], "absent.txt: No such file or directory."),
        (["-i", "."], ".: a folder, expected a file of texts, one a line."),
        (["a", "-o", "absent/out"], "absent/out: the folder absent does not exist; make it first."),
        (["a", "-o", "."], ".: a folder, expected the name of a file to write."),
        (["a\udcff"], "text 1: not UTF-8; is this terminal's encoding UTF-8?"),
        ([], "nothing to answer: give texts, --input FILE, or lines on standard input."),
    ],
)
def test_mistakes_in_arguments(regard: Regard, toy_run: Path, arguments: list[str], message: str) -> None:
    done = regard("predict", toy_run, *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("regard: ") and message in done.err and done.err.count("\n") == 1


def test_input_that_is_no_text(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    for written in ([], ["-o", output]):
        done = regard("predict", toy_run, *written, stdin="äöü\näöü\n".encode("latin-1"))
        assert done.status == 2
        assert (output.read_text() if written else done.out) == "\n\n"  # line N answers line N all the same
    assert done.err.splitlines()[-1].startswith(
        "regard: standard input: none of 2 lines could be answered; the first: "
    )
    done = regard("predict", toy_run, stdin="abc\n".encode("utf-16"))
    assert done.status == 2 and "begins like UTF-16" in done.err


def test_many_refused_lines_are_counted(regard: Regard, toy_run: Path) -> None:
    done = regard("predict", toy_run, stdin=b"\xff\n" * 30 + b"abc\n")
    assert done.status == 0 and done.out == "\n" * 30 + "C B A\n"
    assert len(done.err.splitlines()) == 11
    assert done.err.splitlines()[-1] == "regard: and 20 more lines were refused."


@pytest.fixture
def copy(toy_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toy_run, tmp_path / "copy")


def damage(run: Path, how: str) -> Path:
    weights = run / "weights.safetensors"
    content = weights.read_bytes()
    if how == "absent":
        return run / "absent"
    if how == "empty":
        run.joinpath("empty").mkdir()
        return run / "empty"
    if how == "missing":
        weights.unlink()
    if how == "truncated":
        weights.write_bytes(content[:-100])
    if how == "changed":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if how == "new":
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**info, "weights_sha256": None}))
    if how == "tokenizer":
        (run / "tokenizer-source.json").write_text("{}")
    if how == "recipe":
        recipe = (run / "recipe.yaml").read_text()
        (run / "recipe.yaml").write_text(recipe.replace("embed: 16", "embed: 17"))
    return run


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("absent", "no such run folder"),
        ("empty", "no run.json: this folder is no run"),
        ("missing", "weights.safetensors: the file is missing"),
        ("truncated", "weights.safetensors: truncated or changed since it was written"),
        ("changed", "weights.safetensors: truncated or changed since it was written"),
        ("new", "no weights yet"),
        ("tokenizer", "tokenizer-source.json is not a tokenizer file"),
        ("recipe", "was the recipe or a tokenizer in the run folder changed?"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_run_folders_that_are_none(regard: Regard, copy: Path, command: str, how: str, message: str) -> None:
    run = damage(copy, how)
    done = regard(command, run, *(["abc"] if command == "predict" else []))
    assert (done.status, done.out) == (2, "")
    assert message in done.err and done.err.count("\n") == 1 and "Traceback" not in done.err
