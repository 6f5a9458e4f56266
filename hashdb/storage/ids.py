"""Columns of ids: ranges, stored int64, stored strings.

Algorithms work on *keys*: int64 arrays, or fixed-width bytes arrays (``S``) of UTF-8, which NumPy orders by their
bytes as the format does (no id holds a NUL, so padding changes nothing). Users see int64 or fixed-width unicode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hashdb.errors import ArgumentError, CorruptIndexError, DuplicateIdError

MAX_ID_BYTES = 1024
INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
KINDS = ("int64", "string")

# Rows looked up at a time: bounds the memory of wide string keys.
BLOCK = 1 << 16
# Keys up to this width are gathered as windows of equal width, wider ones byte by byte.
NARROW = 64
# Fixed-width keys of a whole batch are sorted by NumPy up to this many bytes; beyond it, one by one.
MAX_SORT_BYTES = 512 << 20

Ids = np.ndarray | Sequence[str] | Sequence[int]


class IdColumn(Protocol):
    """Ids of n rows."""

    @property
    def n(self) -> int:
        """Number of ids."""
        ...

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return the keys of rows ``start..stop-1``, int64 or S."""
        ...

    def take_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return the keys of some rows."""
        ...

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return int64 rows of some keys, -1 where absent; the column is ascending."""
        ...


@dataclass(frozen=True)
class RangeColumn:
    """Ids ``first .. first + n - 1``; nothing is stored."""

    first: int
    n: int

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return int64 ids of rows ``start..stop-1``."""
        # Not first + arange(stop): that would overflow next to the largest int64.
        return np.arange(stop - start, dtype=np.int64) + np.int64(self.first + start)

    def take_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 ids of some rows."""
        return np.asarray(rows, np.int64) + np.int64(self.first)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return rows of some ids, -1 where absent."""
        inside = (keys >= self.first) & (keys <= self.first + self.n - 1)
        rows = np.full(len(keys), -1, np.int64)
        rows[inside] = keys[inside] - np.int64(self.first)
        return rows


@dataclass(frozen=True)
class IntColumn:
    """Stored ids, int64 (n,)."""

    values: np.ndarray

    @property
    def n(self) -> int:
        """Number of ids."""
        return len(self.values)

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return ids of rows ``start..stop-1``."""
        return self.values[start:stop]

    def take_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return ids of some rows."""
        return np.asarray(self.values[rows])

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return rows of some ids, -1 where absent."""
        if not self.n:
            return np.full(len(keys), -1, np.int64)
        rows = np.searchsorted(self.values, keys)
        found = self.values[np.minimum(rows, self.n - 1)] == keys
        return np.where(found, rows, -1).astype(np.int64, copy=False)


