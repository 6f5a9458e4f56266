"""The versions of an index: finding the newest, opening one, noticing that others have moved on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hashdb.errors import CorruptIndexError, FormatError, VersionGoneError, brief
from hashdb.storage.checking import check_deletes_presence, check_group
from hashdb.storage.folder import GROUPS, REPAIR, Attributes, no_manifest
from hashdb.storage.manifest import Manifest, checksum_at, list_versions, manifest_name, read_manifest
from hashdb.storage.mapping import Mapper, gone
from hashdb.storage.reading import SegmentUnit, open_model
from hashdb.storage.snapshot import Snapshot, load_snapshot

# Older versions that are tried before an error says that none opens.
MAX_OLDER = 16


def newer(root: Path, manifest: Manifest) -> int | None:
    """Return the newest version's number where that is not `manifest`, else None. Two look-ups when nothing changed.

    Raises
    ------
    CorruptIndexError
        Something else is in the place of `manifest`, or the newest version was removed.
    """
    folder = root / "manifests"
    path = folder / manifest_name(manifest.version)
    checksum = checksum_at(path)
    if checksum is not None and checksum != manifest.checksum:
        raise CorruptIndexError(
            f"{path} is not what was opened: it was altered, or another index or a copy was put in its place; "
            "open the index again",
            path,
        )
    # Versions have no gaps and are pruned in ascending order: while our own exists, the next one tells.
    if checksum is not None and not (folder / manifest_name(manifest.version + 1)).exists():
        return None
    versions = list_versions(root)
    if not versions and not folder.is_dir():
        raise gone(root)
    if not versions or versions[-1] < manifest.version:
        raise CorruptIndexError(f"{path}, the newest version, was removed", path)
    return versions[-1] if versions[-1] > manifest.version else None


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
            snapshot = _load(root, attributes, mapper, number, known)
        except (FileNotFoundError, CorruptIndexError, VersionGoneError) as error:
            # A commit and a prune may have come between: then look again.
            if list_versions(root) != versions:
                continue
            if isinstance(error, CorruptIndexError):
                raise _with_way_out(error, root, attributes, number, versions) from error
            if isinstance(error, FileNotFoundError):
                raise _gone(root, number, versions) from error
            raise
        return snapshot


def _load(root: Path, attributes: Attributes, mapper: Mapper, version: int, known: dict[str, SegmentUnit]) -> Snapshot:
    manifest = read_manifest(root, version)
    path = root / "manifests" / manifest_name(version)
    if manifest.index != attributes.uuid:
        raise _foreign(root, attributes, path)
    if manifest.root != attributes.digest:
        raise CorruptIndexError(f"{root / 'zarr.json'} was altered or replaced", root / "zarr.json")
    snapshot = load_snapshot(manifest, mapper, attributes.id_kind, attributes.n_stored_bits, known)
    check_files(snapshot, mapper, known)
    return snapshot


def _foreign(root: Path, attributes: Attributes, path: Path) -> CorruptIndexError:
    """Return the error for a manifest that does not belong to the root document: whichever stands alone is foreign."""
    for number in reversed(list_versions(root)):
        try:
            if read_manifest(root, number).index == attributes.uuid:
                return CorruptIndexError(f"{path} belongs to another index", path)
        except (FormatError, FileNotFoundError):
            continue
    document = root / "zarr.json"
    return CorruptIndexError(f"{document} belongs to another index than {path}, and no other manifest fits", document)


def _with_way_out(
    error: CorruptIndexError, root: Path, attributes: Attributes, version: int, versions: list[int]
) -> CorruptIndexError:
    """Return an error of opening that also says what still works."""
    works = "no older version opens" if version > versions[0] else "there is no older version"
    for older in [number for number in reversed(versions) if number < version][:MAX_OLDER]:
        try:
            _load(root, attributes, Mapper(root), older, {})
        except (FormatError, VersionGoneError, OSError):
            continue
        works = f"version {older} opens (version={older}, --at {older})"
        break
    return CorruptIndexError(f"{error}; {works}; {REPAIR}", error.path)


def _gone(root: Path, version: int | None, versions: list[int]) -> Exception:
    if not versions:
        return no_manifest(root)
    first, last = versions[0], versions[-1]
    number = version or 0
    present = f"only version {first}" if first == last else f"versions {first} to {last}"
    why = ""
    if 1 <= number < first:
        why = ", older ones have been pruned"
    elif first < number < last:
        why = f", but {manifest_name(number)} is missing, which verify reports as damage"
    return VersionGoneError(
        f"{root} has no version {brief(version)}: {present} can be opened{why}; "
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


def check_files(snapshot: Snapshot, mapper: Mapper, known: dict[str, SegmentUnit]) -> None:
    """Look that every file of a version exists with its size, and read the metadata; `known` was looked at before."""
    root = mapper.root
    if not known:
        for name in GROUPS:
            check_group(root / name / "zarr.json")
    for segment in snapshot.segments:
        if segment.uuid not in known:
            segment.unit.check_presence()
        for entry in segment.entry.deletes:
            check_deletes_presence(mapper, entry)
    if snapshot.manifest.model is not None and not known:
        open_model(mapper, snapshot.manifest.model)[1].check_presence()


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
    numbers = list_versions(root)
    if not numbers and not root.is_dir():
        raise gone(root)
    for number in numbers:
        try:
            manifest = read_manifest(root, number)
        except FileNotFoundError:
            continue
        result.append(VersionInfo(number, manifest.time, manifest.n_rows, len(manifest.segments)))
    return result
