"""The command line: `regard COMMAND …`.

A command is a file with a function `command`, and a line in COMMANDS. The file is imported when its command runs, so
that `regard --help` costs a tenth of a second, and heavy libraries only the commands that need them.

Mistakes of the user (RegardError, files that cannot be read or written) end here and nowhere else: one sentence on
standard error and exit status 2; `--debug` shows where it came from.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import regard
from regard.errors import RegardError

COMMANDS = {
    "demo": ("regard.cli.demo", "Learn to pronounce English in five minutes."),
    "recipes": ("regard.cli.recipes", "The recipes that Regard ships, or the text of one."),
    "data": ("regard.cli.data", "Prepare a recipe's data and report on it."),
    "train": ("regard.cli.train", "Train a recipe, or resume its run."),
    "tune": ("regard.cli.tune", "Search for better settings of a recipe."),
    "predict": ("regard.cli.predict", "Answer texts with a run: translations, pronunciations, …"),
    "write": ("regard.cli.write", "Go on from a text, as it is written."),
    "chat": ("regard.cli.chat", "Talk with a run that replies."),
    "evaluate": ("regard.cli.evaluate", "Score a run on data with references."),
    "shortlist": ("regard.cli.shortlist", "Learn which words a sentence suggests, for faster answers."),
    "calibrate": ("regard.cli.calibrate", "Make probabilities of labels what they say."),
    "compare": ("regard.cli.compare", "Say which of two runs is better, and how sure that is."),
    "push": ("regard.cli.push", "Share a run with its model card, on the hub or in a folder."),
    "list": ("regard.cli.parts", "The parts a recipe can choose from."),
}
"""Name: (module with the function `command`, one line of help), in the order in which a user meets them."""

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
EXIT_PIPE = 141  # 128 + SIGPIPE: `regard … | head` was cut off by its reader


class _Commands(TyperGroup):
    """Shows every command's line of help without importing it; imports the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args[0] in COMMANDS:
            return args[0], load_command(args[0]), args[1:]
        return super().resolve_command(ctx, args)  # says that there is no such command, and what is near

    def invoke(self, ctx: Any) -> Any:
        with _one_sentence(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich costs as much as all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"regard {regard.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Attentive recurrent sequence models: train on the machine you have, see why every output came out."""


def load_command(name: str) -> Any:
    """The command of this name, with its module imported."""
    module_name, line = COMMANDS[name]
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, short_help=line)(importlib.import_module(module_name).command)
    return typer.main.get_command(single)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # a table's line or tick that the terminal lacks is no error
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = given[: given.index("--")] if "--" in given else given
    if "--debug" in words:  # anywhere on the line
        given.remove("--debug")
        given.insert(0, "--debug")
    app(args=given, prog_name="regard")


@contextmanager
def _one_sentence(*, debug: bool) -> Iterator[None]:
    """Turn what a user can cause into a sentence and an exit status; anything else is a defect and is shown whole."""
    try:
        yield
        sys.stdout.flush()  # a reader that has gone is noticed here, not while Python shuts down
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE)
    except KeyboardInterrupt as error:
        if not hasattr(error, "exit_code"):  # training has saved itself and said so
            print("regard: stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", EXIT_INTERRUPTED))
    except (RegardError, OSError) as error:
        if debug:
            raise
        print("\n".join(f"regard: {line}" for line in _sentence(error).splitlines()), file=sys.stderr)
        sys.exit(EXIT_MISTAKE)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error)
