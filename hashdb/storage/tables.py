"""Bucket tables of a segment: derived data under ``segments/<uuid>/buckets/<name>``, one folder a table.

Storage knows that a table has a description and arrays of one chunk; what they mean is the search layer's. A table that
is missing or damaged is never an error: :class:`SegmentTables` then has none, and says why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hashdb.errors import CorruptIndexError, FormatError, VersionGoneError
from hashdb.forks import lock_of
from hashdb.storage.documents import FORMAT, Fields, canonical
from hashdb.storage.reading import SegmentUnit, Unit, read_document

log = logging.getLogger(__name__)

KIND = "buckets"
MAX_TABLES = 64
MAX_ARRAYS = 16
TABLE_NAME = re.compile(r"0|[1-9][0-9]{0,8}")
ARRAY_NAME = re.compile(r"[a-z_]{1,64}")
REMEDY = "bucket tables are derived data: searches scan the segment instead, and `hashdb compact` rebuilds them"

Progress = Callable[[int, int], None]


class TableSink(Protocol):
    """Takes one table. Different sinks may be used from different threads at once."""

    def append(self, name: str, rows: np.ndarray) -> None:
        """Append the next rows of an array; the first call fixes its dtype and the shape of a row."""

    def finish(self, description: dict[str, Any]) -> None:
        """Complete the table; `description` is JSON."""


class TableMaker(Protocol):
    """Makes the tables of a segment; given to a store by the layer that searches them."""

    def wants(self, n: int, n_bits: int, present: list[dict[str, Any]] | None) -> bool:
        """Tell whether a segment should get new tables.

        Parameters
        ----------
        n, n_bits : int
            Rows of the segment, width of a code.
        present : list of dict or None
            Descriptions of the tables that it has; None where there are none that can be used.
        """

    def drops(self, n: int, n_bits: int) -> bool:
        """Tell whether a segment that gets no new tables should lose those that it has."""

    def make(
        self,
        blocks: Sequence[np.ndarray],
        n_bits: int,
        begin: Callable[[int], TableSink],
        progress: Progress | None = None,
    ) -> None:
        """Write the tables of a segment.

        Every thread that writes to a sink must have ended when this returns or raises.

        Parameters
        ----------
        blocks : sequence of ndarray of uint64, shape (m, n_words)
            The codes in row order, read-only.
        n_bits : int
            Width of a code.
        begin : callable
            Begins table s = 0, 1, …, each once; may be called from any thread. A sink holds a file open for each array.
        progress : callable, optional
            Called with (done, total).
        """


@dataclass(frozen=True)
class TableEntry:
    """A table as the manifest names it: folder ``buckets/<name>``, SHA-256 of its ``table.json``."""

    name: str
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the form that manifests hold."""
        return {"kind": KIND, "name": self.name, "digest": self.digest}

    @classmethod
    def from_json(cls, document: object, path: Path) -> TableEntry:
        """Read and check what :meth:`to_json` wrote."""
        fields = Fields(document, path, "tables.")
        fields.only("kind", "name", "digest")
        return cls(fields.text("name", TABLE_NAME), fields.digest())


def is_ours(described: dict[str, Any]) -> bool:
    """Whether an object of a manifest's `tables` describes a bucket table; others are kept as they are."""
    return described.get("kind") == KIND


def table_entries(objects: Sequence[dict[str, Any]], path: Path) -> list[TableEntry]:
    """Return the bucket tables among a manifest's `tables`.

    Raises
    ------
    CorruptIndexError
        One is not what it should be; `path` is named.
    """
    entries = [TableEntry.from_json(described, path) for described in objects if is_ours(described)]
    if len({entry.name for entry in entries}) != len(entries):
        raise CorruptIndexError(f"{path}: the manifest names one table twice", path)
    return entries


