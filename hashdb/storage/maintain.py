"""Verifying an index: every document, file and row, and what no version names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from hashdb.errors import CorruptIndexError, FormatError, HashDBError, StorageError, VersionGoneError
from hashdb.storage import folder
from hashdb.storage.commit import crc32c, translated
from hashdb.storage.documents import MAX_DOCUMENT_BYTES, group_json
from hashdb.storage.layout import ArraySpec
from hashdb.storage.manifest import DeleteEntry, Manifest, list_versions, manifest_name, read_manifest
from hashdb.storage.mapping import Mapper, read_file
from hashdb.storage.reading import SegmentUnit, Unit, delete_files, open_model, open_segment, read_deletes
from hashdb.storage.snapshot import Snapshot
from hashdb.storage.sweeping import GRACE, age_of, folders_of, names_of
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


def check_full(snapshot: Snapshot, mapper: Mapper) -> None:
    """Read every file of a version and compare checksums.

    Raises
    ------
    CorruptIndexError
        Naming the first file that differs.
    """
    units: list[Unit] = [segment.unit for segment in snapshot.segments]
    if snapshot.manifest.model is not None:
        units.append(open_model(mapper, snapshot.manifest.model)[1])
    for unit in units:
        for name in unit.files:
            unit.check_file(name)
    for segment in snapshot.segments:
        for entry in segment.entry.deletes:
            read_deletes(mapper, entry, segment.n)
            _check_delete_metadata(mapper, entry)


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
    return [
        f"{path} is named by no version: left over from a commit that failed, or a newer version was lost"
        for path in found
        if path.name not in used and age_of(path) > GRACE
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
            yield where, partial(_check_rows, unit)
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
            yield unit.folder / name, partial(_compare, unit, name)


def _check_group(path: Path, report: VerifyReport) -> None:
    try:
        data = read_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        raise CorruptIndexError(f"{path} is missing", path) from None
    report.n_files += 1
    report.n_bytes += len(data)
    if data != group_json():
        raise CorruptIndexError(f"{path} is not that of a Zarr group", path)


def _check_file(unit: Unit, name: str, report: VerifyReport, read: bool) -> None:
    unit.check_size(name)
    report.n_files += 1
    report.n_bytes += unit.files[name].size
    if read:
        unit.check_file(name)


def _check_deletes(mapper: Mapper, entry: DeleteEntry, n: int, report: VerifyReport, deep: bool) -> None:
    rows = read_deletes(mapper, entry, n)
    _check_delete_metadata(mapper, entry)
    report.n_files += 3
    report.n_bytes += rows.nbytes
    if deep:
        where = mapper.root / "deletes" / entry.uuid / "rows"
        _same(where, _zarr_array(where, delete_files(entry)[0]), [rows], entry.n)


def _check_delete_metadata(mapper: Mapper, entry: DeleteEntry) -> None:
    where = mapper.root / "deletes" / entry.uuid
    for path, expected in (
        (where / "zarr.json", group_json()),
        (where / "rows" / "zarr.json", delete_files(entry)[0].zarr_json()),
    ):
        data, _ = mapper.open(path, len(expected), entry.uuid)
        if crc32c(data) != crc32c(expected):
            raise CorruptIndexError(f"{path} was altered or damaged", path)


def _check_rows(unit: SegmentUnit) -> None:
    """Check what a segment promises about its rows: ids ascend, padding bits are zero."""
    padding = unit.n_bits % 64
    if padding:
        for block in unit.blocks("codes"):
            if bool((block[:, -1] >> np.uint64(padding)).any()):
                raise CorruptIndexError(f"{unit.folder / 'codes'} has bits set past bit {unit.n_bits - 1}", unit.folder)
    if not unit.stores_ids:
        return
    column = unit.column(None)
    for start in range(0, unit.n - 1, 1 << 16):
        keys = column.keys(start, min(start + (1 << 16) + 1, unit.n))
        if not bool((keys[:-1] < keys[1:]).all()):
            raise CorruptIndexError(f"{unit.folder}: ids are not in ascending order", unit.folder)


def _compare(unit: Unit, name: str) -> None:
    """Read an array with zarr and compare it with our own reading, bit for bit."""
    spec = unit.arrays[name]
    _same(unit.folder / name, _zarr_array(unit.folder / name, spec), unit.blocks(name), spec.chunk_rows)


def _zarr_array(path: Path, spec: ArraySpec) -> object:
    # Only here: zarr costs a quarter of a second to import, and this is the one use that wants another's reading.
    import zarr

    try:
        array = zarr.open_array(path, mode="r")
    except Exception as error:
        raise CorruptIndexError(f"{path} cannot be opened with zarr: {str(error)[:200]}", path) from error
    if tuple(array.shape) != spec.shape or str(array.dtype) != spec.dtype:
        raise CorruptIndexError(
            f"{path} is {array.dtype} {array.shape} to zarr, expected {spec.dtype} {spec.shape}", path
        )
    return array


def _same(path: Path, array: object, blocks: list[np.ndarray], rows: int) -> None:
    for index, block in enumerate(blocks):
        part = slice(index * rows, index * rows + len(block)) if block.ndim else ()
        try:
            other = np.ascontiguousarray(array[part])  # type: ignore[index]
        except Exception as error:
            raise CorruptIndexError(f"{path} cannot be read with zarr: {str(error)[:200]}", path) from error
        if other.tobytes() != np.ascontiguousarray(block).tobytes():
            raise CorruptIndexError(f"{path} reads otherwise with zarr", path)
