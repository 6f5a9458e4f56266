"""The versions of an index: finding the newest, opening one, noticing that others have moved on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hashdb.errors import CorruptIndexError, IndexNotFoundError, VersionGoneError
from hashdb.storage.commit import Files
from hashdb.storage.folder import Attributes
from hashdb.storage.manifest import Manifest, list_versions, manifest_name, read_manifest, unsealed
from hashdb.storage.mapping import Mapper, check_size, missing
from hashdb.storage.reading import SegmentUnit, delete_files, open_model
from hashdb.storage.snapshot import Snapshot, load_snapshot


def newer(root: Path, manifest: Manifest) -> int | None:
    """Return the newest version's number where that is not `manifest`, else None. Two look-ups when nothing changed."""
    folder = root / "manifests"
    # Versions have no gaps and are pruned in ascending order: while our own exists, the next one tells.
    if (folder / manifest_name(manifest.version)).exists() and not (
        folder / manifest_name(manifest.version + 1)
    ).exists():
        return None
    versions = list_versions(root)
    if not versions or versions[-1] < manifest.version:
        path = folder / manifest_name(manifest.version)
        raise CorruptIndexError(f"{path}, the newest version, was removed", path)
    return versions[-1] if versions[-1] > manifest.version else None


def still_ours(files: Files, root: Path, manifest: Manifest, data: bytes) -> bool:
    """Tell, after a link that worked, whether the version really follows the one it was decided on.

    Between decision and link others may have committed this very number and more, and pruned it again: the name was
    free, but the version is past. Pruning goes upwards, so nothing of the kind has happened while the parent exists.
    """
    folder = root / "manifests"
    if manifest.version == 1 or (folder / manifest_name(manifest.version - 1)).exists():
        return True
    following = folder / manifest_name(manifest.version + 1)
    try:
        return unsealed(following.read_bytes(), following).get("parent") == manifest.checksum
    except FileNotFoundError:
        if list_versions(root)[-1:] == [manifest.version]:
            return True
    # Ours is a number that is past: take it back. If it is gone, a pruner saw it as a version of the line.
    own = folder / manifest_name(manifest.version)
    if own.exists() and own.read_bytes() == data:
        files.unlink(own)
        return False
    return True


def load(
    root: Path,
    attributes: Attributes,
    mapper: Mapper,
    version: int | None,
    known: dict[str, SegmentUnit] | None = None,
) -> Snapshot:
    """Open a version, the newest by default, and look that every file of it exists with its size.

    Raises
    ------
    VersionGoneError
        There is no such version.
    CorruptIndexError, UnsupportedFormatError
        It is damaged; the message names the file.
    """
    known = known or {}
    while True:
        versions = list_versions(root)
        number = versions[-1] if version is None and versions else version
        if number is None or number not in versions:
            raise _gone(root, number, versions)
        try:
            manifest = _read_version(root, attributes, number, versions)
            snapshot = load_snapshot(manifest, mapper, attributes.id_kind, attributes.n_stored_bits, known)
            check_files(snapshot, mapper, known)
        except (FileNotFoundError, CorruptIndexError, VersionGoneError) as error:
            # A commit and a prune may have come between: then look again.
            if list_versions(root) != versions:
                continue
            if isinstance(error, FileNotFoundError) and not isinstance(error, CorruptIndexError | VersionGoneError):
                raise _gone(root, number, versions) from error
            raise
        return snapshot


def _gone(root: Path, version: int | None, versions: list[int]) -> Exception:
    if not versions:
        return IndexNotFoundError(f"no index at {root}: a build was begun there and not finished; build it again")
    first, last = versions[0], versions[-1]
    number = version or 0
    present = f"only version {first}" if first == last else f"versions {first} to {last}"
    why = ""
    if 1 <= number < first:
        why = ", older ones have been pruned"
    elif first < number < last:
        why = f", but {manifest_name(number)} is missing, which verify reports as damage"
    return VersionGoneError(
        f"{root} has no version {version}: {present} can be opened{why}; "
        "give another version= (--at), or none for the newest"
    )


def check_chain(root: Path, manifests: dict[int, Manifest]) -> list[CorruptIndexError]:
    """Return what is wrong with the line of versions: gaps, and parents that are not the version before.

    Parameters
    ----------
    root : Path
        Folder of the index.
    manifests : dict
        Number and manifest of every version that can be read.
    """
    folder = root / "manifests"
    errors = []
    numbers = list_versions(root)
    for before, number in pairwise(numbers):
        lost = folder / manifest_name(before + 1)
        # Pruning goes upwards: a gap is one only while the version below it stays.
        if number > before + 1 and not lost.exists() and (folder / manifest_name(before)).exists():
            more = f", and those up to version {number - 1}" if number > before + 2 else ""
            errors.append(
                CorruptIndexError(f"{lost} is missing{more}: older and newer versions are there, so it was lost", lost)
            )
    for number, manifest in manifests.items():
        path = folder / manifest_name(number)
        parent = manifests.get(number - 1)
        if (number == 1) != (manifest.parent is None) or (parent and manifest.parent != parent.checksum):
            errors.append(CorruptIndexError(f"{path} does not name the version before it as its parent", path))
    return errors


def _read_version(root: Path, attributes: Attributes, version: int, versions: list[int]) -> Manifest:
    try:
        manifest = read_manifest(root, version)
        path = root / "manifests" / manifest_name(version)
        if manifest.index != attributes.uuid:
            raise CorruptIndexError(f"{path} belongs to another index", path)
        if manifest.root != attributes.digest:
            raise CorruptIndexError(f"{root / 'zarr.json'} was altered or replaced", root / "zarr.json")
    except CorruptIndexError as error:
        earlier = [number for number in versions if number < version]
        way_out = (
            f"; the version before it can be opened with version={earlier[-1]} (--at {earlier[-1]})" if earlier else ""
        )
        raise CorruptIndexError(f"{error}{way_out}", error.path) from error
    return manifest


def check_files(snapshot: Snapshot, mapper: Mapper, known: dict[str, SegmentUnit]) -> None:
    """Look that every file of a version exists with its size; what is `known` was looked at before."""
    root = mapper.root
    for segment in snapshot.segments:
        if segment.uuid not in known:
            segment.unit.check_sizes()
        for entry in segment.entry.deletes:
            path = root / "deletes" / entry.uuid / "rows" / "c" / "0"
            try:
                check_size(path, path.lstat(), delete_files(entry)[1]["rows/c/0"])
            except (FileNotFoundError, NotADirectoryError):
                raise missing(path, entry.uuid, root) from None
    if snapshot.manifest.model is not None and not known:
        open_model(mapper, snapshot.manifest.model)[1].check_sizes()


@dataclass(frozen=True)
class VersionInfo:
    """One version: number, UTC time of its commit, rows that are not deleted, segments."""

    version: int
    time: str
    n_rows: int
    n_segments: int


def describe_versions(root: Path) -> list[VersionInfo]:
    """Describe every version that can still be opened, ascending.

    Raises
    ------
    CorruptIndexError
        Naming a manifest that is damaged.
    """
    result = []
    for number in list_versions(root):
        try:
            manifest = read_manifest(root, number)
        except FileNotFoundError:
            continue
        result.append(VersionInfo(number, manifest.time, manifest.n_rows, len(manifest.segments)))
    return result
