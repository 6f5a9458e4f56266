"""The command line: one module per group of commands; they parse, call and print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import StringIO
from traceback import walk_tb
from typing import Any

import click

from hashdb import __version__
from hashdb.errors import CorruptIndexError, HashDBError, StorageError, brief, escaped
from hashdb.memory import check_memory

_CLOSED_PIPE = 141  # as a shell says it of commands that SIGPIPE ends
_MOST_LINES, _LONGEST_LINE = 20, 500  # of a usage error

_COMMANDS = {
    "build": "hashdb.cli.write:build",
    "add": "hashdb.cli.write:add",
    "query": "hashdb.cli.query:query",
    "delete": "hashdb.cli.manage:delete",
    "info": "hashdb.cli.manage:info",
    "versions": "hashdb.cli.manage:versions",
    "verify": "hashdb.cli.manage:verify",
    "repair": "hashdb.cli.repair:repair",
    "compact": "hashdb.cli.manage:compact",
    "methods": "hashdb.cli.methods:methods",
    "warmup": "hashdb.cli.methods:warmup",
    "datasets": "hashdb.cli.datasets:datasets",
    "eval": "hashdb.cli.eval:evaluate",
    "demo": "hashdb.cli.demo:demo",
}


class _LazyGroup(click.Group):
    """Imports the module of a command when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # as in `hashdb query … | head -1`: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(_CLOSED_PIPE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hashdb")
def cli() -> None:
    """Index binary codes learned from your data, and search them exactly.

    \b
    hashdb demo                                            a tour, in half a minute
    hashdb build photos.hashdb photos.npy --method itq --bits 64
    hashdb query photos.hashdb new.npy -k 10
    """  # noqa: D301


def main(failed: Callable[[Exception], None] = lambda error: None) -> None:
    """Run the command line; errors of ours are one line on stderr and exit 1. See `hashdb.__main__` for signals.

    Parameters
    ----------
    failed : callable
        Is given an error before it is told.
    """
    try:
        try:
            check_memory()
            cli.main(prog_name="hashdb", standalone_mode=False)
        except Exception as error:
            failed(error)
            raise
    except HashDBError as error:
        _fail(f"hashdb: {' '.join(str(error).split())}{_hint(error)}")
    except click.exceptions.Abort:  # by whoever calls this without the signals of `hashdb.__main__`
        _fail("hashdb: interrupted; what was committed before stays", 130)
    except click.ClickException as error:
        shown = StringIO()
        error.show(shown)
        for line in shown.getvalue().splitlines()[:_MOST_LINES]:  # what was typed may be of any length
            click.echo(escaped(brief(line, _LONGEST_LINE)), err=True)
        sys.exit(error.exit_code)
    except MemoryError as error:
        said = " ".join(str(error).split()) or "the system gave no more"
        _fail(f"hashdb: out of memory: {said}; ask for less at once, or free some; what was committed before stays")
    except OSError as error:
        _fail(f"hashdb: {_of_the_system(error)}")


def _of_the_system(error: OSError) -> StorageError:
    """Say what the system refused, where nothing below did."""
    # Whatever is printed, help too, is printed by click's echo.
    if any(frame.f_code is click.echo.__code__ for frame, _ in walk_tb(error.__traceback__)):
        what = "cannot print the output: "
    else:
        what = f"{error.filename}: " if error.filename else ""
    return StorageError(f"{what}{error.strerror or error}")


def _hint(error: HashDBError) -> str:
    """Give the way out of damage, where the error does not and it has not just been tried."""
    known = not isinstance(error, CorruptIndexError) or "hashdb repair" in str(error) or "repair" in sys.argv[1:2]
    return "" if known else "; `hashdb repair` tells what can be saved"


def _fail(message: str, code: int = 1) -> None:
    with suppress(OSError):  # the exit code says it all the same
        click.echo(message, err=True)
    try:
        sys.stdout.flush()
    except OSError:
        # What could not be printed is lost and has been told; the interpreter must not try once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
