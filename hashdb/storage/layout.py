"""Arrays in Zarr v3, written without zarr.

Arrays are little-endian, uncompressed and unsharded, with chunks along the first axis only, so that a chunk file is
byte for byte the rows it holds and can be mapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.storage.commit import Staging, crc32c
from hashdb.storage.documents import Fields, canonical

CHUNK_BYTES = 256 << 20
MAX_ROWS = (1 << 32) - 1
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and CRC-32C of a published file."""

    size: int
    crc: int

    @classmethod
    def of(cls, data: bytes) -> FileEntry:
        """Return the entry of a file with this content."""
        return cls(len(data), crc32c(data))

    def to_json(self) -> dict[str, Any]:
        """Return the form that documents hold."""
        return {"size": self.size, "crc32c": f"{self.crc:08x}"}


@dataclass(frozen=True)
class ArraySpec:
    """Shape, element type and chunk shape of one Zarr array.

    Attributes
    ----------
    shape : tuple of int
        Rows first; () for a single value.
    dtype : str
        One of `DTYPES`.
    chunk_rows : int
        Rows of a chunk; the whole array where it has at most that many.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Chunk shape as Zarr wants it: no zeros."""
        return tuple(max(1, length) for length in (self.chunk_rows, *self.shape[1:])) if self.shape else ()

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk file."""
        return math.prod(self.chunk_shape) * np.dtype(self.dtype).itemsize

    @property
    def n_chunks(self) -> int:
        """Number of chunk files."""
        if not self.shape:
            return 1
        return -(-self.shape[0] // self.chunk_rows) if math.prod(self.shape) else 0

    def chunks(self) -> list[tuple[str, int]]:
        """Return the path inside the array and the number of rows that count, of every chunk."""
        if not self.shape:
            return [("c", 1)]
        if math.prod(self.shape) == 0:
            return []
        tail = "/0" * (len(self.shape) - 1)
        starts = range(0, self.shape[0], self.chunk_rows)
        return [(f"c/{i}{tail}", min(self.chunk_rows, self.shape[0] - start)) for i, start in enumerate(starts)]

    def zarr_json(self) -> bytes:
        """Encode the array's ``zarr.json``."""
        kind = np.dtype(self.dtype)
        endian = {"configuration": {"endian": "little"}} if kind.itemsize > 1 else {}
        return canonical(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self.shape),
                "data_type": self.dtype,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunk_shape)}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": {"b": False, "f": 0.0}.get(kind.kind, 0),
                "codecs": [{"name": "bytes", **endian}],
                "attributes": {},
                "storage_transformers": [],
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the form that documents hold."""
        return {"shape": list(self.shape), "dtype": self.dtype, "chunk_rows": self.chunk_rows}

    @classmethod
    def from_json(cls, document: object, path: Path, name: str) -> ArraySpec:
        """Read and check what :meth:`to_json` wrote.

        Raises
        ------
        CorruptIndexError
            Where a field is missing or out of bounds.
        """
        fields = Fields(document, path, f"arrays.{name}.")
        fields.only("shape", "dtype", "chunk_rows")
        shape = fields.items("shape", 32)
        if any(type(length) is not int or not 0 <= length <= 1 << 40 for length in shape):
            raise fields.wrong("shape", "a list of lengths")
        if math.prod(shape) > 1 << 60:
            raise fields.wrong("shape", "a shape that fits a file")
        dtype = fields.choice("dtype", *DTYPES)
        chunk_rows = fields.integer("chunk_rows", 1, 1 << 40)
        spec = cls(tuple(shape), dtype, chunk_rows)
        if shape and math.prod(shape) and (shape[0] + chunk_rows - 1) // chunk_rows > 1 << 20:
            raise fields.wrong("chunk_rows", "fewer than a million chunks")
        return spec

    def file_entries(self, name: str) -> dict[str, int]:
        """Return the path (from the folder that holds the array `name`) and size of every file of the array."""
        size = self.chunk_bytes
        entries = {f"{name}/{chunk}": size for chunk, _ in self.chunks()}
        entries[f"{name}/zarr.json"] = len(self.zarr_json())
        return entries


def rows_per_chunk(row_bytes: int, n_rows: int | None, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Choose the rows of a chunk: few chunks of equal rows, a multiple of 64 where there are several.

    Parameters
    ----------
    row_bytes : int
        Bytes of a row.
    n_rows : int or None
        Rows of the array, where known.
    chunk_bytes : int
        Largest chunk.
    """
    most = max(1, chunk_bytes // max(1, row_bytes))
    most = most // 64 * 64 or most
    if n_rows is None or n_rows <= most:
        return most
    n_chunks = -(-n_rows // most)
    rows = -(-n_rows // n_chunks)
    return min(most, -(-rows // 64) * 64)


@dataclass
class ArrayWriter:
    """Writes the rows of one array into a staged folder, in order, as they come.

    Parameters
    ----------
    staging : Staging
        Folder that will hold the array.
    name : str
        Name of the array.
    dtype : str
        One of `DTYPES`.
    row_shape : tuple of int
        Shape of one row, () for a one-dimensional array.
    chunk_rows : int or None
        Rows of a chunk; None for one chunk whatever its length.
    """

    staging: Staging
    name: str
    dtype: str
    row_shape: tuple[int, ...] = ()
    chunk_rows: int | None = None
    n_rows: int = 0
    entries: dict[str, FileEntry] = field(default_factory=dict)
    _handle: int | None = None
    _path: str = ""
    _size: int = 0
    _crc: int = 0
    _in_chunk: int = 0

    def append(self, block: np.ndarray) -> None:
        """Append rows, shape (m, *row_shape)."""
        block = np.ascontiguousarray(block, dtype=np.dtype(self.dtype).newbyteorder("<"))
        while len(block):
            room = len(block) if self.chunk_rows is None else self.chunk_rows - self._in_chunk
            self._write(block[:room])
            block = block[room:]

    def finish(self) -> ArraySpec:
        """Complete the last chunk and write the metadata.

        Returns
        -------
        ArraySpec
            What was written; `entries` then has every file.
        """
        several = self.chunk_rows is not None and self.n_rows > self.chunk_rows
        if several and self.chunk_rows is not None and self._handle is not None:
            self._pad((self.chunk_rows - self._in_chunk) * self._row_bytes)
        self._close_chunk()
        chunk_rows = self.chunk_rows if several and self.chunk_rows else max(1, self.n_rows)
        spec = ArraySpec((self.n_rows, *self.row_shape), self.dtype, chunk_rows)
        self._describe(spec)
        return spec

    def write_whole(self, array: np.ndarray) -> ArraySpec:
        """Write a complete array of any number of dimensions as one chunk."""
        spec = ArraySpec(array.shape, self.dtype, max(1, array.shape[0]) if array.ndim else 1)
        self.staging.mkdir(self.name)
        for chunk, _ in spec.chunks():
            self._open_chunk(chunk)
            data = np.ascontiguousarray(array, dtype=np.dtype(self.dtype).newbyteorder("<")).reshape(-1)
            self._put(data)
            self._close_chunk()
        self._describe(spec)
        return spec

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.row_shape) * np.dtype(self.dtype).itemsize

    def _describe(self, spec: ArraySpec) -> None:
        data = spec.zarr_json()
        self.staging.write_file(f"{self.name}/zarr.json", data)
        self.entries[f"{self.name}/zarr.json"] = FileEntry.of(data)

    def _write(self, block: np.ndarray) -> None:
        if self._handle is None:
            index = 0 if self.chunk_rows is None else self.n_rows // self.chunk_rows
            if index == 0:
                self.staging.mkdir(self.name)
            self._open_chunk(f"c/{index}" + "/0" * len(self.row_shape))
        self._put(block)
        self.n_rows += len(block)
        self._in_chunk += len(block)
        if self._in_chunk == self.chunk_rows:
            self._close_chunk()

    def _open_chunk(self, chunk: str) -> None:
        folders = chunk.split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            # c/ is shared by all chunks of the array: made with the first.
            if depth > 1 or not self.entries:
                self.staging.mkdir("/".join([self.name, *folders[:depth]]))
        self._path = f"{self.name}/{chunk}"
        self._handle = self.staging.create(self._path)
        self._size = self._crc = self._in_chunk = 0

    def _put(self, data: np.ndarray) -> None:
        if self._handle is not None:
            flat = data.reshape(-1).view(np.uint8)
            self.staging.write(self._handle, flat)
            self._crc = crc32c(flat, self._crc)
            self._size += flat.nbytes

    def _pad(self, n_bytes: int) -> None:
        zeros = np.zeros(min(n_bytes, 1 << 20), np.uint8)
        while n_bytes > 0:
            self._put(zeros[:n_bytes])
            n_bytes -= min(n_bytes, len(zeros))

    def _close_chunk(self) -> None:
        if self._handle is not None:
            self.entries[self._path] = FileEntry(self._size, self._crc)
            self.staging.done(self._handle)
            self._handle = None
