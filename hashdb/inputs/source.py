"""What every reader gives: rows in batches or by ascending number, never the whole file at once."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from hashdb.errors import ArgumentError, InputFileError, brief
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import one_line

Array = npt.NDArray[Any]

# What h5py, zarr and pyarrow raise on damaged files.
READ_ERRORS = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError),
    *(EOFError, AssertionError, zlib.error),
)

_GAP_BYTES = 64 << 10  # reading over a gap this long costs less than seeking past it
_SPAN_BYTES = 8 << 20


class VectorSource(ABC):
    """Rows of vectors or codes that are read in batches.

    Attributes
    ----------
    n_rows : int
        Number of rows; 0 is allowed, the caller decides.
    n_columns : int
        Numbers in a row; 1 where rows are strings; 0 only where an empty file does not tell.
    dtype : numpy.dtype
        The file's own dtype in the machine's byte order, which every batch has; ``object`` where rows are strings.
    is_text : bool
        Rows are strings, such as hex codes: batches are then 1-D arrays of ``str``.
    item_shape : tuple of int
        Shape of one image where rows are images laid out flat, else empty.
    name : str
        The input's name in messages.
    """

    n_rows: int
    n_columns: int
    dtype: np.dtype[Any]
    is_text: bool = False
    item_shape: tuple[int, ...] = ()
    name: str

    def batches(self, batch_rows: int, start: int = 0, stop: int | None = None) -> Iterator[Array]:
        """Iterate over the rows from `start` to `stop`, in order.

        Parameters
        ----------
        batch_rows : int
            Rows in a batch, at least 1; the last batch may be shorter.
        start, stop : int
            Range of rows, clipped to what there is.

        Yields
        ------
        ndarray of shape (m, n_columns), or (m,) of ``str`` where `is_text`
            Arrays given by the user come as views: do not write to a batch.

        Raises
        ------
        ArgumentError
            `batch_rows` is below 1 or `start` below 0.
        InputFileError
            The file turns out not to be what its beginning promised.
        """
        if batch_rows < 1 or start < 0:
            raise ArgumentError(f"batch_rows is {batch_rows} and start {start}: expected at least 1 and 0")
        end = self.n_rows if stop is None else min(stop, self.n_rows)
        for first in range(start, end, batch_rows):
            yield self._read(first, min(first + batch_rows, end))

    def take(self, rows: Array) -> Array:
        """Give the rows of the given numbers, reading the file once from front to back.

        Parameters
        ----------
        rows : int64 array (m,)
            Ascending row numbers from 0 to n_rows - 1; repeats are allowed.

        Returns
        -------
        ndarray of shape (m, n_columns), or (m,) of ``str`` where `is_text`

        Raises
        ------
        ArgumentError
            Row numbers are out of range or not ascending.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows[0] < 0 or rows[-1] >= self.n_rows or bool((np.diff(rows) < 0).any())):
            raise ArgumentError(f"row numbers of {self.name} must ascend from 0 to {self.n_rows - 1}")
        return self._take(rows)

    def close(self) -> None:
        """Close the file, if there is one; a spool disappears with it."""
        return

    @abstractmethod
    def _read(self, start: int, stop: int) -> Array:
        """Give rows `start` to `stop`, a range known to be inside the file."""

    def _gap_rows(self) -> int:
        return _GAP_BYTES // self._row_bytes()

    def _row_bytes(self) -> int:
        return max(1, self.n_columns * self.dtype.itemsize)

    def _take(self, rows: Array) -> Array:
        out = np.empty(len(rows) if self.is_text else (len(rows), self.n_columns), dtype=self.dtype)
        for first, last in runs(rows, self._gap_rows(), max(1, _SPAN_BYTES // self._row_bytes())):
            base = int(rows[first])
            block = self._read(base, int(rows[last - 1]) + 1)
            out[first:last] = block[rows[first:last] - base]
        return out

    def __len__(self) -> int:
        return self.n_rows

    def __enter__(self) -> VectorSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "strings" if self.is_text else f"{self.n_columns} x {self.dtype}"
        return f"<{type(self).__name__} {self.name}: {self.n_rows:,} rows of {kind}>"


def runs(rows: Array, gap: int, span: int) -> Iterator[tuple[int, int]]:
    """Group ascending row numbers into stretches worth one read each.

    Parameters
    ----------
    rows : int64 array (m,)
        Ascending.
    gap : int
        Rows skipped within a stretch at most.
    span : int
        Rows from the first to the last of a stretch at most.

    Yields
    ------
    (int, int)
        Half-open ranges of positions in `rows`, which together cover it.
    """
    breaks = np.append(np.flatnonzero(np.diff(rows) > gap + 1) + 1, len(rows))
    first = 0
    while first < len(rows):
        by_gap = int(breaks[np.searchsorted(breaks, first, side="right")])
        by_span = int(np.searchsorted(rows, rows[first] + span, side="left"))
        last = min(by_gap, max(by_span, first + 1))
        yield first, last
        first = last


def check_array(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Check that an array can be rows of vectors or codes; tell whether its rows are strings.

    Raises
    ------
    InputFileError
        The dtype is no number or string, or the shape is not (n, dim); 1-D is for strings and uint64 codes.
    """
    is_text = check_dtype(name, dtype)
    if len(shape) == 1 and (is_text or dtype == np.uint64):
        return is_text
    if len(shape) != 2 or is_text:
        expected = "one dimension of strings" if is_text else "(n, dim), one row per vector"
        if len(shape) > 2:
            hint = "; reshape it with array.reshape(len(array), -1), or give images to an encoder (--encoder)"
        else:
            hint = "; one vector is array[None, :]" if len(shape) == 1 else ""
        raise InputFileError(f"{name} has shape {brief(shape)} of {dtype}: expected {expected}{hint}")
    if shape[0] and not shape[1]:
        raise InputFileError(f"{name} has shape {shape}: expected at least one column")
    return False


def check_dtype(name: str, dtype: np.dtype[Any]) -> bool:
    """Check that an array holds numbers or strings; tell whether it is strings.

    Raises
    ------
    InputFileError
        It holds anything else. Of Python objects nothing is ever read.
    """
    if dtype.kind == "O":
        raise InputFileError(f"{name} has dtype object, and pickle is refused: expected numbers or strings")
    if dtype.kind not in "biufUST":
        kind = "structured dtype" if dtype.names else "dtype"
        raise InputFileError(f"{name} has {kind} {brief(dtype)}: expected real numbers, bool or strings")
    return dtype.kind in "UST"


def is_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Tell whether an array is one of images: bytes of shape (n, height, width) or (n, height, width, channels)."""
    return len(shape) in (3, 4) and dtype == np.uint8 and 0 not in shape[1:]


def as_strings(name: str, array: Array) -> Array:
    """Give a 1-D array of fixed-width strings or UTF-8 bytes as one of Python ``str``."""
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise InputFileError(f"{name} holds bytes that are not UTF-8: {error.reason}") from error
    return array.astype(object)


class ArraySource(VectorSource):
    """An array in memory, or one that the user mapped; batches are views.

    Parameters
    ----------
    array : ndarray
        (n, dim) numbers, (n,) strings or (n,) uint64 codes; an object array must hold ``str`` only.
    name : str
        For messages.
    """

    def __init__(self, array: Array, name: str = "the array") -> None:
        self.name = name
        if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(item, str) for item in array):
            self.is_text = True
        else:
            self.is_text = check_array(name, array.shape, array.dtype)
        self._array = array if self.is_text or array.ndim == 2 else array[:, None]
        self.n_rows = array.shape[0]
        self.n_columns = 1 if self.is_text else self._array.shape[1]
        self.dtype = np.dtype(object) if self.is_text else array.dtype.newbyteorder("=")

    def _read(self, start: int, stop: int) -> Array:
        return self._as_rows(self._array[start:stop])

    def _take(self, rows: Array) -> Array:
        return self._as_rows(self._array[rows])

    def _as_rows(self, part: Array) -> Array:
        return as_strings(self.name, part) if self.is_text else part.astype(self.dtype, copy=False)


class SliceSource(VectorSource):
    """An array of another library (HDF5, Zarr) that gives NumPy arrays when sliced by rows.

    Parameters
    ----------
    array : object
        What is sliced.
    shape, dtype
        Of the array; a string dtype where slices give strings.
    name : str
        For messages.
    close : function, optional
        Called by `close`.
    """

    def __init__(
        self,
        array: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        name: str,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._array, self._close = array, close
        self.is_text = check_array(name, shape, dtype)
        self.n_rows, self.n_columns = shape[0], shape[1] if len(shape) > 1 else 1
        self.dtype = np.dtype(object) if self.is_text else dtype.newbyteorder("=")

    def _read(self, start: int, stop: int) -> Array:
        try:
            part = np.asarray(self._array[start:stop])
        except READ_ERRORS as error:
            raise InputFileError(f"{self.name}, rows {start} to {stop}: {one_line(error)}") from error
        if self.is_text:
            return as_strings(self.name, part)
        return part.reshape(stop - start, self.n_columns).astype(self.dtype, copy=False)

    def close(self) -> None:
        """Close the file."""
        if self._close is not None:
            self._close()


class RecordSource(VectorSource):
    """Rows of equal length in bytes, one after the other from some offset on.

    Parameters
    ----------
    file : ByteFile
        Closed with the source.
    offset : int
        Byte where row 0 starts.
    n_rows, n_columns : int
        Shape.
    dtype : numpy.dtype
        Of one number, byte order included; a string dtype gives rows of ``str``.
    has_dim : bool
        Each row is led by its dim as a little-endian int32, which every read checks.
    """

    def __init__(
        self, file: ByteFile, offset: int, n_rows: int, n_columns: int, dtype: np.dtype[Any], *, has_dim: bool = False
    ) -> None:
        self.name = file.name
        self.n_rows, self.n_columns = n_rows, n_columns
        self.is_text = dtype.kind in "US"
        self.dtype = np.dtype(object) if self.is_text else dtype.newbyteorder("=")
        self._file, self._offset, self._has_dim = file, offset, has_dim
        if n_columns * dtype.itemsize >= 1 << 30:
            width = brief(f"{n_columns:,} {dtype}")
            raise InputFileError(f"{file.name} says that a row has {width}: expected under 1 GiB")
        row = np.dtype((dtype, (n_columns,)))
        self._record = np.dtype([("dim", "<i4"), ("row", row)]) if has_dim else np.dtype([("row", row)])

    def _row_bytes(self) -> int:
        return max(1, self._record.itemsize)

    def _read(self, start: int, stop: int) -> Array:
        records = np.empty(stop - start, dtype=self._record)
        if records.nbytes:
            self._file.read_into(self._offset + start * self._record.itemsize, records.view(np.uint8))
        if self._has_dim and bool((records["dim"] != self.n_columns).any()):
            bad = int(np.flatnonzero(records["dim"] != self.n_columns)[0])
            raise InputFileError(
                f"{self.name} says that row {start + bad} has {records['dim'][bad]} numbers: "
                f"expected {self.n_columns} as in row 0"
            )
        if self.is_text:
            return as_strings(self.name, records["row"][:, 0])
        return np.ascontiguousarray(records["row"], dtype=self.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ColumnSource(VectorSource):
    """A two-dimensional array stored column after column (Fortran order), read a stretch of each at a time."""

    def __init__(self, file: ByteFile, offset: int, n_rows: int, n_columns: int, dtype: np.dtype[Any]) -> None:
        self.name = file.name
        self.n_rows, self.n_columns, self.dtype = n_rows, n_columns, dtype.newbyteorder("=")
        self._file, self._offset, self._stored = file, offset, dtype

    def _gap_rows(self) -> int:
        return _GAP_BYTES // self.dtype.itemsize

    def _read(self, start: int, stop: int) -> Array:
        columns = np.empty((self.n_columns, stop - start), dtype=self._stored)
        if columns.size:
            for number, column in enumerate(columns):
                self._file.read_into(
                    self._offset + (number * self.n_rows + start) * self.dtype.itemsize, column.view(np.uint8)
                )
        return np.ascontiguousarray(columns.T, dtype=self.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
