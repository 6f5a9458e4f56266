"""Verifying an index: every document, file and row, and what no version names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hashdb.errors import CorruptIndexError, FormatError, HashDBError, StorageError, VersionGoneError
from hashdb.storage import folder
from hashdb.storage.checking import check_delete_metadata, check_group, check_rows, compare, same, zarr_array
from hashdb.storage.commit import translated
from hashdb.storage.manifest import (
    DeleteEntry,
    Manifest,
    SegmentEntry,
    list_versions,
    manifest_name,
    read_manifest,
)
from hashdb.storage.mapping import Mapper
from hashdb.storage.reading import SegmentUnit, Unit, delete_files, open_model, open_segment, read_deletes
from hashdb.storage.sweeping import GRACE, age_of, folders_of, key_of, names_of, tables_of_folders
from hashdb.storage.tables import KIND, REMEDY, is_ours, open_table, table_entries
from hashdb.storage.versions import check_chain

Progress = Callable[[int, int], None]


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

    def note(self, error: HashDBError, path: Path) -> None:
        """Add a problem."""
        at = error.path if isinstance(error, FormatError) and error.path is not None else path
        self.problems.append((str(at), str(error)))


def verify(
    root: str | Path, *, version: int | None = None, deep: bool = False, progress: Progress | None = None
) -> VerifyReport:
    """Check an index and name everything that is wrong at once.

    Parameters
    ----------
    root : str or Path
        Folder of the index.
    version : int, optional
        Version to check, the newest that can be read by default. All manifests are checked in any case, and
        that none is missing between them.
    deep : bool
        Also compare the checksum of every file, read every array with zarr and compare it with our own reading, and
        check that ids ascend and padding bits are zero; and note old folders that no version names.
    progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    IndexNotFoundError
        There is no index.
    """
    root = Path(root)
    report = VerifyReport(deep=deep)
    try:
        attributes = folder.read_attributes(root)
    except FormatError as error:
        report.note(error, root / "zarr.json")
        return report
    found = folders_of(root) if deep and all((root / name).is_dir() for name in folder.GROUPS) else []
    found += tables_of_folders(found)
    manifest = _check_manifests(root, attributes, version, report)
    report.notes += _leftovers(root, found)
    if manifest is None:
        return report
    report.version = manifest.version
    mapper = Mapper(root)
    steps = list(_steps(mapper, manifest, attributes, report, deep))
    for done, (path, step) in enumerate(steps):
        try:
            with translated("read the index"):
                step()
        except (FormatError, VersionGoneError, StorageError) as error:
            report.note(error, path)
        if progress is not None:
            progress(done + 1, len(steps))
    # Several steps may meet the same damage.
    report.problems = list({said: (at, said) for at, said in reversed(report.problems)}.values())[::-1]
    return report


def _check_manifests(
    root: Path, attributes: folder.Attributes, version: int | None, report: VerifyReport
) -> Manifest | None:
    chosen = None
    manifests: dict[int, Manifest] = {}
    for number in list_versions(root):
        path = root / "manifests" / manifest_name(number)
        try:
            manifest = read_manifest(root, number)
            report.n_files += 1
            report.n_bytes += path.stat().st_size
            if manifest.index != attributes.uuid or manifest.root != attributes.digest:
                raise CorruptIndexError(f"{path} does not belong to {root / 'zarr.json'}", path)
        except FormatError as error:
            report.note(error, path)
            continue
        except FileNotFoundError:
            continue
        manifests[number] = manifest
        if version is None or number == version:
            chosen = manifest
    for broken in check_chain(root, manifests):
        report.note(broken, root / "manifests")
    if version is not None and chosen is None and not report.problems:
        raise VersionGoneError(f"{root} has no version {version}")
    return chosen


def _leftovers(root: Path, found: list[Path]) -> list[str]:
    used = {name for number in list_versions(root) for name in names_of(root, number, strict=False)} if found else set()
    unused = {path for path in found if key_of(path) not in used}
    return [
        f"{path} is named by no version: left over from a commit that failed, or a newer version was lost"
        for path in found
        # What is inside a folder that is left over goes without saying.
        if path in unused and not unused.intersection(path.parents) and age_of(path) > GRACE
    ]


Step = tuple[Path, Callable[[], None]]


def _steps(
    mapper: Mapper, manifest: Manifest, attributes: folder.Attributes, report: VerifyReport, deep: bool
) -> Iterator[Step]:
    root = mapper.root
    for name in folder.GROUPS:
        yield root / name / "zarr.json", partial(_check_group, root / name / "zarr.json", report)
    for entry in manifest.segments:
        where = root / "segments" / entry.uuid
        try:
            unit = open_segment(mapper, entry, attributes.id_kind, attributes.n_stored_bits)
        except HashDBError as error:
            report.note(error, where)
            continue
        yield from _unit_steps(unit, report, deep)
        if deep:
            yield where, partial(check_rows, unit)
        yield from _derived_steps(unit, entry, report, deep)
        for lists in entry.deletes:
            yield where, partial(_check_deletes, mapper, lists, entry.n, report, deep)
    if manifest.model is not None:
        try:
            model = open_model(mapper, manifest.model)[1]
        except HashDBError as error:
            report.note(error, root / "models" / manifest.model.uuid)
            return
        yield from _unit_steps(model, report, deep)


def _unit_steps(unit: Unit, report: VerifyReport, deep: bool) -> Iterator[Step]:
    for name in unit.files:
        # Metadata are small and always read; data only when asked.
        read = deep or name.endswith("zarr.json")
        yield unit.folder / name, partial(_check_file, unit, name, report, read)
    if deep:
        for name in unit.arrays:
            yield unit.folder / name, partial(compare, unit, name)


def _derived_steps(unit: SegmentUnit, entry: SegmentEntry, report: VerifyReport, deep: bool) -> Iterator[Step]:
    """Give the steps for the bucket tables of a segment, whose errors say that nothing is lost."""
    if not any(map(is_ours, entry.tables)):
        return
    where = unit.folder / KIND
    steps: list[Step] = [(where / "zarr.json", partial(_check_group, where / "zarr.json", report))]
    try:
        for named in table_entries(entry.tables, where):
            try:
                steps += _unit_steps(open_table(unit, named).unit, report, deep)
            except (FormatError, VersionGoneError, StorageError) as error:
                report.note(_derived(error), where / named.name)
    except CorruptIndexError as error:
        report.note(_derived(error), where)
    for path, step in steps:
        yield path, partial(_check_derived, step)


def _check_derived(step: Callable[[], None]) -> None:
    try:
        step()
    except (FormatError, VersionGoneError) as error:
        raise _derived(error) from error


def _derived(error: HashDBError) -> CorruptIndexError:
    return CorruptIndexError(f"{error}; {REMEDY}", error.path if isinstance(error, FormatError) else None)


def _check_group(path: Path, report: VerifyReport) -> None:
    report.n_bytes += check_group(path)
    report.n_files += 1


def _check_file(unit: Unit, name: str, report: VerifyReport, read: bool) -> None:
    unit.check_size(name)
    report.n_files += 1
    report.n_bytes += unit.files[name].size
    if read:
        unit.check_file(name)


def _check_deletes(mapper: Mapper, entry: DeleteEntry, n: int, report: VerifyReport, deep: bool) -> None:
    rows = read_deletes(mapper, entry, n)
    check_delete_metadata(mapper, entry)
    report.n_files += 3
    report.n_bytes += rows.nbytes
    if deep:
        where = mapper.root / "deletes" / entry.uuid / "rows"
        same(where, zarr_array(where, delete_files(entry)[0]), [rows], entry.n)
