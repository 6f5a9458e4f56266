"""Opening an index folder at one version."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hashdb.errors import ArgumentError, CorruptIndexError
from hashdb.storage import folder, versions
from hashdb.storage.checking import check_full
from hashdb.storage.commit import translated
from hashdb.storage.folder import Attributes
from hashdb.storage.mapping import Mapper
from hashdb.storage.snapshot import Snapshot


def open_version(root: Path, version: int | None, *, mmap: bool, check: str) -> tuple[Attributes, Mapper, Snapshot]:
    """Open an index; arguments and errors are those of ``Store.open``."""
    if check not in ("quick", "full"):
        raise ArgumentError(f"check is {check!r:.40}, expected 'quick' or 'full'")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | np.integer)):
        raise ArgumentError(f"version= (--at) is {version!r:.40}, expected a whole number")
    with translated(f"open the index {root}"):
        attributes = folder.read_attributes(root)
        mapper = Mapper(root, use_mmap=mmap)
        snapshot = versions.load(root, attributes, mapper, version)
        if check == "full":
            try:
                check_full(snapshot, mapper)
            except CorruptIndexError as error:
                still = "check='quick' opens it, and what is in other files is right"
                raise CorruptIndexError(f"{error}; {still}; {folder.REPAIR}", error.path) from error
    return attributes, mapper, snapshot
