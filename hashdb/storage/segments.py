"""Writing segments: new folders that nobody refers to until a commit does. Rows stand in ascending id order."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from hashdb.errors import ArgumentError
from hashdb.storage.commit import Files, Staging, translated
from hashdb.storage.documents import FORMAT, canonical, digest, group_json
from hashdb.storage.ids import IdColumn, Ids, IntColumn, normalise, sorting_order
from hashdb.storage.layout import CHUNK_BYTES, MAX_ROWS, ArrayWriter, FileEntry, rows_per_chunk
from hashdb.storage.manifest import MAX_MODALITY, POLICIES
from hashdb.storage.mapping import Mapper
from hashdb.storage.ordering import IdSink, Rearranger
from hashdb.storage.reading import SegmentUnit
from hashdb.storage.table_writing import TableBatch
from hashdb.storage.tables import Progress, TableMaker

VECTOR_DTYPES = ("float32", "float16", "int8")


@dataclass
class NewSegment:
    """A segment on disk that no version refers to yet.

    Attributes
    ----------
    uuid : str
        Its folder.
    n : int
        Rows; with 0 there is no folder.
    document, digest
        Its ``segment.json``, and that file's SHA-256.
    first_id : int or None
        Id of row 0 where explicit ids turned out to be one contiguous range.
    given_ids : IdColumn or None
        Ids as the caller gave them, in the order of the input; None for automatic ids.
    tables : tuple of dict
        Its bucket tables, as the manifest will name them.
    """

    uuid: str
    n: int
    document: dict[str, Any]
    digest: str
    first_id: int | None
    given_ids: IdColumn | None
    modality: str | None
    database_codes: str
    tables: tuple[dict[str, Any], ...] = ()
    staging: Staging | None = None
    committed: bool = False

    def discard(self) -> None:
        """Remove its files. Only for a segment that was never committed."""
        if self.staging is not None and not self.committed:
            self.staging.discard()


@dataclass(frozen=True)
class Sizes:
    """Sizes that tests make small.

    Attributes
    ----------
    chunk_bytes : int
        Largest chunk file.
    bucket_bytes : int
        Bytes put into id order at a time.
    merge_rows : int
        Rows merged at a time, at most.
    """

    chunk_bytes: int = CHUNK_BYTES
    bucket_bytes: int = 64 << 20
    merge_rows: int = 1 << 18


@dataclass(frozen=True)
class SegmentPlan:
    """What the rows of a new segment are.

    Attributes
    ----------
    n_bits : int
        Width of a code; padding bits must be zero.
    id_kind : str
        "int64" or "string".
    vectors : (str, int) or None
        dtype and dimension of the stored vectors.
    modality, database_codes
        As in the manifest.
    n_rows : int or None
        Rows to come, where known: chunks can then be equal.
    maker : TableMaker or None
        Makes the bucket tables.
    """

    n_bits: int
    id_kind: str
    sizes: Sizes
    vectors: tuple[DTypeLike, int] | None = None
    modality: str | None = None
    database_codes: str = "predicted"
    n_rows: int | None = None
    maker: TableMaker | None = None

    def __post_init__(self) -> None:
        if self.database_codes not in POLICIES:
            raise ArgumentError(f"database_codes is {self.database_codes!r:.40}, expected 'predicted' or 'learned'")
        if self.modality is not None and not 1 <= len(self.modality) <= MAX_MODALITY:
            raise ArgumentError(f"modality has {len(self.modality)} characters, expected 1 to {MAX_MODALITY}")
        if self.vectors is not None:
            dtype, dim = np.dtype(self.vectors[0]).name, int(self.vectors[1])
            if dtype not in VECTOR_DTYPES or dim < 1:
                raise ArgumentError(f"vectors of {dtype} and dimension {dim} cannot be stored; use {VECTOR_DTYPES}")
            object.__setattr__(self, "vectors", (dtype, dim))

    @property
    def n_words(self) -> int:
        """Words of a code."""
        return (self.n_bits + 63) // 64


class OrderedWriter:
    """Writes one segment whose rows come in ascending id order, each with its key."""

    def __init__(self, files: Files, mapper: Mapper, plan: SegmentPlan) -> None:
        self.plan = plan
        self.uuid = uuid.uuid4().hex
        self.n = 0
        self.staging = Staging(files, mapper.root / "segments" / self.uuid)
        self._mapper = mapper
        rows = rows_per_chunk(8 * plan.n_words, plan.n_rows, plan.sizes.chunk_bytes)
        self._codes = ArrayWriter(self.staging, "codes", "uint64", (plan.n_words,), rows)
        self._vectors: ArrayWriter | None = None
        if plan.vectors is not None:
            dtype, dim = plan.vectors
            rows = rows_per_chunk(np.dtype(dtype).itemsize * dim, plan.n_rows, plan.sizes.chunk_bytes)
            self._vectors = ArrayWriter(self.staging, "vectors", np.dtype(dtype).name, (dim,), rows)
        self._ids = IdSink(self.staging, plan.id_kind)

    def append_codes(self, codes: np.ndarray) -> None:
        """Append codes, uint64 (m, n_words)."""
        self.n += len(codes)
        if self.n > MAX_ROWS:
            raise ArgumentError(f"a segment holds at most {MAX_ROWS} rows; add the rows in several calls")
        self._codes.append(codes)

    def append_vectors(self, vectors: np.ndarray) -> None:
        """Append the vectors of rows, (m, dim)."""
        if self._vectors is not None:
            self._vectors.append(vectors)

    def append_keys(self, keys: np.ndarray) -> None:
        """Append the keys of rows; left out altogether for automatic ids."""
        self._ids.append(keys)

    def finish(self, given_ids: IdColumn | None, progress: Progress | None = None) -> NewSegment:
        """Complete the segment and its tables, and flush them; `progress` tells how far the tables are."""
        plan = self.plan
        if self.n == 0:
            self.staging.discard()
            return NewSegment(self.uuid, 0, {}, "", None, given_ids, plan.modality, plan.database_codes)
        written = [(self._codes, self._codes.finish()), *self._ids.finish()]
        if self._vectors is not None:
            written.append((self._vectors, self._vectors.finish()))
        group = group_json()
        self.staging.write_file("zarr.json", group)
        entries = {"zarr.json": FileEntry.of(group)}
        for writer, _ in written:
            entries.update(writer.entries)
        document = {
            "format": FORMAT,
            "uuid": self.uuid,
            "n": self.n,
            "n_bits": plan.n_bits,
            "arrays": {writer.name: spec.to_json() for writer, spec in written},
            "files": {name: entry.to_json() for name, entry in entries.items()},
        }
        data = canonical(document)
        self.staging.write_file("segment.json", data)
        self.staging.sync()
        first_id = self._ids.first if self._ids.contiguous else None
        return NewSegment(
            *(self.uuid, self.n, document, digest(data), first_id, given_ids, plan.modality, plan.database_codes),
            tables=self._write_tables(document, progress),
            staging=self.staging,
        )

    def _write_tables(self, document: dict[str, Any], progress: Progress | None) -> tuple[dict[str, Any], ...]:
        plan = self.plan
        if plan.maker is None or not plan.maker.wants(self.n, plan.n_bits, None):
            return ()
        root = self.staging.root
        batch = TableBatch(
            self.staging.files, SegmentUnit(self._mapper, root, document, root / "segment.json", plan.id_kind)
        )
        batch.run(plan.maker, progress)
        return batch.entries


@dataclass
class SegmentWriter:
    """Takes the rows of a new segment in the order of the input; made by ``Store.new_segment``.

    Parameters
    ----------
    ordered : OrderedWriter
        Writes the rows once they are in order.
    ids : IdColumn or None
        Id of each row to come; None for automatic ids.
    order : ndarray of int64 or None
        Input row of each row of the segment; None where the ids are ascending.
    """

    ordered: OrderedWriter
    ids: IdColumn | None
    order: np.ndarray | None
    n_rows: int = 0
    _codes: Rearranger | None = field(default=None, repr=False)
    _vectors: Rearranger | None = field(default=None, repr=False)

    def append(self, codes: np.ndarray, vectors: np.ndarray | None = None) -> None:
        """Append rows.

        Parameters
        ----------
        codes : ndarray of uint64, shape (m, n_words)
            Packed codes, padding bits zero.
        vectors : ndarray, shape (m, dim), optional
            Vectors to store, of the dtype and dimension announced.

        Raises
        ------
        ArgumentError
            Wrong dtype, shape or padding, or more rows than ids.
        StorageError
            The file system refuses; everything written is removed.
        """
        self._check(codes, vectors)
        with self._all_or_nothing():
            self._append(codes, vectors)
            self.n_rows += len(codes)

    def _append(self, codes: np.ndarray, vectors: np.ndarray | None) -> None:
        if not len(codes):
            return
        if self.order is None:
            self.ordered.append_codes(codes)
            if vectors is not None:
                self.ordered.append_vectors(vectors)
            return
        staging, bucket_bytes = self.ordered.staging, self.ordered.plan.sizes.bucket_bytes
        if self._codes is None:
            self._codes = Rearranger(staging, "codes", self.order, codes[0], bucket_bytes)
            if vectors is not None:
                self._vectors = Rearranger(staging, "vectors", self.order, vectors[0], bucket_bytes)
        self._codes.add(codes)
        if self._vectors is not None and vectors is not None:
            self._vectors.add(vectors)

    def finish(self, progress: Progress | None = None) -> NewSegment:
        """Put the rows in order, complete every file, make the bucket tables, and flush everything.

        Parameters
        ----------
        progress : callable, optional
            Called with (done, total) while bucket tables are made.

        Raises
        ------
        ArgumentError
            Fewer rows than ids.
        """
        with self._all_or_nothing():
            if self.ids is not None and self.ids.n != self.n_rows:
                raise ArgumentError(f"{self.ids.n} ids for {self.n_rows} rows; give one id for every row")
            if self._codes is not None:
                for block in self._codes.blocks():
                    self.ordered.append_codes(block)
            if self._vectors is not None:
                for block in self._vectors.blocks():
                    self.ordered.append_vectors(block)
            self._append_keys()
            return self.ordered.finish(self.ids, progress)

    def abort(self) -> None:
        """Remove everything written; the writer is of no use afterwards."""
        self.ordered.staging.discard()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            with translated(f"write rows to {self.ordered.staging.root.parent.parent}"):
                yield
        except BaseException:
            self.abort()
            raise

    def _append_keys(self) -> None:
        if self.ids is None:
            return
        for start in range(0, self.ids.n, 1 << 16):
            stop = min(start + (1 << 16), self.ids.n)
            keys = self.ids.keys(start, stop) if self.order is None else self.ids.take_keys(self.order[start:stop])
            self.ordered.append_keys(keys)

    def _check(self, codes: np.ndarray, vectors: np.ndarray | None) -> None:
        plan = self.ordered.plan
        if codes.dtype != np.uint64 or codes.ndim != 2 or codes.shape[1] != plan.n_words:
            raise ArgumentError(
                f"codes are {codes.dtype} of shape {codes.shape}, expected uint64 (n, {plan.n_words}) "
                f"for {plan.n_bits} bits"
            )
        padding = plan.n_bits % 64
        if padding and bool((codes[:, -1] >> np.uint64(padding)).any()):
            raise ArgumentError(f"codes have bits set past bit {plan.n_bits - 1}; those must be zero")
        if (vectors is None) != (plan.vectors is None):
            raise ArgumentError(f"this segment stores {'no ' if plan.vectors is None else ''}vectors")
        if vectors is not None and plan.vectors is not None:
            dtype, dim = plan.vectors
            if vectors.dtype != np.dtype(dtype) or vectors.shape != (len(codes), dim):
                raise ArgumentError(
                    f"vectors are {vectors.dtype} {vectors.shape}, expected {dtype} {(len(codes), dim)}"
                )
        if self.ids is not None and self.n_rows + len(codes) > self.ids.n:
            raise ArgumentError(f"{self.ids.n} ids for more rows than that; give one id for every row")


def begin_segment(files: Files, mapper: Mapper, plan: SegmentPlan, ids: Ids | None) -> SegmentWriter:
    """Check ids and begin a segment.

    Raises
    ------
    ArgumentError, DuplicateIdError
        Ids of the wrong kind, none where they cannot be assigned, or one given twice.
    """
    column = None if ids is None else normalise(ids, plan.id_kind)
    if column is None and plan.id_kind == "string":
        raise ArgumentError("this index has string ids, which cannot be assigned; give ids= (--ids FILE)")
    order = None if column is None else sorting_order(column)
    if column is not None:
        plan = replace(plan, n_rows=column.n)
    return SegmentWriter(OrderedWriter(files, mapper, plan), column, order)


def largest_id(column: IdColumn) -> int | None:
    """Return the largest integer id of a column in memory, None for strings and for no ids."""
    if isinstance(column, IntColumn) and column.n:
        return int(column.values.max())
    return None
