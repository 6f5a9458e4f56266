"""Progress bars on stderr, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hashdb.progress import Progress, silent


class _Bars:
    """One bar a stage of the work, with rate and time left."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if what != self._what:
            self.close()
            self._what = what
            self._bar = tqdm(total=total, desc=what, unit="", unit_scale=True, leave=False, file=sys.stderr)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def bars() -> Iterator[Progress]:
    """Give a progress callback that draws bars where someone can see them."""
    if not sys.stderr.isatty():
        yield silent
        return
    shown = _Bars()
    try:
        yield shown
    finally:
        shown.close()
