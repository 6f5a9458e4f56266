"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, units done, units in all."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
