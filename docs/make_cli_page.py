"""Write docs/cli.md from the commands' own help; ``--print`` shows it instead."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hashdb.cli import cli

HEAD = """# Command line

Long work shows a progress bar on stderr when that is a terminal. Errors are one line on stderr: what was wrong with
which value, what was expected, what to do; exit 1. Wrong usage exits 2. `--json` prints one object (for `query`, one
object a query). `hashdb` and `python -m hashdb` are the same.

`FILE::NAME` picks an array, column or key of a file; without it there must be exactly one candidate. `-` is stdin,
whose format is named by `--format`. `HASHDB_NUM_THREADS` sets the default of `--threads`.

## Shell completion

For bash (also `zsh_source`, `fish_source`), in the file that starts your shell:

<!-- not run: changes the reader's shell -->
```bash
eval "$(_HASHDB_COMPLETE=bash_source hashdb)"
```
"""


def page() -> str:
    """Return the page as text."""
    root = click.Context(cli, info_name="hashdb", max_content_width=100, terminal_width=100)
    parts = [HEAD, "## hashdb\n", _help(cli, root)]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None:
            context = click.Context(command, info_name=name, parent=root, max_content_width=100, terminal_width=100)
            parts += [f"## hashdb {name}\n", _help(command, context)]
    return "\n".join(parts)


def _help(command: click.Command, context: click.Context) -> str:
    return "```text\n" + command.get_help(context) + "\n```\n"


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        (Path(__file__).parent / "cli.md").write_text(page(), encoding="utf-8")
