"""The advisory lock of an index's ``manifests``: shared while a commit links its version, alone while others go.

A writer that has lost to others too often holds it alone for a whole attempt.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hashdb.errors import ConflictError
from hashdb.storage.commit import Files

PATIENCE = 60.0  # seconds; it is held for milliseconds, and for seconds by a writer that has lost often
LONGEST_WAIT = 0.01


@contextmanager
def locked(files: Files, root: Path, *, shared: bool = False, patience: float | None = None) -> Iterator[None]:
    """Hold the lock of the index at `root`, which goes at the latest with this process and children forked meanwhile.

    Under it no version is removed, and nothing that a commit is about to name. Without `shared`, none is made either.

    Raises
    ------
    ConflictError
        Others did not let go of it.
    """
    folder = root / "manifests"
    handle = _acquire(files, folder, shared, PATIENCE if patience is None else patience)
    try:
        yield
    finally:
        _release(files, handle)


def _release(files: Files, handle: int) -> None:
    try:
        try:
            files.unlock(handle)
        finally:
            files.unlock(handle)  # an interrupt may have come before the first
    finally:
        with suppress(OSError):
            os.close(handle)


def _acquire(files: Files, folder: Path, shared: bool, patience: float) -> int:
    ends = time.monotonic() + patience
    while True:
        try:
            return files.lock_folder(folder, shared)
        except BlockingIOError:
            if time.monotonic() > ends:
                raise ConflictError(
                    f"the lock of {folder} has been held for {patience:g} s by others: a process that is stopped or "
                    "not of hashdb, an interrupted call in this one, or very many writers; see to them and try again"
                ) from None
        time.sleep(random.uniform(0, LONGEST_WAIT))