class BucketTable:
    """One table, as published.

    Attributes
    ----------
    description : dict
        What the search layer stored with it.
    unit : Unit
        Its folder.
    n_bytes : int
        Bytes on disk.
    """

    def __init__(self, unit: Unit, description: dict[str, Any], n_bytes: int) -> None:
        self.unit = unit
        self.description = description
        self.n_bytes = n_bytes
        self._arrays: dict[str, np.ndarray] | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name: read-only, C-contiguous, mapped where large. Nothing in them has been range-checked."""
        if self._arrays is not None:
            return self._arrays
        arrays = {name: self.unit.whole(name) for name in self.unit.arrays}
        if self.unit.mapper.keeps_all:
            self._arrays = arrays
        return arrays

    def release(self) -> None:
        """Let go of every file."""
        self._arrays = None
        self.unit.release()


def open_table(segment: SegmentUnit, entry: TableEntry) -> BucketTable:
    """Read the document of a table and check it against the manifest and its segment; no other file is looked at.

    Raises
    ------
    CorruptIndexError, VersionGoneError
        It is missing, altered, another segment's, or not consistent in itself.
    """
    path = segment.folder / KIND / entry.name / "table.json"
    document = read_document(segment.mapper.root, path, segment.uuid, entry.digest)
    fields = Fields(document, path)
    fields.only("format", "uuid", "name", "n", "n_bits", "description", "arrays", "files")
    fields.integer("format", FORMAT, FORMAT)
    if fields.text("name", TABLE_NAME) != entry.name:
        raise fields.wrong("name", f"the folder's name, {entry.name}")
    fields.integer("n", segment.n, segment.n)
    fields.integer("n_bits", segment.n_bits, segment.n_bits)
    if not 1 <= len(fields.table("arrays")) <= MAX_ARRAYS:
        raise fields.wrong("arrays", f"1 to {MAX_ARRAYS} arrays")
    unit = Unit(segment.mapper, path.parent, document, path, owner=segment.uuid)
    for name, spec in unit.arrays.items():
        if not ARRAY_NAME.fullmatch(name) or not spec.shape or spec.shape[0] > spec.chunk_rows:
            raise CorruptIndexError(f"{path}: array {name} is no array of rows in one chunk", path)
    n_bytes = len(canonical(document)) + sum(file.size for file in unit.files.values())
    return BucketTable(unit, fields.table("description"), n_bytes)


class TableSet:
    """The tables of a segment, all of which can be used.

    Attributes
    ----------
    tables : tuple of BucketTable
        In the order of the manifest.
    n_bytes : int
        Their bytes on disk.
    problem : str or None
        Why they are not used any more.
    """

    def __init__(self, segment: SegmentUnit, tables: tuple[BucketTable, ...]) -> None:
        self.tables = tables
        self.n_bytes = sum(table.n_bytes for table in tables)
        self.problem: str | None = None
        self._segment = segment
        self._lock = lock_of(self)

    def disable(self, reason: str) -> None:
        """Say that a table was found damaged: from now on the segment has none, and `reason` is why."""
        with self._lock:
            if self.problem is not None:
                return
            self.problem = reason
        warn(self._segment, reason)


def warn(segment: SegmentUnit, reason: str) -> None:
    """Log that the tables of a segment cannot be used."""
    if not segment.mapper.quiet:
        log.warning("the bucket tables of segment %s cannot be used: %s; %s", segment.uuid, reason, REMEDY)


class SegmentTables:
    """The tables that a version names for a segment, looked at when first asked for; shared by snapshots.

    Parameters
    ----------
    segment : SegmentUnit
        The segment.
    objects : sequence of dict
        `tables` of the manifest's entry.
    """

    def __init__(self, segment: SegmentUnit, objects: Sequence[dict[str, Any]]) -> None:
        self._segment = segment
        self._objects = tuple(objects)
        self._lock = lock_of(self)
        self._looked = False
        self._found: TableSet | None = None
        self._problem: str | None = None
        self._n_bytes = 0
        self._checked = False

    @property
    def usable(self) -> TableSet | None:
        """The tables; None where there are none, or where one is missing or damaged. Never raises for damage."""
        found = self._look()
        return found if found is not None and found.problem is None else None

    @property
    def problem(self) -> str | None:
        """Why tables that the manifest names cannot be used, in one line; None where they can, or there are none."""
        found = self._look()
        return self._problem if found is None else found.problem

    @property
    def n_bytes(self) -> int:
        """Bytes on disk of the tables whose document can be read."""
        self._look()
        return self._n_bytes

    def check(self) -> None:
        """Compare the checksum of every file, once; tables that are damaged are not used from then on."""
        with self._lock:
            found = self.usable
            if found is None or self._checked:
                return
            try:
                for table in found.tables:
                    for name in table.unit.files:
                        table.unit.check_file(name)
            except (FormatError, VersionGoneError, OSError) as error:
                found.disable(str(error))
            self._checked = True

    def release(self) -> None:
        """Let go of every file; what comes to be asked for is looked at anew."""
        with self._lock:
            found, self._found, self._looked, self._checked = self._found, None, False, False
            self._problem, self._n_bytes = None, 0
        for table in found.tables if found is not None else ():
            table.release()

    def _look(self) -> TableSet | None:
        with self._lock:
            if not self._looked:
                try:
                    self._found = self._open()
                except (FormatError, VersionGoneError, OSError) as error:
                    self._problem = str(error)
                    warn(self._segment, self._problem)
                self._looked = True
            return self._found

    def _open(self) -> TableSet | None:
        entries = table_entries(self._objects, self._segment.folder / KIND)
        tables, wrong = [], None
        for entry in entries:
            try:
                table = open_table(self._segment, entry)
                self._n_bytes += table.n_bytes
                for name in table.unit.files:
                    table.unit.check_size(name)
                if self._segment.mapper.maps_all:
                    _ = table.arrays  # a mapping outlives the file: what comes later cannot fail
                tables.append(table)
            except (FormatError, VersionGoneError, OSError) as error:
                wrong = wrong or error
        if wrong is not None:
            raise wrong
        return TableSet(self._segment, tuple(tables)) if tables else None


def tables_of(segment: SegmentUnit, objects: Sequence[dict[str, Any]]) -> SegmentTables:
    """Return the tables that a version names for a segment, the same for every snapshot that names the same ones."""
    key = canonical(list(objects))
    found = segment.shared.get(key)
    if not isinstance(found, SegmentTables):
        found = segment.shared[key] = SegmentTables(segment, objects)
    return found
