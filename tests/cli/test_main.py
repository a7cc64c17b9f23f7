"""The command line as a whole: help is light, mistakes are one sentence, every command is there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import regard
from regard import cli
from regard.errors import RegardError


def run(*arguments: str) -> int:
    """The exit status of one command line, in this process."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Adds a command `try` that calls a function."""

    def add(function: Callable[[], None]) -> None:
        def command() -> None:
            function()

        module = ModuleType("regard.cli.try_")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "regard.cli.try_", module)
        monkeypatch.setitem(cli.COMMANDS, "try", ("regard.cli.try_", "Only in this test."))

    return add


def test_help_imports_nothing_heavy() -> None:
    """Half a second is promised; what is imported decides it, and does not depend on how busy the machine is."""
    code = (
        "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from regard.cli import main; main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in cli.COMMANDS:
        assert f"\n  {name} " in done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    heavy = {
        "torch",
        "numpy",
        "datasets",
        "pydantic",
        "matplotlib",
        "sacrebleu",
        "pyarrow",
        "rich",
        "ruamel",
        "asyncio",
    }
    assert not loaded & heavy


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert "Usage: regard " + name in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"regard {regard.__version__}\n"


def test_no_such_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trian") == 2
    assert "No such command 'trian'" in capsys.readouterr().err


def test_a_mistake_is_one_sentence(
    command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RegardError("a.tsv line 3: 1 column, expected 2.\na.tsv line 9: empty.")

    command(fail)
    assert run("try") == 2
    captured = capsys.readouterr()
    assert captured.err == "regard: a.tsv line 3: 1 column, expected 2.\nregard: a.tsv line 9: empty.\n"
    assert captured.out == ""


@pytest.mark.parametrize("line", [("--debug", "try"), ("try", "--debug")])
def test_debug_shows_where(command: Callable[[Callable[[], None]], None], line: tuple[str, ...]) -> None:
    def fail() -> None:
        raise RegardError("wrong")

    command(fail)
    with pytest.raises(RegardError, match="wrong"):
        cli.main(line)


def test_a_full_disk_is_no_traceback(
    command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/last.safetensors")

    command(fail)
    assert run("try") == 2
    assert capsys.readouterr().err == "regard: runs/x/last.safetensors: No space left on device.\n"


def test_a_terminal_that_lacks_characters() -> None:
    """Windows' code page has no tick: it becomes a question mark, and not a traceback after the training."""
    code = (
        "import sys, types; from regard import cli; module = types.ModuleType('try_');"
        "module.command = lambda: print('right ✓, a █, 3 − 2'); sys.modules['regard.cli.try_'] = module;"
        "cli.COMMANDS['try'] = ('regard.cli.try_', 'Only in this test.'); cli.main(['try'])"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (done.returncode, done.stdout.rstrip()) == (0, b"right ?, a ?, 3 ? 2"), done.stderr


def test_interruption(command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    command(fail)
    assert run("try") == 130
    assert capsys.readouterr().err == "regard: stopped by Ctrl-C.\n"


def test_a_defect_is_shown_whole(command: Callable[[Callable[[], None]], None]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    command(fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


def test_a_reader_that_leaves() -> None:
    """`regard list … | head -0` ends without a word."""
    code = "from regard.cli import main; main(['list'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == cli.EXIT_PIPE
    assert process.stderr.read() == b""
    process.stderr.close()
