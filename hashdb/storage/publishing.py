"""The step that makes a version: its manifest gets its name by ``link``, which fails when another writer was first."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from hashdb.errors import StorageError
from hashdb.storage.commit import NO_LINK, Files, holds, try_remove, write_named
from hashdb.storage.locking import locked


def publish(files: Files, target: Path, data: bytes, is_next: Callable[[], bool], *, alone: bool = False) -> bool:
    """Make `target` exist with content `data`, all at once and for good.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    target : Path
        Final name, ``manifests/000000000043.json``.
    data : bytes
        Content; everything it refers to has been flushed.
    is_next : callable
        Asked last of all, when no version and nothing that waits for its commit can go any more: whether the version
        still follows the newest. That its name is free does not tell: others may have been there and pruned.
    alone : bool
        The caller holds the lock of the index already, alone.

    Returns
    -------
    bool
        False when another writer was first and nothing has changed.

    Raises
    ------
    ConflictError
        Others did not let go of the lock.
    StorageError
        When the file system refuses. If that was after the link, the message says that the commit stands.
    """
    # A name of its own for each writer: two of them may be preparing the same version.
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_named(files, temporary, data)
        with nullcontext() if alone else locked(files, target.parent.parent, shared=True):
            if not is_next() or not _link(files, temporary, target, data):
                return False
        try:
            files.fsync_folder(target.parent)
        except OSError as error:
            raise StorageError(
                f"{target.name} is committed, but flushing its folder failed ({error.strerror}): "
                "it may not survive a power failure"
            ) from error
        return True
    finally:
        try_remove(files, temporary)


def _link(files: Files, temporary: Path, target: Path, data: bytes) -> bool:
    try:
        files.link(temporary, target)
    except FileExistsError:
        # A server of files whose answer was lost says so of our own link, when it is asked again.
        return holds(target, data)
    except OSError as error:
        if error.errno in NO_LINK:
            raise StorageError(
                f"cannot commit to {target.parent}: this file system makes no hard links ({error.strerror}), "
                "which a commit needs; keep the index on a local disk"
            ) from error
        raise
    return True
