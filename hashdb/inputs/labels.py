"""Class labels: one per row, or several as a matrix of 0 and 1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hashdb.codes import unmasked
from hashdb.errors import ArgumentError, InputFileError
from hashdb.inputs.formats import one_line
from hashdb.inputs.hexlist import is_number
from hashdb.inputs.numpy_files import Wanted
from hashdb.inputs.opening import load_values
from hashdb.inputs.source import as_strings

Labels = npt.NDArray[np.int64] | npt.NDArray[np.bool_]

_FITS: list[Wanted] = [lambda shape, dtype: len(shape) == 1 or (len(shape) == 2 and dtype.kind in "biu")]


def read_labels(spec: str | os.PathLike[str] | Sequence[Any] | npt.NDArray[Any], format: str | None = None) -> Labels:
    """Read labels.

    Parameters
    ----------
    spec : str, Path, sequence or array
        A file, ``FILE::NAME`` or ``-``: ``.npy``, ``.npz``, ``.mat`` or idx of whole numbers, a matrix of 0 and 1
        (one column a class), text, ``.csv::COLUMN`` or ``.jsonl::KEY`` of whole numbers or of class names. Or such
        values themselves.
    format : str, optional
        In place of the extension.

    Returns
    -------
    int64 array (n,), or bool array (n, n_classes)
        -1 is unlabelled. Class names are numbered from 0 in sorted order.

    Raises
    ------
    ArgumentError
        Labels are fractions, below -1, or of mixed kinds (InputFileError where they come from a file).
    """
    if not isinstance(spec, str | os.PathLike):
        return _normalise(spec)
    values, _ = load_values(spec, format, _FITS)
    try:
        return _normalise(values)
    except ArgumentError as error:
        raise InputFileError(f"{spec}: {one_line(error)}") from error


def _normalise(values: Any) -> Labels:
    values = unmasked(values, "labels")
    if isinstance(values, list | tuple) and any(isinstance(value, str) for value in values):
        return _from_strings(values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"labels are not one per row or a matrix: {one_line(error)}") from error
    if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(value, str) for value in array):
        return _from_strings(array.tolist())
    if array.dtype.kind in "US" and array.ndim == 1:
        return _from_strings(as_strings("the array of labels", array).tolist())
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"labels have dtype {array.dtype}: expected whole numbers, 0 and 1, or class names")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        return _multi_hot(array)
    if array.ndim != 1:
        raise ArgumentError(f"labels have shape {array.shape}: expected (n,), or (n, n_classes) of 0 and 1")
    return _whole(array)


def _from_strings(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    if not all(isinstance(value, str) for value in values):
        raise ArgumentError("labels mix strings with other values: expected all numbers or all class names")
    if all(map(is_number, values)):
        return _whole(np.array([float(value.strip()) for value in values]))
    names = {name: number for number, name in enumerate(sorted(set(values)))}
    return np.array([names[value] for value in values], dtype=np.int64)


def _whole(array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN in a form that signals
            bad = ~np.isfinite(array) | (array != np.floor(array)) | (np.abs(array) > np.float64(2**53))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ArgumentError(f"label {row} is {array[row]}: expected whole numbers from -1 (unlabelled)")
    if array.size and (int(array.max()) > 2**63 - 1 or int(array.min()) < -1):
        raise ArgumentError(f"labels run from {array.min()} to {array.max()}: expected at least -1 (unlabelled)")
    return array.astype(np.int64)


def _multi_hot(array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if array.dtype.kind != "b" and not bool(((array == 0) | (array == 1)).all()):
        row = int(np.flatnonzero(((array != 0) & (array != 1)).any(axis=1))[0])
        raise ArgumentError(f"labels have shape {array.shape} with other values than 0 and 1 in row {row}")
    return array.astype(bool)
