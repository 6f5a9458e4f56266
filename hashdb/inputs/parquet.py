"""Columns of Parquet files: lists of numbers, fixed-size binary codes, numbers or strings; one row group at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb.errors import InputFileError, brief
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import choose, one_line
from hashdb.inputs.limits import check_claim
from hashdb.inputs.parquet_check import read_claims
from hashdb.inputs.source import READ_ERRORS, Array, VectorSource, check_array


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
    values: list[Any] = []
    with file:
        for group in range(reader.num_row_groups):
            part = _read_group(reader, column, group, f"{file.name}::{brief(column)}")
            values += _strings(part).tolist() if _is_text(_plain_type(part.type)) else part.to_pylist()
    return values


class ParquetSource(VectorSource):
    """A column of a Parquet file; the row group read last is kept."""

    def __init__(self, file: ByteFile, reader: Any, column: str) -> None:
        self.name = f"{file.name}::{brief(column)}"
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
            column = _read_group(self._reader, self._column, group, self.name)
            self._kept = (group, _as_rows(column, self.name))
        return self._kept[1]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_group(reader: Any, column: str, group: int, name: str) -> Any:
    """Read a column of one row group; what it claims was looked at when the file was opened."""
    try:
        found = reader.read_row_group(group, columns=[column]).column(0).combine_chunks()
        found.validate(full=True)
        n_rows = reader.metadata.row_group(group).num_rows
    except READ_ERRORS as error:
        raise InputFileError(f"{name} is damaged in row group {group}: {one_line(error)}") from error
    if len(found) != n_rows:
        raise InputFileError(f"{name} is damaged in row group {group}: {len(found):,} rows, expected {n_rows:,}")
    return found


def _check_claims(file: ByteFile, column: str, kind: Any) -> None:
    """Check how much a column says that it holds: of strings one each, for they are read as a dictionary."""
    name = f"{file.name}::{brief(column)}"
    width = kind.byte_width if _is_codes(kind) else 8
    for n_rows, claims in read_claims(file):
        if n_rows < 0:
            raise InputFileError(f"{name} is damaged: a row group has {n_rows:,} rows")
        for whole, n_values, n_bytes in claims:
            if whole == column:
                check_claim(name, max(n_values, n_rows) * width, file.size)
                check_claim(name, n_bytes, file.size)


def _strings(column: Any) -> Array:
    """Give strings as objects, one for equal ones: a dictionary of one long string may have many rows."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return np.array(column.to_pylist(), dtype=object)
    values = np.array([*column.dictionary.to_pylist(), None], dtype=object)
    rows: Array = values[column.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)]
    return rows


def _as_rows(column: Any, name: str) -> Array:
    import pyarrow as pa

    if column.null_count:
        raise InputFileError(f"{name} has {column.null_count} missing values: expected a value in every row")
    kind = column.type
    if _is_codes(kind):
        start = column.offset * kind.byte_width
        raw = np.frombuffer(column.buffers()[1], dtype=np.uint8)
        return raw[start : start + len(column) * kind.byte_width].reshape(len(column), kind.byte_width)
    if _is_text(_plain_type(kind)):
        return _strings(column)
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

    return _is_codes(kind) or (_is_list(kind) and pa.types.is_primitive(kind.value_type))


def _is_codes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_fixed_size_binary(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain_type(kind: Any) -> Any:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_type(kind: Any, name: str) -> None:
    import pyarrow as pa

    plain = _plain_type(kind)
    number = plain.value_type if _is_list(plain) else plain
    # Not all that pyarrow calls primitive: dates and times are no numbers, and not every one fits a Python object.
    is_number = pa.types.is_integer(number) or pa.types.is_floating(number) or pa.types.is_boolean(number)
    if not (_is_codes(plain) or _is_text(plain) or is_number):
        raise InputFileError(f"{name} holds {brief(kind)}: expected numbers, strings, lists of numbers or binary codes")


def _open_column(file: ByteFile, inner: str | None, wanted: str, fits: Any) -> tuple[Any, str]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputFileError(f"{file.name} is Parquet, which needs pyarrow: pip install hashdb[formats]") from error
    file.handle.seek(0)
    try:
        reader = pq.ParquetFile(file.handle)
        schema = reader.schema_arrow
        kinds = {name: schema.field(number).type for number, name in enumerate(schema.names)}
    except READ_ERRORS as error:
        raise InputFileError(f"{file.name} is not a readable Parquet file: {one_line(error)}") from error
    everything = {name: f"({brief(kind)})" for name, kind in kinds.items()}
    candidates = {name: everything[name] for name, kind in kinds.items() if fits(kind)}
    column = choose(file.name, wanted, candidates, inner, everything)
    if len(kinds) < len(schema.names):
        raise InputFileError(f"{file.name} has two columns of one name: expected a name each")
    _check_type(kinds[column], f"{file.name}::{brief(column)}")
    _check_claims(file, column, kinds[column])
    if _is_text(kinds[column]):
        file.handle.seek(0)
        reader = pq.ParquetFile(file.handle, read_dictionary=[column])
    return reader, column
