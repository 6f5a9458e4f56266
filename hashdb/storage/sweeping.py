"""Sweeping leftovers of failed commits, and pruning old versions."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from hashdb.storage import folder
from hashdb.storage.commit import Files, remove_tree
from hashdb.storage.documents import MAX_DOCUMENT_BYTES
from hashdb.storage.manifest import list_versions, manifest_name, unsealed
from hashdb.storage.mapping import read_file

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


def sweep(files: Files, root: Path, *, grace: float, keep: int | None = None) -> Swept:
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

    Raises
    ------
    CorruptIndexError
        A manifest that stays is damaged: it cannot be told what it refers to, so nothing is removed.
    """
    # Folders are listed before manifests are read: what is committed in between is then seen as referred to.
    found = folders_of(root)
    found += [path for path in _members(root / "manifests") if path.name.endswith(".tmp")]
    numbers = list_versions(root)
    gone = numbers[:-keep] if keep is not None else []
    used = {name for number in numbers[len(gone) :] for name in names_of(root, number, strict=True)}
    pruned = {name for number in gone for name in names_of(root, number, strict=False)}
    n_bytes = 0
    for number in gone:
        # Upwards, one by one: writers rely on it to notice that the version they build on is past.
        n_bytes += remove_tree(files, root / "manifests" / manifest_name(number))
    if gone:
        files.fsync_folder(root / "manifests")
    removable = [
        path for path in found if path.name not in used and (path.name in pruned or age_of(path) > max(grace, 0.0))
    ]
    for path in removable:
        n_bytes += remove_tree(files, path)
    return Swept(len(gone), len(removable), n_bytes)


def folders_of(root: Path) -> list[Path]:
    """List the folders of models, segments and deletes."""
    return [path for group in folder.GROUPS[1:] for path in _members(root / group)]


def _members(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.name != "zarr.json")


def names_of(root: Path, version: int, *, strict: bool) -> list[str]:
    """List the uuids that a manifest names; none where it has been removed."""
    path = root / "manifests" / manifest_name(version)
    try:
        data = read_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        return []
    if strict:
        unsealed(data, path)
    return [name.decode("ascii") for name in _UUIDS.findall(data)]


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
