"""Puts tables between their marks in docs/cross-modal.md."""

from __future__ import annotations

import datetime
from pathlib import Path

from benchmarks.common import machine

PAGE = Path(__file__).parents[2] / "docs" / "cross-modal.md"
_END = "<!-- end -->"


def write(part: str, text: str, *, dated: bool = False) -> None:
    """Put one table between its marks; with the date and the machine where it tells times."""
    mark = f"<!-- part: {part} -->\n"
    before, rest = PAGE.read_text(encoding="utf-8").split(mark)
    after = rest.split(_END, 1)[1]
    stamp = f"{datetime.date.today()}, {machine()}.\n\n" if dated else ""
    PAGE.write_text(f"{before}{mark}{stamp}{text}\n{_END}{after}", encoding="utf-8")
