"""Ids from files and from Python: one kind for all, int64 or strings.

Text is integers where every line is the plain decimal form of an int64 (no sign but ``-``, no leading zero, no white
space) and strings otherwise, so that ``007`` keeps its zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hashdb.codes import unmasked
from hashdb.errors import ArgumentError, InputFileError, brief
from hashdb.inputs.formats import one_line
from hashdb.inputs.numpy_files import Wanted
from hashdb.inputs.opening import load_values
from hashdb.inputs.source import as_strings

Ids = npt.NDArray[np.int64] | list[str]

_FITS: list[Wanted] = [lambda shape, dtype: len(shape) == 1 and dtype.kind in "iuUS"]
_MIN, _MAX = -(2**63), 2**63 - 1


def read_ids(
    spec: str | os.PathLike[str] | Sequence[Any] | npt.NDArray[Any],
    format: str | None = None,
    kind: str | None = None,
) -> Ids:
    """Read ids.

    Parameters
    ----------
    spec : str, Path, sequence or array
        A file, ``FILE::NAME`` or ``-``: ``.npy`` and ``.npz`` of integers or strings, text with one id per line,
        ``.jsonl::KEY``, ``.csv::COLUMN``, ``.mat`` of whole numbers. The first line of a ``.csv`` of words is a header
        if it has the column named or a name such as ``id`` or ``name``, else an id. Other objects go to
        `normalise_ids`.
    format : str, optional
        In place of the extension.
    kind : {"int64", "string"}, optional
        Kind of ids of the index that they are for: text is then never taken as numbers where strings are wanted.

    Returns
    -------
    int64 array (n,) or list of str

    Raises
    ------
    InputFileError
        The file cannot be read, or holds something else than ids of one kind.
    """
    if not isinstance(spec, str | os.PathLike):
        return normalise_ids(spec)
    values, found = load_values(spec, format, _FITS)
    try:
        if found in ("csv", "text", "hex") and isinstance(values, list):
            return values if kind == "string" else _from_strings(values)
        if found == "mat" and isinstance(values, np.ndarray) and values.dtype.kind == "f":
            values = _whole(values)
        return normalise_ids(values)
    except ArgumentError as error:
        raise InputFileError(f"{spec}: {one_line(error)}") from error


def normalise_ids(ids: Any) -> Ids:
    """Give ids in the form the rest of hashdb takes.

    Parameters
    ----------
    ids : int, str, array or iterable of int or of str
        A single id is one of length 1. Sets are refused: they have no order.

    Returns
    -------
    int64 array (n,) or list of str
        Nothing at all is an empty int64 array.

    Raises
    ------
    ArgumentError
        Ids are bool, float, bytes or mixed, beyond int64, or not in one dimension.

    Examples
    --------
    >>> normalise_ids([3, 1])
    array([3, 1])
    >>> normalise_ids("france")
    ['france']
    """
    if isinstance(ids, str):
        return [str(ids)]
    if isinstance(ids, int | np.integer | np.bool_):
        return _from_list([ids])
    if isinstance(ids, range):
        _from_list([*ids[:1], *ids[-1:]])  # the ends tell whether all fit int64
        return np.array(ids, dtype=np.int64) if len(ids) < 2 else ids[0] + ids.step * np.arange(len(ids))
    if isinstance(ids, set | frozenset):
        raise ArgumentError("ids are a set, which has no order: expected a list or an array")
    if isinstance(ids, list | tuple):
        return _from_list(ids)
    if hasattr(ids, "__array__"):
        return _from_array(np.asarray(unmasked(ids, "ids")))
    if isinstance(ids, Iterable) and not isinstance(ids, bytes):
        return _from_list(list(ids))
    raise ArgumentError(f"ids are {type(ids).__name__} {str(ids)[:40]!r}: expected integers or strings")


def _from_array(array: npt.NDArray[Any]) -> Ids:
    if array.ndim != 1:
        raise ArgumentError(f"ids have shape {array.shape}: expected one dimension")
    if array.dtype.kind == "O":
        return _from_list(array.tolist())
    if array.dtype.kind in "UST":
        strings: list[str] = as_strings("the array of ids", array).tolist()
        return strings
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"ids have dtype {array.dtype}: expected integers or strings")
    if array.dtype.kind == "u" and array.size and int(array.max()) > _MAX:
        raise ArgumentError(f"id {array.max()} is beyond int64: expected at most {_MAX}; use strings")
    return array.astype(np.int64)


def _from_list(ids: Sequence[Any]) -> Ids:
    if not ids:
        return np.empty(0, dtype=np.int64)
    is_text = isinstance(ids[0], str)
    kinds: tuple[type[Any], ...] = (str,) if is_text else (int, np.integer)
    for number, item in enumerate(ids):
        if isinstance(item, bool) or not isinstance(item, kinds):
            expected = "a string like those before it" if is_text else "an integer"
            expected = expected if number else "an integer or a string"
            raise ArgumentError(f"id {number} is {type(item).__name__} {brief(item, 40)!r}: expected {expected}")
        if not is_text and not _MIN <= int(item) <= _MAX:
            raise ArgumentError(f"id {number} is {brief(int(item))}, beyond int64: use strings")
    return [str(item) for item in ids] if is_text else np.array(ids, dtype=np.int64)


def _from_strings(lines: list[str]) -> Ids:
    numbers = np.empty(len(lines), dtype=np.int64)
    for row, line in enumerate(lines):
        if not line.removeprefix("-").isdecimal() or len(line) > 20:
            return lines
        number = int(line)
        if str(number) != line or not _MIN <= number <= _MAX:
            return lines
        numbers[row] = number
    return numbers


def _whole(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    # MATLAB keeps integers as doubles, exact up to 2**53.
    if not bool((np.abs(values) <= 2.0**53).all()) or not bool((values == np.floor(values)).all()):
        raise ArgumentError("ids are not whole numbers within ±2**53: expected integers or strings")
    return values.astype(np.int64)
