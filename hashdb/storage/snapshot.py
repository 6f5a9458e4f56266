"""One version of an index, as readers see it: segments with their ids and tombstones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hashdb.errors import ArgumentError, CorruptIndexError
from hashdb.storage.ids import BLOCK, IdColumn, Ids, normalise, to_users
from hashdb.storage.manifest import Manifest, SegmentEntry
from hashdb.storage.mapping import Mapper
from hashdb.storage.merge import Source, merge_windows
from hashdb.storage.reading import SegmentUnit, open_segment, read_deletes
from hashdb.storage.tables import SegmentTables, TableSet, is_ours, tables_of


class Segment:
    """One segment in one version. Cheap to make: files are opened when first touched.

    Attributes
    ----------
    uuid : str
        Name of its folder.
    n, n_alive : int
        Rows, and rows that are not deleted. Rows stand in ascending id order.
    modality : str or None
        Modality of the vectors behind the codes.
    database_codes : str
        "predicted" or "learned".
    """

    def __init__(self, unit: SegmentUnit, entry: SegmentEntry, id_kind: str) -> None:
        self.unit = unit
        self.entry = entry
        self.id_kind = id_kind
        self.uuid = entry.uuid
        self.n = entry.n
        self.n_alive = entry.n_alive
        self.modality = entry.modality
        self.database_codes = entry.database_codes
        self._deleted: np.ndarray | None = None
        # Held from the start, so that snapshots of one store hand what was looked at on to the next.
        self._tables: SegmentTables | None = None
        if any(map(is_ours, entry.tables)):
            self._tables = tables_of(unit, entry.tables)

    def __repr__(self) -> str:
        return f"<Segment {self.uuid[:8]}: {self.n_alive} of {self.n} rows>"

    @property
    def code_blocks(self) -> list[np.ndarray]:
        """Codes in row order, as uint64 arrays (m, n_words), mapped and read-only.

        Use them and let go: on some systems a mapping holds a file descriptor as long as its array lives.
        """
        return self.unit.blocks("codes")

    @property
    def ids(self) -> IdColumn:
        """The column of ids; let go of it after use."""
        return self.unit.column(self.entry.first_id)

    @property
    def vectors(self) -> tuple[str, int] | None:
        """Dtype and dimension of the stored vectors, None where there are none."""
        return self.unit.vectors

    @property
    def deleted(self) -> np.ndarray | None:
        """Deleted rows as a bitmap, uint64 (ceil(n / 64),): bit ``row % 64`` of word ``row // 64``; None for none."""
        if self._deleted is None and self.entry.deletes:
            bitmap = np.zeros((self.n + 63) // 64, np.uint64)
            for entry in self.entry.deletes:
                set_bits(bitmap, read_deletes(self.unit.mapper, entry, self.n))
            if int(np.bitwise_count(bitmap).sum(dtype=np.int64)) != self.n - self.n_alive:
                where = self.unit.mapper.root / "deletes"
                raise CorruptIndexError(f"{where}: two lists of segment {self.uuid} hold the same row", where)
            bitmap.flags.writeable = False
            self._deleted = bitmap
        return self._deleted

    @property
    def tables(self) -> TableSet | None:
        """The bucket tables, looked at when first asked for.

        None where the version names none, or where one is missing or damaged; `tables_problem` then says why. Never
        raises for damage.
        """
        return None if self._tables is None else self._tables.usable

    @property
    def tables_problem(self) -> str | None:
        """Why tables that the version names cannot be used, in one line; None where they can, or there are none."""
        return None if self._tables is None else self._tables.problem

    def check_tables(self) -> None:
        """Compare the checksums of the tables; damaged ones are not used from then on, and nothing is raised."""
        if self._tables is not None:
            self._tables.check()

    def release(self) -> None:
        """Let go of the segment's files; what is needed again is opened again."""
        self.unit.release()
        if self._tables is not None:
            self._tables.release()

    def alive(self, start: int, stop: int) -> np.ndarray | None:
        """Return which of the rows ``start..stop-1`` are not deleted, bool (stop - start,); None for all."""
        return None if self.deleted is None else ~self._is_deleted(np.arange(start, stop))

    def source(self) -> Source:
        """Return the segment as an input of a merge."""
        return Source(lambda: self.ids, self.n, self.alive)

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each array, of delete lists ("deletes") and, if any are named, of "tables"."""
        result = {name: sum(spec.file_entries(name).values()) for name, spec in self.unit.arrays.items()}
        result["deletes"] = sum(4 * entry.n for entry in self.entry.deletes)
        if self._tables is not None:
            result["tables"] = self._tables.n_bytes
        return result

    def ids_at(self, rows: np.ndarray) -> np.ndarray:
        """Return the ids of some rows, int64 or fixed-width unicode."""
        rows = self._checked(rows)
        return to_users(self.ids.take_keys(rows))

    def rows_of(self, ids: Ids) -> np.ndarray:
        """Return the row of each id, int64; -1 where it is absent or deleted."""
        return self.find(normalise(ids, self.id_kind))

    def find(self, wanted: IdColumn) -> np.ndarray:
        """Return the row of each id of a column in memory, int64; -1 where it is absent or deleted."""
        column = self.ids
        rows = np.empty(wanted.n, np.int64)
        for start in range(0, wanted.n, BLOCK):
            stop = min(start + BLOCK, wanted.n)
            rows[start:stop] = column.find(wanted.keys(start, stop))
        if self.deleted is not None:
            rows[(rows >= 0) & self._is_deleted(np.maximum(rows, 0))] = -1
        return rows

    def codes_at(self, rows: np.ndarray) -> np.ndarray:
        """Return the codes of some rows, uint64 (m, n_words)."""
        return self.unit.gather("codes", rows)

    def vectors_at(self, rows: np.ndarray) -> np.ndarray:
        """Return the stored vectors of some rows, (m, dim), as stored: float32, float16 or int8.

        Raises
        ------
        ArgumentError
            The segment stores no vectors.
        """
        if self.vectors is None:
            raise ArgumentError("this index stores no vectors; build it with store_vectors to have them")
        return self.unit.gather("vectors", rows)

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, np.int64)
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise ArgumentError(f"rows go from {rows.min()} to {rows.max()}, the segment has {self.n}")
        return rows

    def _is_deleted(self, rows: np.ndarray) -> np.ndarray:
        bitmap = self.deleted
        if bitmap is None:
            return np.zeros(len(rows), bool)
        bits = bitmap[rows >> 6] >> (rows & 63).astype(np.uint64)
        return np.asarray(bits & np.uint64(1), bool)


def set_bits(bitmap: np.ndarray, rows: np.ndarray) -> None:
    """Set the bits of ascending rows in a uint64 bitmap."""
    words = rows >> 6
    starts = np.flatnonzero(np.concatenate([[True], words[1:] != words[:-1]]))
    bits = np.uint64(1) << (rows & 63).astype(np.uint64)
    bitmap[words[starts]] |= np.bitwise_or.reduceat(bits, starts)


class Snapshot:
    """One version of an index. Never changes.

    Attributes
    ----------
    version : int
        Its number; 0 for a build that is not committed.
    manifest : Manifest
        What it consists of.
    segments : tuple of Segment
        In the order of the manifest.
    n_rows : int
        Rows that are not deleted.
    next_id : int
        Id that the next row added without ids gets.
    id_kind : str
        "int64" or "string".
    n_stored_bits : int
        Width of a code.
    """

    def __init__(self, manifest: Manifest, segments: tuple[Segment, ...], id_kind: str, n_stored_bits: int) -> None:
        self.manifest = manifest
        self.version = manifest.version
        self.segments = segments
        self.id_kind = id_kind
        self.n_stored_bits = n_stored_bits
        self.n_rows = manifest.n_rows
        self.next_id = manifest.next_id

    def __repr__(self) -> str:
        return f"<Snapshot {self.version}: {self.n_rows} rows in {len(self.segments)} segments>"

    def rows_of(self, ids: Ids) -> tuple[np.ndarray, np.ndarray]:
        """Find ids.

        Parameters
        ----------
        ids : integer array, array of unicode, or sequence
            Ids to find.

        Returns
        -------
        segments : ndarray of int64, shape (n,)
            Index into `segments`, -1 where the id is not in this version.
        rows : ndarray of int64, shape (n,)
            Row in that segment, -1 likewise.

        Raises
        ------
        ArgumentError
            Ids of the wrong kind.
        """
        return self.find(normalise(ids, self.id_kind))

    def find(self, wanted: IdColumn) -> tuple[np.ndarray, np.ndarray]:
        """Find the ids of a column in memory; as :meth:`rows_of`."""
        segments = np.full(wanted.n, -1, np.int64)
        rows = np.full(wanted.n, -1, np.int64)
        for index, segment in enumerate(self.segments):
            found = segment.find(wanted)
            mine = found >= 0
            segments[mine] = index
            rows[mine] = found[mine]
        return segments, rows

    def iter_id_order(self, batch: int = 1 << 16) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give all rows that are not deleted, by ascending id.

        Parameters
        ----------
        batch : int
            Rows a batch holds at most.

        Yields
        ------
        ids : ndarray of int64 or unicode, shape (m,)
            Ids, ascending over all batches (strings by their UTF-8 bytes).
        codes : ndarray of uint64, shape (m, n_words)
            Their codes.
        """
        for window in merge_windows([segment.source() for segment in self.segments], batch):
            parts = [self.segments[part.source].codes_at(part.rows) for part in window.parts]
            codes = parts[0] if len(parts) == 1 else np.concatenate(parts)
            yield to_users(window.keys), codes if window.order is None else codes[window.order]


def load_snapshot(
    manifest: Manifest, mapper: Mapper, id_kind: str, n_bits: int, known: dict[str, SegmentUnit]
) -> Snapshot:
    """Open the segments of a manifest; `known` has folders that were read before."""
    units = {
        entry.uuid: known.get(entry.uuid) or open_segment(mapper, entry, id_kind, n_bits) for entry in manifest.segments
    }
    segments = tuple(Segment(units[entry.uuid], entry, id_kind) for entry in manifest.segments)
    return Snapshot(manifest, segments, id_kind, n_bits)
