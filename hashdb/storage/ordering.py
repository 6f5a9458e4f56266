"""Bringing rows into ascending id order, with bounded memory, and storing the ids.

Where the ids of a batch come in another order, rows are distributed over buckets of target rows as they arrive (one
scratch file, written once) and each bucket is put in order in memory at the end: reading and writing stay sequential.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hashdb.storage.commit import Staging
from hashdb.storage.ids import RangeColumn, StringColumn, from_keys
from hashdb.storage.layout import ArraySpec, ArrayWriter


class IdSink:
    """Takes ascending keys block by block; writes nothing as long as they are one contiguous range."""

    def __init__(self, staging: Staging, kind: str) -> None:
        self.n = 0
        self.first: int | None = None
        self.contiguous = kind == "int64"
        self._kind = kind
        self._next = 0
        self._staging = staging
        self._writers: list[ArrayWriter] = []

    def append(self, keys: np.ndarray) -> None:
        """Take the keys of the next rows."""
        if not len(keys):
            return
        if self._kind == "string":
            self._append_strings(keys)
        else:
            self._append_ints(keys)
        self.n += len(keys)

    def finish(self) -> list[tuple[ArrayWriter, ArraySpec]]:
        """Complete the arrays and return them; none for a range."""
        return [(writer, writer.finish()) for writer in self._writers]

    def _append_ints(self, keys: np.ndarray) -> None:
        if self.first is None:
            self.first = int(keys[0])
        if self.contiguous:
            if int(keys[-1]) - self.first == self.n + len(keys) - 1:
                return
            self.contiguous = False
            self._writers = [ArrayWriter(self._staging, "ids", "int64")]
            before = RangeColumn(self.first, self.n)
            for start in range(0, self.n, 1 << 20):
                self._writers[0].append(before.keys(start, min(start + (1 << 20), self.n)))
        self._writers[0].append(keys)

    def _append_strings(self, keys: np.ndarray) -> None:
        if not self._writers:
            self._writers = [
                ArrayWriter(self._staging, "id_bytes", "uint8"),
                ArrayWriter(self._staging, "id_offsets", "int64"),
            ]
            self._writers[1].append(np.zeros(1, np.int64))
        column = from_keys(keys)
        if isinstance(column, StringColumn):
            self._writers[0].append(column.data)
            self._writers[1].append(column.offsets[1:] + self._next)
            self._next += len(column.data)


class Rearranger:
    """Puts rows into another order: row i of what is added goes to place ``rank[i]``.

    Parameters
    ----------
    staging : Staging
        Folder for the scratch file.
    name : str
        Name of the array, for the scratch file.
    order : ndarray of int64, shape (n,)
        Input row of each place.
    row : ndarray
        An example row (dtype and shape).
    bucket_bytes : int
        Bytes put in order at a time.
    """

    def __init__(self, staging: Staging, name: str, order: np.ndarray, row: np.ndarray, bucket_bytes: int) -> None:
        self._staging = staging
        self._order = order
        self._rank = np.empty(len(order), np.int64)
        self._rank[order] = np.arange(len(order))
        self._dtype, self._row_shape, self._row_bytes = row.dtype, row.shape, max(1, row.nbytes)
        self._bucket_rows = max(1, bucket_bytes // self._row_bytes)
        self._filled = np.zeros(-(-len(order) // self._bucket_rows), np.int64)
        self._n_added = 0
        self._memory: np.ndarray | None = None
        self._path = staging.root / f"{name}.spool"
        self._handle: int | None = None
        if len(self._filled) > 1:
            self._handle = staging.create(f"{name}.spool")
        else:
            self._memory = np.empty((len(order), *self._row_shape), self._dtype)

    def add(self, block: np.ndarray) -> None:
        """Take the next rows of the input."""
        rank = self._rank[self._n_added : self._n_added + len(block)]
        self._n_added += len(block)
        if self._memory is not None:
            self._memory[rank] = block
            return
        buckets = rank // self._bucket_rows
        by_bucket = np.argsort(buckets, kind="stable")
        block = block[by_bucket]
        bounds = np.searchsorted(buckets[by_bucket], np.arange(len(self._filled) + 1))
        for bucket in np.flatnonzero(np.diff(bounds)):
            part = np.ascontiguousarray(block[bounds[bucket] : bounds[bucket + 1]])
            at = (int(bucket) * self._bucket_rows + int(self._filled[bucket])) * self._row_bytes
            if self._handle is not None:
                self._staging.files.write_at(self._handle, part.reshape(-1).view(np.uint8).data, at)
            self._filled[bucket] += len(part)

    def blocks(self) -> Iterator[np.ndarray]:
        """Give the rows in their new order, and remove the scratch file at the end."""
        if self._memory is not None:
            yield self._memory
            return
        with open(self._path, "rb") as file:
            for start in range(0, len(self._order), self._bucket_rows):
                order = self._order[start : start + self._bucket_rows]
                data = np.frombuffer(file.read(len(order) * self._row_bytes), self._dtype)
                result = np.empty((len(order), *self._row_shape), self._dtype)
                # A bucket holds its rows in input order; argsort tells the place of the j-th of them.
                result[np.argsort(order)] = data.reshape(result.shape)
                yield result
        if self._handle is not None:
            self._staging.drop(self._handle)
        # An error and not a warning: in a folder that a version names nobody would ever remove it.
        self._staging.files.unlink(self._path)
