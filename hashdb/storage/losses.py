"""What a repair says: what it did, and what cannot be saved, by id as far as the ids can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hashdb.errors import FormatError, HashDBError
from hashdb.storage.ids import IdColumn, IntColumn, RangeColumn, StringColumn, to_users
from hashdb.storage.manifest import DeleteEntry, Manifest, SegmentEntry, manifest_name
from hashdb.storage.mapping import Mapper, read_file
from hashdb.storage.reading import read_deletes
from hashdb.storage.restoring import Damage

_UUIDS = re.compile(rb'"uuid":"([0-9a-f]{32})"')


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
    """

    version: int | None = None
    committed: bool = False
    dry_run: bool = False
    dropped: bool = False
    restored: list[tuple[str, str]] = field(default_factory=list)
    renewed: list[tuple[str, str]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

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
    root: Path, damaged: dict[int, tuple[str, bytes]], newest: Manifest, numbers: list[int], id_kind: str
) -> list[Loss]:
    """Say what is lost by giving up versions.

    Parameters
    ----------
    root : Path
        Folder of the index.
    damaged : dict
        Number, and (what is wrong, content) of each; content is empty where the manifest itself is sound.
    newest : Manifest
        The newest version that is sound.
    numbers : list of int
        All versions that go.
    id_kind : str
        Kind of ids.
    """
    if not numbers:
        return []
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
        *_rows_since(root, (data for _, data in back.values()), newest, id_kind),
    ]


def _rows_since(root: Path, contents: Iterable[bytes], newest: Manifest, id_kind: str) -> list[Loss]:
    """Say which rows were added in versions that cannot be read, by the segments that their manifests name."""
    known = {entry.uuid for entry in newest.segments}
    found = []
    named = dict.fromkeys(name.decode() for data in contents for name in _UUIDS.findall(data))
    for name in [name for name in named if name not in known]:
        folder = root / "segments" / name
        try:
            n = (folder / "ids/c/0").stat().st_size // 8 if id_kind == "int64" else _n_strings(folder)
        except OSError:
            continue
        column = _column(folder, SegmentEntry(name, n, None, ""), id_kind)
        if column is not None:
            goes = "its rows were added since, or moved here, and those are lost that the older version does not have"
            try:
                ids = to_users(column.take_keys(np.arange(n)))
            except FormatError:
                continue
            found.append(Loss("rows", str(folder), f"{folder} is named by a damaged manifest: {goes}", n, ids, False))
    return found


def _n_strings(folder: Path) -> int:
    return max(0, (folder / "id_offsets/c/0").stat().st_size // 8 - 1)
