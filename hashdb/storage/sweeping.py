"""Sweeping leftovers of failed commits, and pruning old versions."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashdb.errors import FormatError
from hashdb.storage import folder
from hashdb.storage.commit import Files, remove_tree
from hashdb.storage.documents import MAX_DOCUMENT_BYTES
from hashdb.storage.locking import locked
from hashdb.storage.manifest import list_versions, manifest_name, unsealed
from hashdb.storage.mapping import read_file
from hashdb.storage.tables import KIND

log = logging.getLogger(__name__)

# Seconds that something no version names is taken for a commit under way.
GRACE = 3600.0

_UUIDS = re.compile(rb'"uuid":"([0-9a-f]{32})"')


@dataclass(frozen=True)
class CompactReport:
    """What ``compact`` did: whether it made a version, and what it removed."""

    version: int
    committed: bool
    n_segments_before: int
    n_segments: int
    n_rows: int
    n_versions_removed: int
    n_folders_removed: int
    n_bytes_freed: int


@dataclass(frozen=True)
class Swept:
    """Versions, folders and bytes removed."""

    n_versions: int
    n_folders: int
    n_bytes: int


def sweep(
    files: Files, root: Path, *, grace: float, keep: int | None = None, check: Callable[[], object] = lambda: None
) -> Swept:
    """Remove what no version refers to.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    root : Path
        Folder of the index.
    grace : float
        Seconds that something unreferenced must have been left alone: a writer may be about to commit it.
    keep : int, optional
        Remove all but so many of the newest versions first, and at once what only those referred to.
    check : callable, optional
        Called before anything is removed, when no version can come or go: raises where another index is in the place.

    Raises
    ------
    CorruptIndexError
        A manifest that stays is damaged: it cannot be told what it refers to, so nothing is removed.
    """
    # Folders are listed before manifests are read: what is committed in between is then seen as referred to.
    found = folders_of(root)
    tables = tables_of_folders(found)
    found += [path for path in _members(root / "manifests") if path.name.endswith(".tmp")]
    names = _Names(root, keep)
    used, pruned = names.used(), names.pruned()
    # Tables of a segment that goes go with it.
    found += [path for path in tables if segment_of(path) in used]
    unnamed = [path for path in found if key_of(path) not in used | pruned]
    old = [path for path in unnamed if age_of(path) > max(grace, 0.0)]
    if not names.gone and not old:
        return Swept(0, 0, 0)
    with locked(files, root):
        check()
        # Again, for now no commit comes between: what was about to be named may be by now.
        names.look()
        used, pruned = names.used(), names.pruned()
        expired = [path for path in old if key_of(path) not in used]
        n_bytes = sum(_remove(files, path) for path in expired) + forget_versions(files, root, names.gone)
    # Nobody can come to name these any more.
    left = [path for path in found if key_of(path) in pruned and path not in expired]
    n_bytes += sum(_remove(files, path) for path in left)
    return Swept(len(names.gone), len(expired) + len(left), n_bytes)


class _Names:
    """What the versions name, each read once: those that go, and those that stay."""

    def __init__(self, root: Path, keep: int | None) -> None:
        self._root, self._keep = root, keep
        self._read: dict[int, list[str]] = {}
        self.look()

    def look(self) -> None:
        """List the versions that there are now."""
        numbers = list_versions(self._root)
        self.gone = numbers[: -self._keep] if self._keep is not None else []
        self._staying = numbers[len(self.gone) :]

    def used(self) -> set[str]:
        """Return what versions that stay name."""
        return self._named(self._staying, strict=True)

    def pruned(self) -> set[str]:
        """Return what only versions that go name."""
        return self._named(self.gone, strict=False) - self.used()

    def _named(self, numbers: list[int], *, strict: bool) -> set[str]:
        for number in numbers:
            if number not in self._read:
                self._read[number] = names_of(self._root, number, strict=strict)
        return {name for number in numbers for name in self._read[number]}


def forget_versions(files: Files, root: Path, numbers: list[int]) -> int:
    """Remove the manifests of the lowest versions, and return the bytes freed; never the highest one.

    Under the lock: a commit takes a number that is free for the next one.
    """
    if not numbers:
        return 0
    # What stays must be safe before what it follows goes: the newest may have its name only since a moment.
    files.fsync_folder(root / "manifests")
    n_bytes = sum(remove_tree(files, root / "manifests" / manifest_name(number)) for number in numbers)
    files.fsync_folder(root / "manifests")
    return n_bytes


def _remove(files: Files, path: Path) -> int:
    return _remove_empty(files, path) if path.name == KIND else remove_tree(files, path)


def _remove_empty(files: Files, path: Path) -> int:
    """Remove the ``buckets`` of a segment; it stays where another has begun a table in it meanwhile."""
    n_bytes = remove_tree(files, path / "zarr.json")
    try:
        files.rmdir(path)
    except OSError as error:
        log.info("%s is in use again (%s)", path, error)  # its metadata come back with the table
    return n_bytes


def folders_of(root: Path) -> list[Path]:
    """List the folders of models, segments and deletes."""
    return [path for group in folder.GROUPS[1:] for path in _members(root / group)]


def tables_of_folders(folders: list[Path]) -> list[Path]:
    """List what is in the ``buckets`` of segments, and those ``buckets`` that are empty."""
    found = []
    for path in folders:
        buckets = path / KIND
        if path.parent.name == "segments" and buckets.is_dir() and not buckets.is_symlink():
            found += _members(buckets) or [buckets]
    return found


def key_of(path: Path) -> str:
    """Return what :func:`names_of` has for a folder that is used: its uuid, or ``<uuid>/buckets/<name>``."""
    if path.name == KIND:
        return f"{path.parent.name}/{KIND}"
    return f"{path.parent.parent.name}/{KIND}/{path.name}" if path.parent.name == KIND else path.name


def segment_of(path: Path) -> str:
    """Return the uuid of the segment that a path of :func:`tables_of_folders` is in."""
    return path.parent.name if path.name == KIND else path.parent.parent.name


def _members(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name != "zarr.json")
    except FileNotFoundError:
        # Another removes it right now. The folders of the index itself are always there.
        if path.name != KIND:
            raise
        return []


def names_of(root: Path, version: int, *, strict: bool) -> list[str]:
    """List what a manifest names: uuids, and tables as :func:`key_of` has them; none where it has been removed."""
    path = root / "manifests" / manifest_name(version)
    try:
        data = read_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        return []
    try:
        document = unsealed(data, path)
    except FormatError:
        if strict:
            raise
        document = {}
    return [name.decode("ascii") for name in _UUIDS.findall(data)] + _tables_in(document)


def _tables_in(document: dict[str, Any]) -> list[str]:
    # Also those of kinds that we do not know: what might be another's is not removed.
    return [
        f"{entry.get('uuid')}/{KIND}/{described.get('name')}"
        for entry in _objects(document.get("segments"))
        for described in _objects(entry.get("tables"))
    ]


def _objects(found: object) -> list[dict[str, Any]]:
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def age_of(path: Path) -> float:
    """Seconds since anything in a folder changed; 0 where someone is removing it right now."""
    try:
        newest = path.lstat().st_mtime
        for place, folders, names in os.walk(path):
            for name in (*folders, *names):
                newest = max(newest, os.lstat(os.path.join(place, name)).st_mtime)
    except FileNotFoundError:
        return 0.0
    return time.time() - newest
