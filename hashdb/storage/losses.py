"""What a repair says: what it did, and what cannot be saved, by id as far as the ids can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hashdb.errors import FormatError, HashDBError
from hashdb.storage.documents import MAX_DOCUMENT_BYTES, parse_document
from hashdb.storage.folder import Attributes
from hashdb.storage.ids import INT64_MAX, IdColumn, IntColumn, RangeColumn, StringColumn, to_users
from hashdb.storage.manifest import DeleteEntry, Manifest, SegmentEntry, manifest_name
from hashdb.storage.mapping import Mapper, read_file
from hashdb.storage.reading import SegmentUnit, read_deletes
from hashdb.storage.restoring import Damage

_UUIDS = re.compile(rb'"uuid":"([0-9a-f]{32})"')
_NEXT_ID = re.compile(rb'"next_id":([0-9]{1,19})[,}]')
# first_id, n and uuid of a segment without stored ids.
_RANGE = re.compile(
    rb'"first_id":(-?[0-9]{1,19}),"modality":(?:null|"(?:[^"\\]|\\.)*"),"n":([0-9]{1,10}),"tables":\[[^]]*\],'
    rb'"uuid":"([0-9a-f]{32})"'
)


@dataclass(frozen=True)
class Loss:
    """Something that cannot be saved.

    Attributes
    ----------
    what : str
        ``rows``; ``vectors`` of rows that stay, codes and ids; ``deletes``, whose rows come back; ``versions``; or
        ``index``, which nothing can be done about.
    file : str
        The file at fault, or the manifest of a version that needs it.
    message : str
        What is wrong with it and what goes, in one line.
    n_rows : int
        Rows concerned, at most.
    ids : ndarray of int64 or unicode, or None
        Their ids; None where they cannot be read.
    certain : bool
        Whether the ids are right: they may come from a damaged file, or from versions that cannot be read.
    """

    what: str
    file: str
    message: str
    n_rows: int = 0
    ids: np.ndarray | None = field(default=None, repr=False)
    certain: bool = True


@dataclass
class RepairReport:
    """What a repair did, or would do.

    Attributes
    ----------
    version : int or None
        The newest version afterwards, in a dry run the one that would be; None where none can be read.
    committed : bool
        Whether the repair made that version; in a dry run, whether it would.
    dry_run : bool
        Whether nothing was written.
    dropped : bool
        Whether the losses were given up, or would be; otherwise nothing of them was touched.
    restored : list of (str, str)
        File that was put back, and how its content is known.
    renewed : list of (str, str)
        Folder whose bucket tables were dropped or made anew, and why.
    losses : list of Loss
        What cannot be saved.
    problems : list of (str, str)
        File and what is wrong with it, as ``verify --deep`` finds it afterwards.
    verified : bool
        False where something was given up and the system did not let us look afterwards; ``problems`` says why.
    """

    version: int | None = None
    committed: bool = False
    dry_run: bool = False
    dropped: bool = False
    restored: list[tuple[str, str]] = field(default_factory=list)
    renewed: list[tuple[str, str]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    verified: bool = True

    @property
    def ok(self) -> bool:
        """Whether the index is whole now; after a dry run, whether it would be."""
        return not self.losses or self.dropped if self.dry_run else not self.problems


def lost_rows(damage: Damage) -> np.ndarray:
    """Return the rows of a segment that are lost, deleted ones included, as a bool mask (n,)."""
    rows = np.zeros(damage.entry.n, bool)
    if damage.unit is None or any(not name.startswith(("codes/c/", "vectors/c/")) for name in damage.broken):
        rows[:] = True
    else:
        _mark(rows, damage, "codes")
    return rows


def lost_vectors(damage: Damage) -> np.ndarray:
    """Return the rows that lose their vector only, as a bool mask (n,)."""
    rows = np.zeros(damage.entry.n, bool)
    _mark(rows, damage, "vectors")
    only: np.ndarray = rows & ~lost_rows(damage)
    return only


def _mark(rows: np.ndarray, damage: Damage, name: str) -> None:
    for number in damage.broken_chunks(name):
        if damage.unit is not None:
            step = damage.unit.arrays[name].chunk_rows
            rows[number * step : (number + 1) * step] = True


def losses_of(mapper: Mapper, damage: Damage, id_kind: str) -> list[Loss]:
    """Say what a segment loses."""
    entry, where = damage.entry, mapper.root / "segments" / damage.entry.uuid
    rows, vectors = lost_rows(damage), lost_vectors(damage)
    alive = _alive(mapper, damage)
    certain = not any(name.startswith("id") for name in damage.broken) and not damage.deletes
    certain = certain and (damage.unit is not None or entry.first_id is not None)
    column = _column(where, entry, id_kind)

    def loss(what: str, file: Path, problem: str, mask: np.ndarray, goes: str) -> Loss:
        chosen = np.flatnonzero(mask & alive)
        try:
            ids = None if column is None else to_users(column.take_keys(chosen))
        except FormatError:
            ids = None
        return Loss(what, str(file), f"{problem}: {goes}", len(chosen), ids, certain)

    found = []
    if rows.any():
        name = next((name for name in damage.broken if not name.startswith("vectors/c/")), "segment.json")
        problem = damage.document or damage.broken[name]
        found.append(loss("rows", where / name, problem, rows, "its rows are lost"))
    if vectors.any():
        name = next(name for name in damage.broken if name.startswith("vectors/c/"))
        goes = "these rows lose their vectors and stay; add them again (upsert) to re-rank by vectors"
        found.append(loss("vectors", where / name, damage.broken[name], vectors, goes))
    for lists in entry.deletes if not rows.all() else ():
        if lists.uuid in damage.deletes:
            found.append(_lost_deletes(mapper.root, damage, lists, column))
    return found


def _alive(mapper: Mapper, damage: Damage) -> np.ndarray:
    alive = np.ones(damage.entry.n, bool)
    for lists in damage.entry.deletes:
        if lists.uuid not in damage.deletes:
            alive[read_deletes(mapper, lists, damage.entry.n)] = False
    return alive


def _lost_deletes(root: Path, damage: Damage, lists: DeleteEntry, column: IdColumn | None) -> Loss:
    path = root / "deletes" / lists.uuid / "rows" / "c" / "0"
    ids = None
    rows = _array(path, "<u4", lists.n)
    if rows is not None and column is not None:
        rows = np.unique(rows[rows < damage.entry.n]).astype(np.int64)
        try:
            ids = to_users(column.take_keys(rows))
        except FormatError:
            ids = None
    goes = "rows that it deleted come back, but for those whose id is in the index again; delete them once more"
    return Loss("deletes", str(path), f"{damage.deletes[lists.uuid]}: {goes}", lists.n, ids, certain=False)


def _column(folder: Path, entry: SegmentEntry, id_kind: str) -> IdColumn | None:
    """Return the ids of a segment as its files have them, sound or not; None where they cannot be read."""
    if entry.first_id is not None:
        return RangeColumn(entry.first_id, entry.n)
    if id_kind == "int64":
        ids = _array(folder / "ids/c/0", "<i8", entry.n)
        return None if ids is None else IntColumn(ids)
    path = folder / "id_offsets/c/0"
    offsets, data = _array(path, "<i8", entry.n + 1), _array(folder / "id_bytes/c/0", "u1", None)
    try:
        return None if offsets is None or data is None else StringColumn(data, offsets, path)
    except FormatError:
        return None


def _array(path: Path, dtype: str, n: int | None) -> np.ndarray | None:
    try:
        data = read_file(path, path.lstat().st_size)
    except (OSError, HashDBError):
        return None
    width = np.dtype(dtype).itemsize
    return np.frombuffer(data, dtype) if n is None or len(data) == width * n else None


def lost_versions(
    mapper: Mapper,
    damaged: dict[int, tuple[str, bytes]],
    sound: dict[int, Manifest],
    numbers: list[int],
    attributes: Attributes,
) -> list[Loss]:
    """Say what is lost by giving up versions.

    Parameters
    ----------
    mapper : Mapper
        Opens the files.
    damaged : dict
        Number, and (what is wrong, content) of each; content is empty where the manifest itself is sound.
    sound : dict
        Number and manifest of the others.
    numbers : list of int
        All versions that go.
    attributes : Attributes
        Of the index.
    """
    if not numbers:
        return []
    root, newest = mapper.root, sound[max(sound)]
    shown = f"version {numbers[0]}" if len(numbers) == 1 else f"versions {numbers[0]} to {numbers[-1]}"
    back = {number: found for number, found in damaged.items() if number > newest.version}
    if not back and newest.version in numbers:
        file = root / "manifests" / manifest_name(newest.version)
        goes = f"giving it up removes {shown}; only the version without it is left"
        return [Loss("versions", str(file), f"version {newest.version} needs what is lost: {goes}")]
    first = min(damaged)
    file = root / "manifests" / manifest_name(max(damaged))
    if not back:
        goes = f"giving it up removes {shown}; the newest version loses nothing"
        return [Loss("versions", str(root / "manifests" / manifest_name(first)), f"{damaged[first][0]}: {goes}")]
    problem = back[max(back)][0]
    goes = (
        f"giving it up makes a new version of version {newest.version}, without the adds since and with what was "
        f"deleted since, and removes {shown}"
    )
    return [
        Loss("versions", str(file), f"{problem}: {goes}"),
        *(one.loss() for one in _added_since(mapper, damaged, sound, attributes)),
    ]


def next_id_after(
    mapper: Mapper, damaged: dict[int, tuple[str, bytes]], sound: dict[int, Manifest], attributes: Attributes
) -> int:
    """Return the automatic id to go on with after the newest sound version: beyond those of lost rows, if that is told.

    Parameters are those of :func:`lost_versions`.
    """
    newest = sound[max(sound)]
    if attributes.id_kind == "string":
        return newest.next_id
    added = _added_since(mapper, damaged, sound, attributes)
    most = max([newest.next_id, *(one.largest + 1 for one in added if one.largest is not None)])
    most += sum(one.n for one in added if one.is_range)
    said = [int(found) for data in _since(damaged, newest) for found in _NEXT_ID.findall(data)]
    said += [first_id + n for first_id, n in _ranges(_since(damaged, newest)).values()]
    return max(min(most, INT64_MAX + 1), *(one for one in [newest.next_id, *said] if one <= INT64_MAX + 1))


@dataclass(frozen=True)
class _Added:
    """A segment that no version has which can be read, and what it can be told to hold."""

    folder: Path
    is_named: bool  # by a damaged manifest, as far as that can be read
    is_range: bool
    n: int
    ids: np.ndarray | None
    largest: int | None  # of ids that fit their checksum

    def loss(self) -> Loss:
        by = "a damaged manifest" if self.is_named else "no manifest that can be read"
        goes = "its rows were added since, or moved here, and those are lost that the older version does not have"
        return Loss("rows", str(self.folder), f"{self.folder} is named by {by}: {goes}", self.n, self.ids, False)


def _added_since(
    mapper: Mapper, damaged: dict[int, tuple[str, bytes]], sound: dict[int, Manifest], attributes: Attributes
) -> list[_Added]:
    newest = sound[max(sound)]
    since = _since(damaged, newest)
    known = {entry.uuid for manifest in sound.values() for entry in manifest.segments}
    known |= _named(data for number, (_, data) in damaged.items() if number < newest.version)
    named, ranges, found = _named(since), _ranges(since), []
    for folder in sorted((mapper.root / "segments").glob("[0-9a-f]" * 32)):
        if folder.name not in known:
            one = _added(mapper, folder, folder.name in named, ranges.get(folder.name), attributes)
            found += [one] if one.n else []
    return found


def _added(
    mapper: Mapper, folder: Path, is_named: bool, said: tuple[int, int] | None, attributes: Attributes
) -> _Added:
    kind, unit = attributes.id_kind, _unit(mapper, folder, attributes.id_kind)
    is_range = not unit.stores_ids if unit is not None else kind == "int64" and not (folder / "ids").exists()
    # No digest proves what a document says of its rows: without files behind it they are not written out.
    backed = sum(map(_size, (folder / "codes/c").glob("*/0"))) // (8 * ((attributes.n_stored_bits + 63) // 64))
    n_ids = _size(folder / "ids/c/0") // 8 if kind == "int64" else _size(folder / "id_offsets/c/0") // 8 - 1
    n = max(n_ids, 0) or backed if unit is None else unit.n
    column: IdColumn | None = None
    if not is_range:
        column = _column(folder, SegmentEntry(folder.name, n, None, ""), kind)
    elif said is not None and said[1] == n <= backed and said[0] + n <= INT64_MAX + 1:
        column = RangeColumn(said[0], n)
    try:
        ids = None if column is None else to_users(column.take_keys(np.arange(n)))
    except FormatError:
        ids = None
    return _Added(folder, is_named, is_range, n, ids, None if unit is None else _largest(unit))


def _unit(mapper: Mapper, folder: Path, id_kind: str) -> SegmentUnit | None:
    path = folder / "segment.json"
    try:
        return SegmentUnit(mapper, folder, parse_document(read_file(path, MAX_DOCUMENT_BYTES), path), path, id_kind)
    except (FileNotFoundError, HashDBError):
        return None


def _largest(unit: SegmentUnit) -> int | None:
    if "ids" not in unit.arrays:
        return None
    try:
        unit.check_size("ids/c/0")
        unit.check_file("ids/c/0")
        return int(unit.whole("ids").max())
    except HashDBError:
        return None
    finally:
        unit.release()


def _since(damaged: dict[int, tuple[str, bytes]], newest: Manifest) -> list[bytes]:
    return [data for number, (_, data) in damaged.items() if number > newest.version]


def _named(contents: Iterable[bytes]) -> set[str]:
    return {name.decode() for data in contents for name in _UUIDS.findall(data)}


def _ranges(contents: Iterable[bytes]) -> dict[str, tuple[int, int]]:
    """Return (first id, rows) of segments without stored ids, by uuid."""
    found = (one for data in contents for one in _RANGE.findall(data))
    return {uuid.decode(): (int(first_id), int(n)) for first_id, n, uuid in found}


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
