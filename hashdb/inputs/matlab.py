"""``.mat`` files up to version 7, read through SciPy; cells are named as MATLAB does, ``X{1}`` being the first.

A variable is read into memory whole: the format compresses it as one piece. Sparse matrices stay sparse and are made
dense batch by batch.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb.errors import InputFileError, brief
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import choose, one_line
from hashdb.inputs.limits import check_claim
from hashdb.inputs.matlab_check import check_mat
from hashdb.inputs.source import Array, ArraySource, VectorSource

_CELL = re.compile(r"(.*)\{(\d{1,9})\}")
_MAX_SPARSE_ROW_BYTES = 4 << 20  # of a row made dense: hundreds of them make a batch


def open_mat(file: ByteFile, inner: str | None) -> VectorSource:
    """Open one matrix of a MATLAB file as rows.

    Raises
    ------
    InputFileError
        It is no ``.mat`` file or one of version 7.3, or the matrix is not there or not the only one.
    """
    with file:
        matrix, key = _load(file, inner, "matrix of vectors", [_is_matrix])
    name = f"{file.name}::{key}"
    return SparseSource(matrix, name) if hasattr(matrix, "tocsr") else ArraySource(matrix, name)


def load_mat(file: ByteFile, inner: str | None) -> Array:
    """Read one array of a MATLAB file for ids or labels; rows and columns of one dimension become 1-D."""
    with file:
        matrix, key = _load(file, inner, "column of values", [_is_column, _is_matrix])
    if hasattr(matrix, "tocsr"):
        check_claim(f"{file.name}::{key}", math.prod(matrix.shape) * matrix.dtype.itemsize, file.size)
        matrix = matrix.toarray()
    array = np.asarray(matrix)
    if array.dtype == object:
        array = _cells_of_strings(array, f"{file.name}::{key}")
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array


class SparseSource(VectorSource):
    """A sparse matrix of SciPy in memory, dense in batches."""

    def __init__(self, matrix: Any, name: str) -> None:
        self.name = name
        self._matrix = matrix.tocsr()
        self.n_rows, self.n_columns = self._matrix.shape
        self.dtype = self._matrix.dtype
        if self.n_columns * self.dtype.itemsize > _MAX_SPARSE_ROW_BYTES:
            raise InputFileError(
                f"{name} has {self.n_columns:,} columns: expected dense rows of at most {_MAX_SPARSE_ROW_BYTES:,} bytes"
            )

    def _read(self, start: int, stop: int) -> Array:
        return np.asarray(self._matrix[start:stop].toarray())

    def _take(self, rows: Array) -> Array:
        return np.asarray(self._matrix[rows].toarray())


def _load(
    file: ByteFile, inner: str | None, wanted: str, tiers: list[Callable[[tuple[int, ...]], bool]]
) -> tuple[Any, str]:
    head = file.read(0, 128)
    if b"MATLAB 7.3" in head or head.startswith(b"\x89HDF\r\n"):
        raise InputFileError(
            f"{file.name} is MATLAB version 7.3, which is HDF5: save it with -v7, "
            "or read it with --format h5 (pip install hashdb[formats]), where matrices are transposed"
        )
    check_mat(file)
    shapes = _shapes(file)
    everything = {key: f"{shape} {kind}" for key, (shape, kind) in shapes.items()}
    candidates: dict[str, str] = {}
    for fits in tiers:
        numeric = [key for key, (shape, kind) in shapes.items() if kind not in _NO_NUMBERS and fits(shape)]
        candidates = candidates or {key: everything[key] for key in numeric}
    key = choose(file.name, wanted, candidates, inner, everything)
    cell = _CELL.fullmatch(key)
    if shapes[key][1] in _NO_ARRAYS:
        raise InputFileError(f"{file.name}::{brief(key)} is a {shapes[key][1]}: expected numbers or strings")
    variable = _read_variable(file, cell[1] if cell else key)
    value = variable.ravel(order="F")[int(cell[2]) - 1] if cell else variable
    _check_sparse(value, f"{file.name}::{brief(key)}")
    return value, key


def _check_sparse(value: Any, name: str) -> None:
    """Check the indices of a sparse matrix: SciPy follows them wherever they point to."""
    if hasattr(value, "tocsr"):
        try:
            value.check_format(full_check=True)
        except (ValueError, TypeError, IndexError) as error:
            raise InputFileError(f"{name} is damaged: {one_line(error)}") from error


def _is_matrix(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) > 1


def _is_column(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) == 1


_NO_ARRAYS = {"struct", "object", "function", "opaque"}
_NO_NUMBERS = {"cell", "struct", "char", "object", "function", "opaque"}


def _shapes(file: ByteFile) -> dict[str, tuple[tuple[int, ...], str]]:
    """Give shape and MATLAB class of every variable, and of every array within a cell."""
    from scipy.io import whosmat

    file.handle.seek(0)
    try:
        with warnings.catch_warnings():  # of variables named twice, the last of which counts
            warnings.simplefilter("ignore")
            listed = whosmat(file.handle)
    except Exception as error:  # SciPy raises many kinds on a damaged file
        raise InputFileError(f"{file.name} is not a readable .mat file: {one_line(error)}") from error
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for key, shape, kind in listed:
        found[key] = (tuple(shape), kind)
        if kind == "cell":
            for number, item in enumerate(_read_variable(file, key).ravel(order="F"), 1):
                if isinstance(item, np.ndarray) and item.dtype.kind in "biuf":
                    found[f"{key}{{{number}}}"] = (item.shape, str(item.dtype))
    return found


def _read_variable(file: ByteFile, key: str) -> Any:
    from scipy.io import loadmat

    file.handle.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loadmat(file.handle, variable_names=[key])[key]
    except Exception as error:  # as above
        raise InputFileError(f"{file.name} is damaged, or {brief(key)} cannot be read: {one_line(error)}") from error


def _cells_of_strings(cells: Array, name: str) -> Array:
    items = [np.asarray(item).ravel() for item in cells.ravel(order="F")]
    if not all(item.dtype.kind == "U" and item.size == 1 for item in items):
        raise InputFileError(f"{name} is a cell array of other things than strings: expected numbers or strings")
    return np.array([str(item[0]) for item in items]) if items else np.empty(0, dtype="<U1")
