"""Bits and packed codes: one layout in memory and on disk, and the readings of what users bring.

A code of ``n_bits`` bits is a row of ``n_words = ceil(n_bits / 64)`` words of uint64. Bit j is bit (j mod 64), least
significant first, of word j // 64; bits past the width are zero.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError, brief

MAX_BITS = 4096
INPUT_TYPES = ("float", "bool", "pm1", "packed-msb", "packed-lsb", "hex")
PACKED_TYPES = ("packed-msb", "packed-lsb", "hex")

Codes = NDArray[np.uint64]
Bits = NDArray[np.bool_]


def n_words_of(n_bits: int) -> int:
    """Count the words that hold a code of ``n_bits`` bits.

    Examples
    --------
    >>> n_words_of(64), n_words_of(65)
    (1, 2)
    """
    return -(-n_bits // 64)


def check_n_bits(n_bits: Any) -> int:
    """Return ``n_bits`` as an int in 1 … 4096, or raise ArgumentError."""
    if isinstance(n_bits, (bool, np.bool_)) or not isinstance(n_bits, (int, np.integer)):
        raise ArgumentError(f"n_bits is {brief(repr(n_bits))}, expected a whole number from 1 to {MAX_BITS}")
    if not 1 <= n_bits <= MAX_BITS:
        raise ArgumentError(f"n_bits is {brief(n_bits)}, expected 1 to {MAX_BITS}")
    return int(n_bits)


def unmasked(values: Any, name: str) -> Any:
    """Return the values of a masked array of which nothing is masked, and anything else as it is.

    Raises
    ------
    ArgumentError
        Values are masked: NumPy would take what lies underneath.

    Examples
    --------
    >>> unmasked(np.ma.masked_array([1, 2], mask=[False, False]), "ids")
    array([1, 2])
    """
    # NumPy imports its masked arrays when they are first named, so only where there may be one.
    if isinstance(values, list | tuple) and any(hasattr(item, "mask") for item in values):
        masked = np.array([np.ma.getmaskarray(item).any() for item in values])
    elif hasattr(values, "mask") and isinstance(values, np.ma.MaskedArray) and not values.dtype.names:
        mask = np.atleast_1d(np.ma.getmaskarray(values))
        masked, values = np.asarray(mask.any(axis=tuple(range(1, mask.ndim)))), values.data
    else:
        return values
    rows = np.flatnonzero(masked).tolist()
    if rows:
        listed = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5:,} more" if len(rows) > 5 else "")
        raise ArgumentError(
            f"{name} are masked in row{'s'[: len(rows) - 1]} {listed}, expected no masked values; "
            "fill them in or leave those rows out"
        )
    return values


def pack(bits: Bits) -> Codes:
    """Pack bits into words.

    Parameters
    ----------
    bits : ndarray of bool, shape (n, n_bits)

    Returns
    -------
    ndarray of uint64, shape (n, n_words)

    Examples
    --------
    >>> pack(np.array([[True, False, True]])).tolist()
    [[5]]
    """
    bits = np.asarray(unmasked(bits, "bits"))
    if bits.ndim != 2 or bits.dtype != np.bool_:
        raise ArgumentError(f"bits are {bits.dtype} of shape {bits.shape}, expected bool (n, n_bits)")
    n, n_bits = bits.shape
    packed = np.zeros((n, n_words_of(n_bits) * 8), np.uint8)
    packed[:, : -(-n_bits // 8)] = np.packbits(bits, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def unpack(codes: Codes, n_bits: int) -> Bits:
    """Unpack words into bits, the inverse of :func:`pack`.

    Parameters
    ----------
    codes : ndarray of uint64, shape (n, n_words)
    n_bits : int
        Width of a code in bits.

    Returns
    -------
    ndarray of bool, shape (n, n_bits)
    """
    raw = np.ascontiguousarray(codes, dtype="<u8").view(np.uint8)
    return np.unpackbits(raw, axis=1, count=n_bits, bitorder="little").view(np.bool_)


def check_codes(codes: Any, n_bits: int) -> Codes:
    """Return ``codes`` as C-contiguous uint64 (n, n_words), or say what is wrong with them.

    Raises
    ------
    ArgumentError
        Another dtype or shape, or a bit set past the width.
    """
    array = np.asarray(unmasked(codes, "codes"))
    n_words = n_words_of(n_bits)
    if array.dtype != np.uint64:
        raise ArgumentError(f"codes are of dtype {array.dtype}, expected uint64 words (hashdb.codes.pack makes them)")
    if array.ndim == 1 and n_words == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != n_words:
        raise ArgumentError(f"codes have shape {array.shape}, expected (n, {n_words}) words for {n_bits} bits")
    spare = n_words * 64 - n_bits
    if spare:
        stray = array[:, -1] >> np.uint64(64 - spare)
        if stray.any():
            row = int(np.flatnonzero(stray)[0])
            raise ArgumentError(f"code in row {row} has bits set past its width of {n_bits} bits, expected zeros there")
    return np.ascontiguousarray(array)


def resolve_input_type(sample: NDArray[Any], asked: str, want_bits: bool) -> str:
    """Decide how rows are read, from a sample of them.

    Parameters
    ----------
    sample : ndarray
        Some rows in the dtype of the file: (m, n_columns) numbers, or (m,) strings.
    asked : str
        One of ``INPUT_TYPES``, or ``auto``.
    want_bits : bool
        Whether bits are wanted (method ``codes``) or vectors.

    Raises
    ------
    ArgumentError
        Where two readings exist; both are named.
    """
    if asked != "auto":
        if asked not in INPUT_TYPES:
            raise ArgumentError(f"input type {asked!r} is unknown, expected auto or one of {', '.join(INPUT_TYPES)}")
        return asked
    if sample.dtype.kind in "OUS":
        return "hex"
    if sample.dtype.kind == "b":
        return "bool"
    if not want_bits:
        return "float"
    if sample.dtype == np.uint64:
        return "packed-lsb"
    values = set(np.unique(sample).tolist()) if sample.size else set()
    zero_one, signs = values <= {0, 1}, values <= {-1, 1}
    if sample.dtype == np.uint8 and zero_one:
        raise ArgumentError(
            "uint8 rows of 0 and 1 may be one bit a column (bool) or eight (packed-msb, packed-lsb); "
            "name one as input type"
        )
    if sample.dtype == np.uint8:
        raise ArgumentError(
            "uint8 rows may be packed-msb (as numpy.packbits and most hash libraries write them) or packed-lsb; "
            "name one as input type"
        )
    if values == {1}:
        raise ArgumentError("rows hold nothing but 1, which may be bool or pm1; name one as input type")
    if zero_one:
        return "bool"
    if signs:
        return "pm1"
    if sample.dtype.kind == "f":
        return "float"
    raise ArgumentError(
        f"{sample.dtype} rows hold neither 0 and 1 nor -1 and 1; name an input type: {', '.join(INPUT_TYPES)}"
    )


def width_of(sample: NDArray[Any], input_type: str) -> int:
    """Count the bits of a row that is read as ``input_type``.

    Parameters
    ----------
    sample : ndarray
        At least one row where the type is ``hex``.
    input_type : str
        One of ``INPUT_TYPES``.
    """
    _check_kind(sample, input_type)
    if input_type == "hex":
        rows = _as_text(sample)
        return 4 * len(rows[0]) if rows else 0
    columns = sample.shape[1] if sample.ndim == 2 else 1
    return columns * (sample.dtype.itemsize * 8 if input_type in PACKED_TYPES else 1)


def slack_of(sample: NDArray[Any], input_type: str) -> int:
    """Count the bits that packing may have added to reach whole bytes or words."""
    if input_type not in PACKED_TYPES:
        return 0
    return 63 if sample.dtype == np.uint64 else 7


def to_bits(array: NDArray[Any], input_type: str) -> Bits:
    """Read rows of bits.

    Parameters
    ----------
    array : ndarray
        (n, n_columns) of numbers, (n,) of uint64 words, or (n,) of hex strings.
    input_type : str
        ``bool`` (0 and 1), ``pm1`` (-1 and 1), ``float`` (bit = value > 0), ``packed-msb`` (bit 0 is the top bit of
        byte 0), ``packed-lsb`` (the lowest; words of uint64 are read so too), ``hex`` (packed-msb of its bytes).

    Returns
    -------
    ndarray of bool, shape (n, n_bits)

    Raises
    ------
    ArgumentError
        A value that the type does not have, or strings of different lengths.

    Examples
    --------
    >>> to_bits(np.array(["80"]), "hex").astype(int).tolist()
    [[1, 0, 0, 0, 0, 0, 0, 0]]
    """
    if input_type == "hex":
        return np.unpackbits(_hex_bytes(array), axis=1).view(np.bool_)
    array = np.asarray(unmasked(array, "rows"))
    if array.dtype.kind not in "biuf":
        raise ArgumentError(f"rows are of dtype {array.dtype}, expected numbers for input type {input_type}")
    if array.ndim == 1:
        array = array[:, None]
    if input_type in PACKED_TYPES:
        return _unpack_bytes(array, input_type)
    if input_type == "float":
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise ArgumentError(f"row {row}, column {column} is {array[row, column]}, expected finite numbers")
        return np.asarray(array > 0)
    low = 0 if input_type == "bool" else -1
    wrong = (array != low) & (array != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ArgumentError(
            f"row {row}, column {column} is {array[row, column]}, expected {low} or 1 for input type {input_type}"
        )
    return np.asarray(array == 1)


def to_vectors(array: NDArray[Any], input_type: str) -> NDArray[np.float32]:
    """Read rows as vectors; bits become -1 and 1.

    Parameters
    ----------
    array : ndarray, shape (n, n_columns)
    input_type : str
        One of ``INPUT_TYPES``.

    Returns
    -------
    ndarray of float32, shape (n, dim)
    """
    if input_type == "float":
        array = np.asarray(unmasked(array, "vectors"))
        if array.dtype.kind not in "biuf":
            raise ArgumentError(f"vectors are of dtype {array.dtype}, expected numbers")
        with np.errstate(all="ignore"):  # NaN in a form that signals, and what is told below
            vectors = array.astype(np.float32, copy=False)
        if array.dtype.kind == "f" and array.dtype.itemsize > vectors.itemsize:
            lost = np.isinf(vectors) & np.isfinite(array)
            if lost.any():
                row, column = np.argwhere(lost)[0]
                raise ArgumentError(
                    f"row {row}, column {column} is {array[row, column]!s}, which float32 cannot hold; rescale"
                )
        return vectors
    return np.where(to_bits(array, input_type), np.float32(1), np.float32(-1))


def fit_width(bits: Bits, n_bits: int, slack: int = 0) -> Bits:
    """Cut the padding that packing added to reach whole bytes or words.

    Parameters
    ----------
    bits : ndarray of bool, shape (n, width)
    n_bits : int
        Width wanted.
    slack : int
        Bits that packing may have added, see :func:`slack_of`; they must be zero.

    Raises
    ------
    ArgumentError
        Another width, or a bit set in the padding.
    """
    width = bits.shape[1]
    if width == n_bits or not len(bits):
        return bits[:, :n_bits]
    if not 0 < width - n_bits <= slack:
        raise ArgumentError(f"codes are {width} bits wide, expected {n_bits} bits")
    stray = bits[:, n_bits:].any(axis=1)
    if stray.any():
        row = int(np.flatnonzero(stray)[0])
        raise ArgumentError(f"code in row {row} has bits set past {n_bits} bits, expected zeros in its padding")
    return bits[:, :n_bits]


def format_hex(codes: Codes, n_bits: int) -> list[str]:
    """Write codes as hex strings in ``packed-msb`` order, the order in which hash libraries print them."""
    return [row.tobytes().hex() for row in np.packbits(unpack(codes, n_bits), axis=1)]


def _check_kind(sample: NDArray[Any], input_type: str) -> None:
    """Raise ArgumentError where rows cannot be of that type at all."""
    if not sample.size:
        return
    kind = sample.dtype.kind
    fits = {
        "hex": kind in "OUS",
        "packed-msb": sample.dtype == np.uint8,
        "packed-lsb": sample.dtype in (np.uint8, np.uint64),
    }.get(input_type, kind in "biuf")
    if not fits:
        shown = "text" if kind in "OUS" else f"of dtype {sample.dtype}"
        raise ArgumentError(f"rows are {shown}, which cannot be read as {input_type}; name another --input-type")


def _as_text(array: Any) -> list[str]:
    values: Sequence[Any] = np.asarray(unmasked(array, "hex codes")).reshape(-1).tolist()
    return [value.decode("ascii", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _hex_bytes(array: Any) -> NDArray[np.uint8]:
    rows = _as_text(array)
    if not rows:
        return np.zeros((0, 0), np.uint8)
    width = len(rows[0])
    for row, text in enumerate(rows):
        if len(text) != width or width % 2 or width == 0:
            raise ArgumentError(
                f"hex code in row {row} is {text!r} of {len(text)} digits, expected an even number, "
                f"the same in every row (row 0 has {width})"
            )
        if not set(text) <= _HEX_DIGITS:
            raise ArgumentError(f"hex code in row {row} is {text!r}, expected the digits 0-9 and a-f")
    return np.frombuffer(bytes.fromhex("".join(rows)), np.uint8).reshape(len(rows), width // 2)


def _unpack_bytes(array: NDArray[Any], input_type: str) -> Bits:
    if array.dtype == np.uint64 and input_type == "packed-lsb":
        return unpack(array, array.shape[1] * 64)
    if array.dtype != np.uint8:
        also = " or uint64 words" if input_type == "packed-lsb" else ""
        raise ArgumentError(f"rows are of dtype {array.dtype}, expected uint8 bytes{also} for input type {input_type}")
    raw = np.ascontiguousarray(array, dtype=np.uint8)
    return np.unpackbits(raw, axis=1, bitorder="big" if input_type == "packed-msb" else "little").view(np.bool_)


_HEX_DIGITS = frozenset(string.hexdigits)
