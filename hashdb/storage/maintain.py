"""Verifying an index: every document, file and row of every version, and what no version names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hashdb.errors import CorruptIndexError, FormatError, UnsupportedFormatError, VersionGoneError
from hashdb.storage import folder
from hashdb.storage.checking import looking
from hashdb.storage.documents import MAX_DOCUMENT_BYTES
from hashdb.storage.folder import Attributes
from hashdb.storage.manifest import Manifest, decode, list_versions, manifest_name, read_manifest
from hashdb.storage.mapping import Mapper, read_file
from hashdb.storage.mending import mended_manifest
from hashdb.storage.sweeping import GRACE, age_of, folders_of, key_of, names_of, tables_of_folders
from hashdb.storage.tables import KIND
from hashdb.storage.versions import check_chain
from hashdb.storage.visiting import Progress, Visit, uuids_of

# Times that a verification begins again because the version it looked at was pruned.
MAX_TRIES = 4


@dataclass
class VerifyReport:
    """What was found.

    Attributes
    ----------
    version : int or None
        The version looked at; None where none can be read.
    deep : bool
        Whether every byte was read.
    problems : list of (str, str)
        File at fault and what is wrong; empty for an index that is well.
    notes : list of str
        What may hint at a loss and is no fault in itself: folders left over that no version names. Found when deep.
    n_files, n_bytes : int
        Files looked at, and their bytes.
    """

    version: int | None = None
    deep: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_files: int = 0
    n_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def note(self, error: FormatError) -> None:
        """Add a problem with a document of the index itself."""
        self.problems.append((str(error.path), str(error)))


def verify(
    root: str | Path, *, version: int | None = None, deep: bool = False, progress: Progress | None = None
) -> VerifyReport:
    """Check an index and name everything that is wrong at once.

    Parameters
    ----------
    root : str or Path
        Folder of the index.
    version : int, optional
        Version to check; by default the newest that can be read, and what only other versions need: their problems
        end with the versions. All manifests are checked in any case, and that none is missing between them.
    deep : bool
        Also compare the checksum of every file, read every array with zarr and compare it with our own reading, and
        check that ids ascend and padding bits are zero; and note old folders that no version names. The bucket tables
        of older versions are left out.
    progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    IndexNotFoundError
        There is no index.
    VersionGoneError
        There is no such version, or it was pruned meanwhile.
    StorageError, OutOfMemoryError
        The system does not let us look: that is no damage.
    """
    root = Path(root)
    for _ in range(MAX_TRIES):
        report = VerifyReport(deep=deep)
        with looking(f"verify {root}"):
            visit = _begin(root, version, report)
        visit.run(progress)
        report.n_files += visit.n_files
        report.n_bytes += visit.n_bytes
        # Several steps may meet the same damage.
        found = reversed(report.problems + visit.problems)
        report.problems = list({said: (at, said) for at, said in found}.values())[::-1]
        if report.version is None or os.path.exists(root / "manifests" / manifest_name(report.version)):
            return report
        if version is not None:
            break
    raise VersionGoneError(f"version {report.version} of {root} was pruned while it was looked at; verify again")


def _begin(root: Path, version: int | None, report: VerifyReport) -> Visit:
    """Check the documents of the index itself; return the visit to the versions that they name."""
    attributes = None
    try:
        attributes = folder.read_attributes(root)
    except FormatError as error:
        report.note(error)
        if isinstance(error, UnsupportedFormatError) or error.path != root / "zarr.json":
            return Visit(Mapper(root))  # nothing to go on by, or a folder that is a link
    # Before the manifests: what is committed in between is then seen as named.
    found = folders_of(root) if report.deep and all((root / name).is_dir() for name in folder.GROUPS) else []
    found += tables_of_folders(found)
    manifests, used = _read_manifests(root, report)
    report.notes += _leftovers(found, used)
    attributes = _check_manifests(root, attributes, manifests, report)
    chosen = manifests.get(max(manifests, default=0) if version is None else version)
    if version is not None and chosen is None and not report.problems:
        raise VersionGoneError(f"{root} has no version {version}")
    report.version = None if chosen is None else chosen.version
    older: list[Manifest] = []
    if version is None:
        older = [*_mended_newest(root, manifests), *(manifests[number] for number in sorted(manifests)[-2::-1])]
    return Visit(Mapper(root), attributes, chosen, older, deep=report.deep)


def _read_manifests(root: Path, report: VerifyReport) -> tuple[dict[int, Manifest], set[str]]:
    """Return the manifests that can be read, ascending, and what all manifests name."""
    manifests: dict[int, Manifest] = {}
    used: set[str] = set()
    for number in list_versions(root):
        path = root / "manifests" / manifest_name(number)
        try:
            manifests[number] = read_manifest(root, number)
            report.n_bytes += path.stat().st_size
        except FormatError as error:
            report.note(error)
            with suppress(FormatError):  # too large to be read
                used.update(names_of(root, number, strict=False))
        except FileNotFoundError:
            manifests.pop(number, None)
        else:
            report.n_files += 1
            used.update(_names_in(manifests[number]))
    return manifests, used


def _names_in(manifest: Manifest) -> Iterable[str]:
    """Give what a manifest names, as `names_of` does."""
    yield from uuids_of(manifest)
    for entry in manifest.segments:
        for described in entry.tables:
            yield f"{entry.uuid}/{KIND}/{described.get('name')}"


def _check_manifests(
    root: Path, attributes: Attributes | None, manifests: dict[int, Manifest], report: VerifyReport
) -> Attributes | None:
    """Leave in `manifests` those that belong to the root document, or to the newest; return the document if it fits."""
    path, newest = root / "zarr.json", manifests.get(max(manifests, default=0))
    fitting = None if attributes is None else (attributes.uuid, attributes.digest)
    if newest is not None and fitting not in {(one.index, one.root) for one in manifests.values()}:
        name = root / "manifests" / manifest_name(newest.version)
        if attributes is not None:
            why = "one of the two was altered, or is of another index"
            report.note(CorruptIndexError(f"{path} is not the one that {name} names: {why}", path))
        attributes, fitting, path = None, (newest.index, newest.root), name
    for number, manifest in list(manifests.items()):
        if (manifest.index, manifest.root) != fitting:
            name = root / "manifests" / manifest_name(number)
            report.note(CorruptIndexError(f"{name} does not belong to {path}", name))
            del manifests[number]
    report.problems += [(str(error.path), str(error)) for error in check_chain(root, manifests)]
    return attributes


def _mended_newest(root: Path, manifests: dict[int, Manifest]) -> list[Manifest]:
    """Return what the newest manifest held where one byte of it is wrong: what only it names is looked at too."""
    newest = max(list_versions(root), default=0)
    if newest in manifests:
        return []
    path = root / "manifests" / manifest_name(newest)
    try:
        data = mended_manifest(read_file(path, MAX_DOCUMENT_BYTES), path, None)
    except (FormatError, FileNotFoundError):
        return []
    return [] if data is None else [decode(data, path)]


def _leftovers(found: list[Path], used: set[str]) -> list[str]:
    unused = {path for path in found if key_of(path) not in used}
    return [
        f"{path} is named by no version: left over from a commit that failed, or a newer version was lost"
        for path in found
        # What is inside a folder that is left over goes without saying.
        if path in unused and not unused.intersection(path.parents) and age_of(path) > GRACE
    ]
