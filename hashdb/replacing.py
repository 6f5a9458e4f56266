"""Files that are written whole or not at all: beside their place, and moved there at the end."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hashdb.storage.commit import DISK


@contextmanager
def replacing(path: str | os.PathLike[str], *, flushed: bool = False) -> Iterator[IO[bytes]]:
    """Give a file to write to, which then takes the place of another.

    A link is followed, and the mode of what is replaced is kept. After a failure there is what was there before.

    Parameters
    ----------
    path : path
        Where the file goes; its folder exists.
    flushed : bool
        The file survives a power loss from then on.

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        The file system refused.

    Examples
    --------
    >>> with replacing("found.txt") as file:
    ...     file.write(b"7 8 9")
    5
    """
    # Else as it was given: a relative path may lead where an absolute one may not.
    target = Path(os.path.realpath(path) if os.path.islink(path) else path)
    beside = target.with_name(f".{target.name[:50]}.{uuid.uuid4().hex}")
    try:
        with open(beside, "xb") as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            yield file
            if flushed:
                file.flush()
                DISK.fsync(file.fileno())
        os.replace(beside, target)
        if flushed:
            DISK.fsync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
