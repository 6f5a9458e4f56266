"""Checks of what is handed to ``fit`` and ``encode``: vectors, bits, modalities, labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import to_vectors, unmasked
from hashdb.errors import ArgumentError
from hashdb.hookspecs import MethodInfo
from hashdb.inputs.formats import nearest

NORMALISATIONS = ("none", "l2")
_BLOCK_VALUES = 1 << 16
_MODALITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def as_vectors(vectors: Any, name: str = "vectors", first_row: int = 0) -> NDArray[np.float32]:
    """Return vectors as C-contiguous finite float32 (n, dim), or say what is wrong with them.

    Parameters
    ----------
    vectors : array_like of numbers, shape (n, dim)
    name : str
        What to call them in a message.
    first_row : int
        Number of the first row, for the message.

    Raises
    ------
    ArgumentError
        Not numbers, not two-dimensional, no columns, a NaN or infinity (its row and column are named), or a value that
        float32 cannot hold.
    """
    array = numbers(vectors, name)
    converted = np.ascontiguousarray(to_vectors(array, "float"))
    finite = np.isfinite(converted)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ArgumentError(
            f"{name} have {converted[row, column]} in row {first_row + row}, column {column}, expected finite numbers"
        )
    return converted


def numbers(vectors: Any, name: str = "vectors") -> NDArray[Any]:
    """Return an array of numbers of shape (n, dim), dim >= 1, its values not yet looked at."""
    vectors = unmasked(vectors, name)
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise ArgumentError(f"{name} are no array, expected numbers of shape (n, dim): {error}") from error
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} are of dtype {array.dtype}, expected numbers")
    if array.ndim != 2 or array.shape[1] == 0:
        raise ArgumentError(f"{name} have shape {array.shape}, expected (n, dim) with dim at least 1")
    return array


def as_bits(bits: Any, name: str = "vectors") -> NDArray[np.bool_]:
    """Return bits as C-contiguous bool (n, n_bits).

    Raises
    ------
    ArgumentError
        Another dtype or shape.
    """
    array = np.asarray(unmasked(bits, name))
    if array.dtype != np.bool_ or array.ndim != 2 or array.shape[1] == 0:
        raise ArgumentError(
            f"{name} are {array.dtype} of shape {array.shape}, expected bool (n, n_bits); "
            "hashdb.codes.to_bits makes them"
        )
    return np.ascontiguousarray(array)


def l2_normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale every row to length 1; a row of zeros stays.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)

    Returns
    -------
    ndarray of float32, shape (n, dim)
        Each row computed from itself alone, in float64.
    """
    scaled = np.empty_like(vectors)
    # Blocks that stay in the cache, about twice as fast as whole arrays of float64.
    step = max(1, _BLOCK_VALUES // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        wide = vectors[start : start + step].astype(np.float64)
        # A sum along contiguous rows takes each row in the same order, whatever their number.
        lengths = np.sqrt(np.add.reduce(wide * wide, axis=1))
        wide /= np.where(lengths > 0, lengths, 1.0)[:, None]
        scaled[start : start + step] = wide
    return scaled


def training_rows(vectors: Any, info: MethodInfo) -> dict[str, NDArray[Any]]:
    """Check what a method is to learn from.

    Parameters
    ----------
    vectors : array_like, or mapping of modality to array_like
    info : MethodInfo

    Returns
    -------
    dict of str to ndarray
        float32 (n, dim) by modality, or bool (n, n_bits) for a method of bits. The key is "" without modalities.

    Raises
    ------
    ArgumentError
        Rows that cannot be used, modalities missing or not expected, or of different numbers of rows.
    """
    if not info.is_paired:
        if isinstance(vectors, Mapping):
            raise ArgumentError(f"method {info.name} takes one array of vectors, got the modalities {_list(vectors)}")
        rows = as_bits(vectors) if info.input == "bits" else as_vectors(vectors)
        if not len(rows) and info.input != "bits":
            raise ArgumentError(f"vectors have no rows, expected at least one for {info.name} to learn from")
        return {"": rows}
    if not isinstance(vectors, Mapping) or len(vectors) < 2:
        got = _list(vectors) if isinstance(vectors, Mapping) else "one array"
        raise ArgumentError(
            f"method {info.name} takes a mapping of two modalities or more to vectors, got {got}; on the command line "
            "give --modality NAME=FILE for each"
        )
    checked: dict[str, NDArray[Any]] = {}
    for name, rows in vectors.items():
        if not isinstance(name, str) or not _MODALITY.fullmatch(name):
            raise ArgumentError(f"modality {name!r} is no name, expected letters, digits, '_' and '-', at most 64")
        checked[name] = as_vectors(rows, f"vectors of modality {name!r}")
    counts = {name: len(rows) for name, rows in checked.items()}
    if len(set(counts.values())) > 1 or not next(iter(counts.values())):
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ArgumentError(f"modalities are not paired: {listed} rows, expected the same number, at least 1")
    return checked


def unknown_modality(name: str, known: Iterable[str]) -> ArgumentError:
    """Make the error for a modality that a model does not have, with the nearest that it has."""
    names = [one for one in known if one]
    listed = ", ".join(names) if names else "none, for the model has no modalities"
    return ArgumentError(f"modality {name!r} is unknown, expected one of: {listed}{nearest(name, names)}")


def as_labels(labels: Any, n_rows: int) -> NDArray[Any]:
    """Return labels as int64 (n,), -1 unlabelled, or bool (n, n_classes).

    Parameters
    ----------
    labels : array_like
        Whole numbers from -1, or rows of 0 and 1.
    n_rows : int

    Raises
    ------
    ArgumentError
        Another length, shape or value, or no labelled row at all.
    """
    try:
        array = np.asarray(unmasked(labels, "labels"))
    except ValueError as error:
        raise ArgumentError(f"labels are no array, expected one label a row: {error}") from error
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or (array.ndim == 2 and not array.shape[1]):
        raise ArgumentError(
            f"labels are {array.dtype} of shape {array.shape}, expected whole numbers (n,) or 0 and 1 (n, n_classes)"
        )
    if len(array) != n_rows:
        raise ArgumentError(f"{len(array)} labels for {n_rows} rows, expected one label a row")
    if array.ndim == 2:
        if not np.isin(array, (0, 1)).all():
            raise ArgumentError("labels of shape (n, n_classes) hold other values than 0 and 1")
        checked: NDArray[Any] = np.ascontiguousarray(array.astype(np.bool_))
        labelled = checked.any(axis=1)
    else:
        wrong = ~(array >= -1)  # NaN too
        if array.dtype.kind == "f":
            with np.errstate(invalid="ignore"):  # NaN in a form that signals
                wrong |= (array > np.float64(2**53)) | (array != np.floor(array))  # 2**53 is beyond half floats
        if np.any(wrong):
            row = int(np.flatnonzero(wrong)[0])
            raise ArgumentError(f"label of row {row} is {array[row]}, expected a whole number, -1 for unlabelled")
        checked = np.ascontiguousarray(array.astype(np.int64))
        labelled = checked >= 0
    if not labelled.any():
        raise ArgumentError("labels leave every row unlabelled, expected at least one label")
    return checked


def _list(vectors: Mapping[Any, Any]) -> str:
    return ", ".join(str(name) for name in vectors) or "none"
