"""Opening an index folder at one version."""

from __future__ import annotations

import os
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
        # This index it stays, whatever becomes of the current folder and of links on the way.
        root = Path(os.path.realpath(root))
        mapper = Mapper(root, use_mmap=mmap)
        snapshot = versions.load(root, attributes, mapper, version)
        if check == "full":
            try:
                check_full(snapshot, mapper)
            except CorruptIndexError as error:
                still = "check='quick' opens it, and what is in other files is right"
                if error.path is not None and error.path.is_relative_to(root / "models"):
                    still = "every version needs the model"
                raise CorruptIndexError(f"{error}; {still}; {folder.REPAIR}", error.path) from error
    return attributes, mapper, snapshot
