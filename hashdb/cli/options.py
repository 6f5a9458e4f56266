"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from hashdb.errors import ArgumentError, brief

F = TypeVar("F", bound=Callable[..., Any])

_MAX_DIGITS = 20  # of an id of 64 bits, with its sign
INPUT_TYPES = ["auto", "float", "bool", "pm1", "packed-msb", "packed-lsb", "hex"]


def input_options(function: F) -> F:
    """Add how rows are read."""
    function = click.option(
        "--input-type", type=click.Choice(INPUT_TYPES), help="What a row is; default as recorded, or auto."
    )(function)
    return click.option("--format", "format_", metavar="NAME", help="Format of the input, for stdin or an odd suffix.")(
        function
    )


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(function)


def threads_option(function: F) -> F:
    """Add --threads."""
    return click.option(
        "--threads", type=int, metavar="N", help="Threads of the search [default: HASHDB_NUM_THREADS, else the CPUs]."
    )(function)


def open_input(spec: str, format_: str | None, near: str, *, items: bool = False) -> Any:
    """Open an input file, with ``items`` perhaps of images; stdin is spooled beside the index."""
    from pathlib import Path

    from hashdb.inputs import open_vectors
    from hashdb.storage.commit import translated

    check_file("input", spec)
    if spec == "-" and format_ is None:
        raise ArgumentError(
            "input '-' is stdin, which has no suffix: name its format with --format (npy, jsonl, hex, …)"
        )
    if spec == "-" and (sys.stdin is None or sys.stdin.isatty()):
        raise ArgumentError("input '-' is stdin, but nothing is piped into it")
    with translated(f"find the folder of {near}"):  # where the current folder was removed
        folder = Path(near).absolute().parent
    return open_vectors(spec, format=format_, spool_near=folder, items=items)


def check_file(what: str, spec: str | None) -> None:
    """Raise ArgumentError for the empty name of a file, which would be taken for the current folder."""
    if spec is not None and not spec.partition("::")[0]:
        raise ArgumentError(f"{what} {spec!r} has an empty name of a file, expected FILE, FILE::NAME or -")


def pairs(values: tuple[str, ...], option: str, form: str = "KEY=VALUE") -> dict[str, str]:
    """Split texts of that form."""
    found: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ArgumentError(f"{option} {brief(text)!r} is not of the form {form}")
        if key in found:
            raise ArgumentError(f"{option} names {brief(key)!r} twice")
        found[key] = value
    return found


def ids_of_text(texts: tuple[str, ...], id_kind: str) -> Any:
    """Turn ids from the command line into the kind of the index."""
    if id_kind == "string":
        return list(texts)
    values = []
    for text in texts:
        # int() also takes 1_0, +4, 007 and other scripts' digits: an id is what it says, or refused.
        is_number = text.isascii() and text.removeprefix("-").isdigit() and len(text) <= _MAX_DIGITS
        if not is_number or str(int(text)) != text:
            raise ArgumentError(f"id {brief(text)!r} is not a whole number, and this index has int64 ids")
        values.append(int(text))
    return values
