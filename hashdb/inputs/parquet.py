"""Columns of Parquet files: lists of numbers, fixed-size binary codes, numbers or strings; one row group at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import choose, one_line
from hashdb.inputs.source import Array, VectorSource, check_array


def open_parquet(file: ByteFile, inner: str | None) -> VectorSource:
    """Open a column of vectors or codes.

    Raises
    ------
    InputFileError
        pyarrow is not installed, the file is damaged, or the column is not there or not the only one.
    """
    return ParquetSource(file, *_open_column(file, inner, "column of vectors or codes", _is_vectors))


def load_parquet(file: ByteFile, inner: str | None) -> list[Any]:
    """Read a whole column as Python values, for ids and labels."""
    reader, column = _open_column(file, inner, "column of values", lambda kind: not _is_vectors(kind))
    with file:
        try:
            values: list[Any] = reader.read(columns=[column]).column(0).to_pylist()
        except (OSError, ValueError) as error:
            raise InputFileError(f"{file.name}::{column} is damaged: {one_line(error)}") from error
    return values


class ParquetSource(VectorSource):
    """A column of a Parquet file; the row group read last is kept."""

    def __init__(self, file: ByteFile, reader: Any, column: str) -> None:
        self.name = f"{file.name}::{column}"
        self._file, self._reader, self._column = file, reader, column
        sizes = [reader.metadata.row_group(g).num_rows for g in range(reader.num_row_groups)]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self.n_rows = int(self._ends[-1]) if sizes else 0
        self._kept: tuple[int, Array] | None = None
        self.n_columns, self.dtype = 0, np.dtype(np.float32)
        if self.n_rows:
            group = int(np.flatnonzero(np.array(sizes))[0])
            rows = self._group(group)
            self.is_text = rows.ndim == 1
            self.dtype = rows.dtype
            self.n_columns = 1 if self.is_text else rows.shape[1]

    def _read(self, start: int, stop: int) -> Array:
        parts = []
        at = start
        while at < stop:
            group = int(np.searchsorted(self._ends, at, side="right"))
            first = int(self._ends[group - 1]) if group else 0
            rows = self._group(group)
            if rows.ndim == 2 and rows.shape[1] != self.n_columns:
                raise InputFileError(f"{self.name}: row {at} has {rows.shape[1]} numbers, expected {self.n_columns}")
            parts.append(rows[at - first : stop - first])
            at = min(stop, int(self._ends[group]))
        if not parts:
            return np.empty(0 if self.is_text else (0, self.n_columns), dtype=self.dtype)
        return np.concatenate(parts)

    def _group(self, group: int) -> Array:
        if self._kept is None or self._kept[0] != group:
            try:
                column = self._reader.read_row_group(group, columns=[self._column]).column(0).combine_chunks()
            except (OSError, ValueError) as error:
                raise InputFileError(f"{self.name} is damaged in row group {group}: {one_line(error)}") from error
            self._kept = (group, _as_rows(column, self.name))
        return self._kept[1]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _as_rows(column: Any, name: str) -> Array:
    import pyarrow as pa

    if column.null_count:
        raise InputFileError(f"{name} has {column.null_count} missing values: expected a value in every row")
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        start = column.offset * kind.byte_width
        raw = np.frombuffer(column.buffers()[1], dtype=np.uint8)
        return raw[start : start + len(column) * kind.byte_width].reshape(len(column), kind.byte_width)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=object)
    if not _is_list(kind):
        rows = np.asarray(column.to_numpy(zero_copy_only=False))[:, None]
        check_array(name, rows.shape, rows.dtype)
        return rows
    flat = column.flatten()
    if flat.null_count or len(flat) % max(1, len(column)):
        raise InputFileError(f"{name} has lists of different lengths or with missing values: expected equal lengths")
    width = len(flat) // max(1, len(column))
    if not pa.types.is_fixed_size_list(kind) and bool((np.diff(column.offsets.to_numpy()) != width).any()):
        raise InputFileError(f"{name} has lists of different lengths: expected equal lengths")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), width)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_vectors(kind: Any) -> bool:
    import pyarrow as pa

    return _is_list(kind) or bool(pa.types.is_fixed_size_binary(kind))


def _open_column(file: ByteFile, inner: str | None, wanted: str, fits: Any) -> tuple[Any, str]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputFileError(f"{file.name} is Parquet, which needs pyarrow: pip install hashdb[formats]") from error
    file.handle.seek(0)
    try:
        reader = pq.ParquetFile(file.handle)
    except (OSError, ValueError) as error:
        raise InputFileError(f"{file.name} is not a readable Parquet file: {one_line(error)}") from error
    everything = {field.name: f"({field.type})" for field in reader.schema_arrow}
    candidates = {field.name: everything[field.name] for field in reader.schema_arrow if fits(field.type)}
    return reader, choose(file.name, wanted, candidates, inner, everything)
