"""Write docs/cli.md from the commands' own help; ``--print`` shows it instead."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from hashdb.cli import cli

HEAD = """# Command line

Long work shows a progress bar on stderr when that is a terminal. Errors are one line on stderr: what was wrong with
which value, what was expected, what to do; exit 1. Wrong usage exits 2, ctrl-C 130, SIGTERM 143: each removes what the
command began, and what was committed before stays. An output that is closed early, as by `| head`, ends a command with
141. `--json` prints one object (for `query`, one object a query). `hashdb` and `python -m hashdb` are the same.

What is printed to a closed stdout or stderr (`>&-`) goes nowhere, and the command does its work. Characters that the
encoding of a terminal lacks are printed as backslash escapes. A file that results are written to is replaced as one
step, where a link leads too; lines written to a pipe or a device go into it.

`FILE::NAME` picks an array, column or key of a file; without it there must be exactly one candidate. `-` is stdin,
whose format is named by `--format`. `HASHDB_NUM_THREADS` sets the default of `--threads`.

## Shell completion

For bash (also `zsh_source`, `fish_source`), in the file that starts your shell:

<!-- not run: changes the reader's shell -->
```bash
eval "$(_HASHDB_COMPLETE=bash_source hashdb)"
```
"""


_WIDE: dict[str, Any] = {"max_content_width": 100, "terminal_width": 100}
_TOP = {**_WIDE, **cli.context_settings}  # contexts below take what they do not say from the one above


def page() -> str:
    """Return the page as text."""
    return "\n".join([HEAD, *_parts(cli, click.Context(cli, info_name="hashdb", **_TOP), "hashdb")])


def _parts(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    """Give the help of a command, and of those below it."""
    yield f"## {name}\n"
    yield _help(command, context)
    for child in command.list_commands(context) if isinstance(command, click.Group) else ():
        below = command.get_command(context, child)
        if below is not None:
            yield from _parts(below, click.Context(below, info_name=child, parent=context, **_WIDE), f"{name} {child}")


def _help(command: click.Command, context: click.Context) -> str:
    return "```text\n" + command.get_help(context) + "\n```\n"


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        (Path(__file__).parent / "cli.md").write_text(page(), encoding="utf-8")
