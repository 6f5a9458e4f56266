"""Tables, numbers and JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import numpy as np


def say(text: str = "") -> None:
    """Print a line on stdout."""
    click.echo(text)


def note(text: str) -> None:
    """Print a line on stderr, beside the results."""
    click.echo(text, err=True)


def say_json(value: Any) -> None:
    """Print one JSON value on one line."""
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # JSON has escapes of its own, which are not those of the stream
        text = json.dumps(value, default=_plain)
    click.echo(text)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lay out rows under a head, numbers to the right."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(head[i]), *(len(row[i]) for row in text)) if text else len(head[i]) for i in range(len(head))]
    right = [bool(text) and all(_is_number(row[i]) for row in text) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        laid = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "  ".join(laid).rstrip()

    return "\n".join([line(list(head)), *(line(row) for row in text)])


def count(number: int, thing: str, things: str | None = None) -> str:
    """Write a number of things."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def size(n_bytes: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return ""


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").isdigit() or text in ("", "-")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
