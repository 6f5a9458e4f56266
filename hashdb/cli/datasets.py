"""``hashdb datasets`` and ``hashdb datasets fetch``."""

from __future__ import annotations

from typing import Any

import click

from hashdb.cli.options import json_option
from hashdb.cli.printing import count, say, say_json, size, table
from hashdb.cli.progress import bars


@click.group(invoke_without_command=True)
@click.option("--details", is_flag=True, help="Home, licence and files of each, and what is missing.")
@json_option
@click.pass_context
def datasets(context: click.Context, details: bool, as_json: bool) -> None:
    """List the public data sets that hashdb reads, and say which are there.

    They are looked for below the folder that HASHDB_DATA names. Nothing is downloaded but by `fetch`.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json stands after {context.invoked_subcommand}.")
        if details:
            raise click.UsageError(f"--details does not go with {context.invoked_subcommand}.")
        return
    from hashdb.datasets import get, names

    listed = [_described(get(name)) for name in names()]
    if as_json:
        say_json(listed)
        return
    if details:
        for entry in listed:
            _show(entry)
    else:
        rows = [[entry["name"], "yes" if entry["found"] else "no", entry["title"]] for entry in listed]
        say(table(["name", "found", "what it is"], rows) + "\n")
    n_found = sum(entry["found"] for entry in listed)
    unnamed = "" if any(entry["folder"] for entry in listed) else " (HASHDB_DATA names no folder)"
    say(f"{n_found} of {count(len(listed), 'data set')} found{unnamed}")
    without = ", ".join(entry["name"] for entry in listed if not entry["downloads"])
    say(f"hashdb datasets fetch NAME gets those with an address: all but {without}")
    if not details:
        say("hashdb datasets --details tells home, licence, files and what is missing")


@datasets.command()
@click.argument("name")
@click.option("--to", "folder", type=click.Path(), metavar="DIR", help="Where to [default: its place in HASHDB_DATA].")
@click.option("--url", metavar="URL", help="Get the download from another place.")
@click.option("--sha256", metavar="HEX", help="The checksum you trust, where none is known.")
@json_option
def fetch(name: str, folder: str | None, url: str | None, sha256: str | None, as_json: bool) -> None:
    """Download what is missing of the data set NAME, if the checksum is right."""
    from hashdb.datasets import fetch as fetch_files

    with bars() as progress:
        made = [str(path) for path in fetch_files(name, folder, url=url, sha256=sha256, progress=progress)]
    if as_json:
        say_json({"name": name, "files": made})
    else:
        say("\n".join(made) if made else f"{name}: all files are there")


def _described(info: Any) -> dict[str, Any]:
    from hashdb.datasets import find

    found = find(info)
    shown = found.layout or info.layouts[0]
    return {
        "name": info.name,
        "title": info.title,
        "home": info.home,
        "licence": info.licence,
        "files": [{"path": file.path, "bytes": file.size} for file in shown.files],
        "folder": None if found.folder is None else str(found.folder),
        "found": found.layout is not None,
        "problem": found.problem or None,
        "downloads": [one.url for one in info.downloads],
        "note": info.note or None,
    }


def _show(entry: dict[str, Any]) -> None:
    say(f"{entry['name']}: {entry['title']}")
    say(f"  home     {entry['home']}")
    say(f"  licence  {entry['licence']}")
    sizes = [file["path"] + (f" ({size(file['bytes'])})" if file["bytes"] else "") for file in entry["files"]]
    say(f"  files    {', '.join(sizes)}")
    say(f"  found    {'in ' + entry['folder'] if entry['found'] else 'no: ' + entry['problem']}")
    if not entry["downloads"]:
        say(f"  note     {entry['note']}")
    say()
