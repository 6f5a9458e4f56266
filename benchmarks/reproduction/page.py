"""Puts the tables between their marks in docs/reproduction.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reproduction.tables import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"
_END = "<!-- end -->"


def write() -> None:
    """Write every table."""
    text = PAGE.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        text = replaced(text, name, make())
    PAGE.write_text(text, encoding="utf-8")


def replaced(text: str, name: str, table: str) -> str:
    """Put a table between its marks."""
    mark = f"<!-- table: {name} -->\n"
    before, rest = text.split(mark)
    return f"{before}{mark}{table}\n{_END}{rest.split(_END, 1)[1]}"
