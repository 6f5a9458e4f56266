"""``hashdb methods`` and ``hashdb warmup``."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import click

from hashdb.cli.options import json_option
from hashdb.cli.printing import note, say, say_json, table
from hashdb.cli.progress import bars
from hashdb.progress import Progress


@click.command()
@click.argument("name", required=False)
@json_option
def methods(name: str | None, as_json: bool) -> None:
    """List the installed methods by group, or describe NAME.

    A description shows the paper, and every param with its type, default, range and help.
    """
    from hashdb.describing import describe_plugin, describe_plugins

    if name is not None:
        described = describe_plugin(name)
        if as_json:
            say_json(described)
        else:
            _show_one(described)
        return
    listed, broken = describe_plugins()
    if as_json:
        say_json(listed + [{"name": one, "error": why} for one, why in broken.items()])
    else:
        _show_all(listed)
    for one, why in broken.items():
        note(f"note: {one} cannot be used: {why}")


@click.command()
@json_option
def warmup(as_json: bool) -> None:
    """Compile and cache the search kernels.

    The first query of a process is then fast.
    """
    from hashdb.search import warmup as compile_all

    with bars() as progress:
        compiled = compile_all(progress=partial(_staged, progress))
    if as_json:
        say_json({"compiled": list(compiled)})
    else:
        say(f"compiled {len(compiled)} kernels")


def _staged(progress: Progress, done: int, total: int, name: str) -> None:
    progress("compiling", done, total)


def _show_all(listed: list[dict[str, Any]]) -> None:
    width = max((len(entry["name"]) for entry in listed), default=0)
    for group, entries in groupby(listed, itemgetter("group")):
        say(f"{group} ({_NEEDS[group]})")
        for entry in entries:
            origin = "" if entry["distribution"] == "hashdb" else f" [{entry['distribution']} {entry['version']}]"
            say(f"  {entry['name']:<{width}}  {entry['when'] or entry['title']}{origin}")
        say()
    say("hashdb methods NAME shows a paper and the params")


_NEEDS = {
    "unsupervised": "learn from vectors alone",
    "supervised": "learn from --labels, or can",
    "cross-modal": "learn from paired modalities",
    "quantisers": "--quantiser, on top of a method with projections",
    "encoders": "turn images or texts into vectors",
}


def _show_one(described: dict[str, Any]) -> None:
    say(f"{described['name']}: {described['title']}")
    for key in ("kind", "when", "paper", "supervision", "distribution", "version", "n_bits", "default_train"):
        if described.get(key) not in (None, ""):
            say(f"  {key.replace('_', ' '):<14} {described[key]}")
    if not described["params"]:
        say("  params         none")
        return
    say()
    head = ["param", "type", "default", "range", "help"]
    say(table(head, [[entry[key] for key in head] for entry in described["params"]]))