@dataclass(frozen=True)
class StringColumn:
    """Stored string ids.

    Attributes
    ----------
    data : ndarray of uint8
        UTF-8 of all ids, one after the other.
    offsets : ndarray of int64, shape (n + 1,)
        Where each begins.
    path : Path or None
        The file of the offsets, for a column read from disk: they are then checked before every use, since clipped
        ones would make ids that are not there, and hide those that are.
    """

    data: np.ndarray
    offsets: np.ndarray
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.path is not None and (int(self.offsets[0]) != 0 or int(self.offsets[-1]) != len(self.data)):
            raise self._damaged(self.path)

    @property
    def n(self) -> int:
        """Number of ids."""
        return len(self.offsets) - 1

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return keys (S) of rows ``start..stop-1``."""
        return self._gather(self.offsets[start:stop], self.offsets[start + 1 : stop + 1], MAX_ID_BYTES)

    def take_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return keys (S) of some rows."""
        return self._prefixes(np.asarray(rows, np.int64), MAX_ID_BYTES)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return rows of some keys (S), -1 where absent, by a binary search of all keys at once."""
        width = keys.dtype.itemsize
        low = np.zeros(len(keys), np.int64)
        high = np.full(len(keys), self.n, np.int64)
        while (active := np.flatnonzero(low < high)).size:
            middle = (low[active] + high[active]) >> 1
            # One byte more than any key has: a longer id never looks equal.
            less = self._prefixes(middle, width + 1) < keys[active]
            low[active[less]] = middle[less] + 1
            high[active[~less]] = middle[~less]
        rows = np.full(len(keys), -1, np.int64)
        inside = np.flatnonzero(low < self.n)
        equal = self._prefixes(low[inside], width + 1) == keys[inside]
        rows[inside[equal]] = low[inside[equal]]
        return rows

    def _prefixes(self, rows: np.ndarray, width: int) -> np.ndarray:
        return self._gather(self.offsets[rows], self.offsets[rows + 1], width)

    def _gather(self, starts: np.ndarray, stops: np.ndarray, max_width: int) -> np.ndarray:
        lengths = stops - starts
        if self.path is not None:
            wrong = (starts < 0) | (stops <= starts) | (stops > len(self.data)) | (lengths > MAX_ID_BYTES)
            if bool(wrong.any()):
                raise self._damaged(self.path)
        lengths = np.minimum(lengths, max_width)
        width = max(1, int(lengths.max(initial=1)))
        if width > NARROW or len(self.data) < width:
            return self._gather_ragged(starts, lengths, width)
        # Read `width` bytes at each start, or up to the end of the data and shifted, then blank what is not the id's.
        begins = np.minimum(starts, len(self.data) - width)
        cells = np.lib.stride_tricks.sliding_window_view(self.data, width)[begins]
        for row in np.flatnonzero(begins != starts):
            shift = int(starts[row] - begins[row])
            cells[row, : width - shift] = cells[row, shift:].copy()
        cells *= np.arange(width) < lengths[:, None]
        return np.asarray(cells.view(f"S{width}").reshape(-1))

    @staticmethod
    def _damaged(path: Path) -> CorruptIndexError:
        return CorruptIndexError(
            f"{path} holds offsets of ids that are out of order or out of range: its data are damaged", path
        )

    def _gather_ragged(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
        result = np.zeros((len(starts), width), np.uint8)
        # Byte i of the ragged run comes from `source[i]` and goes to `target[i]`.
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        source = np.repeat(starts, lengths) + within
        target = np.repeat(np.arange(len(starts)) * width, lengths) + within
        result.reshape(-1)[target] = self.data[source]
        return result.view(f"S{width}").reshape(-1)


def from_keys(keys: np.ndarray) -> IdColumn:
    """Build an in-memory column of int64 or S keys."""
    if keys.dtype.kind != "S":
        return IntColumn(keys)
    width = keys.dtype.itemsize
    lengths = np.strings.str_len(keys).astype(np.int64)
    cells = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), width)
    data = cells[np.arange(width) < lengths[:, None]]
    return StringColumn(data, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def to_users(keys: np.ndarray) -> np.ndarray:
    """Turn keys into what users see: int64, or fixed-width unicode."""
    if keys.dtype.kind != "S":
        return keys.astype(np.int64)
    if not len(keys):
        return np.empty(0, "<U1")
    if np.ascontiguousarray(keys).view(np.uint8).max(initial=0) < 128:
        return keys.astype(f"<U{keys.dtype.itemsize}")
    # Damaged bytes must not raise: a query may show a wrong id until `verify` finds the damage.
    return np.strings.decode(keys, "utf-8", "replace")


def normalise(ids: Ids, kind: str) -> IdColumn:
    """Check ids that a user gave and return them as a column in the same order.

    Parameters
    ----------
    ids : integer array, array of unicode, or sequence of int or str
        The ids.
    kind : "int64" or "string"
        Kind that the index takes.

    Raises
    ------
    ArgumentError
        Other kinds, integers outside int64, strings that are empty, too long, or hold NUL or lone surrogates.
    """
    array = ids if isinstance(ids, np.ndarray) else None
    if array is not None and array.ndim != 1:
        raise ArgumentError(f"ids have shape {array.shape}, expected one dimension")
    return _normalise_int(ids) if kind == "int64" else _normalise_strings(ids)


def _normalise_int(ids: Ids) -> IntColumn:
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        if ids.dtype == np.uint64 and len(ids) and ids.max() > INT64_MAX:
            raise ArgumentError(f"id {ids.max()} is beyond int64, expected an integer up to {INT64_MAX}")
        return IntColumn(np.array(ids, np.int64))
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    # Millions of plain ints: NumPy checks their range itself, and the loop is only for saying which one is wrong.
    if set(map(type, values)) == {int} and min(values) >= INT64_MIN and max(values) <= INT64_MAX:
        return IntColumn(np.array(values, np.int64))
    for value in values:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise ArgumentError(f"id {value!r:.80} is no integer, and this index has integer ids; give integers")
        if not INT64_MIN <= value <= INT64_MAX:
            raise ArgumentError(
                f"id {value!r:.80} is beyond int64, expected an integer from {INT64_MIN} to {INT64_MAX}"
            )
    return IntColumn(np.array(values, np.int64))


def _normalise_strings(ids: Ids) -> StringColumn:
    values = ids.tolist() if isinstance(ids, np.ndarray) else ids
    encoded = [_encode(value) for value in values]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return StringColumn(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def _encode(value: object) -> bytes:
    if not isinstance(value, str):
        raise ArgumentError(f"id {value!r:.80} is no string, and this index has string ids; give strings")
    try:
        data = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ArgumentError(f"id {value[:40]!a} holds a lone surrogate; an id is valid Unicode") from error
    if not 1 <= len(data) <= MAX_ID_BYTES:
        raise ArgumentError(f"id {value[:40]!r} has {len(data)} bytes of UTF-8; an id has 1 to {MAX_ID_BYTES}")
    if b"\0" in data:
        raise ArgumentError(f"id {value[:40]!r} holds a NUL character, which no id may")
    return data


def show(column: IdColumn, row: int) -> str:
    """Return one id as messages show it."""
    return repr(to_users(column.keys(row, row + 1))[0].item())[:80]


def sorting_order(column: IdColumn) -> np.ndarray | None:
    """Return the stable order that sorts a column, int64 (n,); None where it is strictly ascending already.

    Raises
    ------
    DuplicateIdError
        Naming the first id that appears a second time.
    """
    if _is_ascending(column):
        return None
    if isinstance(column, StringColumn):
        width = int(np.diff(column.offsets).max(initial=1))
        if column.n * width > MAX_SORT_BYTES:
            data = column.data.tobytes()
            bounds = column.offsets.tolist()
            order = np.array(sorted(range(column.n), key=lambda i: data[bounds[i] : bounds[i + 1]]), np.int64)
        else:
            order = np.argsort(_all_keys(column, width), kind="stable")
    else:
        order = np.argsort(column.keys(0, column.n), kind="stable")
    _refuse_duplicates(column, order)
    return order


def _all_keys(column: StringColumn, width: int) -> np.ndarray:
    keys = np.zeros(column.n, f"S{width}")
    for start in range(0, column.n, BLOCK):
        stop = min(start + BLOCK, column.n)
        keys[start:stop] = column.keys(start, stop)
    return keys


def _is_ascending(column: IdColumn) -> bool:
    for start in range(0, max(column.n - 1, 0), BLOCK):
        keys = column.keys(start, min(start + BLOCK + 1, column.n))
        if not bool((keys[:-1] < keys[1:]).all()):
            return False
    return True


def _refuse_duplicates(column: IdColumn, order: np.ndarray) -> None:
    first: tuple[int, int] | None = None
    for start in range(0, len(order) - 1, BLOCK):
        part = order[start : start + BLOCK + 1]
        keys = column.take_keys(part)
        for i in np.flatnonzero(keys[:-1] == keys[1:]):
            earlier, later = int(part[i]), int(part[i + 1])
            if first is None or later < first[1]:
                first = (earlier, later)
    if first is not None:
        raise DuplicateIdError(
            f"id {show(column, first[1])} is given twice, in rows {first[0]} and {first[1]} of the input; "
            "give every id once"
        )
