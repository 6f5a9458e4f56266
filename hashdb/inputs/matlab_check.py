"""Sizes inside a ``.mat`` file, checked before SciPy takes memory for them.

SciPy believes what an element says of its size and shape. So every element is walked through first: it must end within
the one that holds it, and a shape must not have more entries than there are bytes. Compressed elements are unpacked
once for that, piece by piece.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Protocol

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.limits import MAX_DIMENSIONS, most_bytes, too_large

_PIECE = 1 << 16
_MAX_DEPTH = 16  # of cells in cells
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 5, 16, 17
_KINDS = {*range(1, 8), 9, *range(12, 19)}  # of elements; SciPy looks up others outside of its tables
_ITEM_BYTES = (8, 4, 4, 2, 2, 1)  # of the types of version 4


class _Bytes(Protocol):
    """A stretch of the file, or of what is unpacked from it, read from front to back."""

    def take(self, n_bytes: int) -> bytes: ...

    def skip(self, n_bytes: int) -> None: ...


def check_mat(file: ByteFile) -> None:
    """Walk through a ``.mat`` file of version 4 to 7.

    Raises
    ------
    InputFileError
        An element is larger than what holds it, a shape than its bytes, or what is compressed grows beyond measure.
    """
    try:
        if 0 in file.read(0, 4):
            _check_4(file)
        else:
            _check_5(file)
    except (_Ended, struct.error, zlib.error) as error:
        raise InputFileError(f"{file.name} is not a readable .mat file: {error}") from error


class _Ended(Exception):
    """Something does not fit into what holds it."""


def _check_4(file: ByteFile) -> None:
    start = 0
    while start < file.size:
        head = file.read(start, 20)
        kind = int.from_bytes(head[:4], "little")
        order = "<" if kind <= 5000 else ">"
        kind, n_rows, n_columns, is_complex, n_name = struct.unpack(f"{order}5i", head)
        if min(n_rows, n_columns) < 0 or not 0 <= n_name <= _PIECE or not 0 <= kind // 10 % 10 < len(_ITEM_BYTES):
            raise _Ended(f"the head at byte {start:,} is damaged")
        n_bytes = n_rows * n_columns * _ITEM_BYTES[kind // 10 % 10] * (2 if is_complex else 1)
        start += 20 + n_name + n_bytes
        if start > file.size:
            raise _Ended(f"a matrix of {n_rows:,} x {n_columns:,} ends at byte {start:,}, but it has {file.size:,}")


def _check_5(file: ByteFile) -> None:
    order = {b"IM": "<", b"MI": ">"}.get(file.read(126, 2))
    if order is None:
        raise _Ended("its head is damaged")
    start, unpacked = 128, 0
    while start < file.size:
        kind, n_bytes = struct.unpack(f"{order}II", file.read(start, 8))
        start += 8
        if n_bytes > file.size - start:
            raise _Ended(f"an element of {n_bytes:,} bytes begins at byte {start:,}, but it has {file.size:,}")
        inside: _Bytes = _Plain(file, start)
        if kind == _COMPRESSED:
            inside = packed = _Unpacked(file, start, n_bytes, most_bytes(file.size) - unpacked)
            kind, size = struct.unpack(f"{order}II", packed.take(8))
        else:
            size = n_bytes
        if kind == _MATRIX:
            _check_matrix(inside, order, size, 0)
        else:
            inside.skip(size)
        if isinstance(inside, _Unpacked):
            unpacked += inside.n_taken
        start += n_bytes


def _check_matrix(inside: _Bytes, order: str, left: int, depth: int) -> None:
    """Walk through the elements of one matrix, which takes the next `left` bytes."""
    if depth > _MAX_DEPTH:
        raise _Ended(f"cells are nested more than {_MAX_DEPTH} deep")
    if not left:
        return
    number, kind_of_matrix, n_entries, n_name = 0, 0, 0, 1
    total = left
    while left:
        head = inside.take(8)
        left -= 8
        (word, n_bytes) = struct.unpack(f"{order}II", head)
        kind, is_small = word & 0xFFFF, word >> 16
        if is_small:  # up to four bytes, within the head
            kind, n_bytes, data = kind, is_small, head[4:]
            if is_small > 4 or left < 0:
                raise _Ended("a small element has more than four bytes")
            size = 0
        else:
            size = n_bytes + (-n_bytes % 8 if kind != _COMPRESSED else 0)
            # The last element of a matrix may lack its padding.
            size = n_bytes if n_bytes == left else size
            if left < 0 or size > left:
                raise _Ended(f"an element of {n_bytes:,} bytes is larger than the {max(0, left):,} that hold it")
            data = b""
            if kind == _MATRIX:
                _check_matrix(inside, order, n_bytes, depth + 1)
                inside.skip(size - n_bytes)
            elif number < 4 and size <= _PIECE:
                data = inside.take(size)
            else:
                inside.skip(size)
        left -= size
        if kind not in _KINDS:
            raise _Ended(f"an element is of the unknown type {kind}")
        if number == 0:
            kind_of_matrix = data[0 if order == "<" else 3] if len(data) == 8 else 0
            if not _CELL <= kind_of_matrix <= _OPAQUE:
                raise _Ended(f"a matrix is of the unknown class {kind_of_matrix}")
        elif number == 1 and kind_of_matrix not in (_FUNCTION, _OPAQUE):
            n_entries = _entries(data[:n_bytes], order)
            if kind_of_matrix != _SPARSE and n_entries > total:
                raise _Ended(f"a shape of {n_entries:,} entries is in {total:,} bytes")
        elif number == 3 and kind_of_matrix == _STRUCT and len(data) >= 4:
            (n_name,) = struct.unpack(f"{order}i", data[:4])
        elif number == 4 and kind_of_matrix == _STRUCT and n_entries * (n_bytes // max(1, n_name)) > total:
            raise _Ended(f"{n_entries:,} structs of {n_bytes // max(1, n_name):,} fields are in {total:,} bytes")
        number += 1


def _entries(data: bytes, order: str) -> int:
    n_dims = len(data) // 4
    if not 0 < n_dims <= MAX_DIMENSIONS:
        raise _Ended(f"a shape has {n_dims} dimensions")
    shape = struct.unpack(f"{order}{n_dims}i", data[: 4 * n_dims])
    if min(shape) < 0:
        raise _Ended("a shape is negative")
    return math.prod(shape)


class _Plain:
    def __init__(self, file: ByteFile, start: int) -> None:
        self._file, self._at = file, start

    def take(self, n_bytes: int) -> bytes:
        data = self._file.read(self._at, n_bytes)
        self._at += n_bytes
        if len(data) < n_bytes:
            raise _Ended("it ends in the middle")
        return data

    def skip(self, n_bytes: int) -> None:
        self._at += n_bytes


class _Unpacked:
    def __init__(self, file: ByteFile, start: int, n_bytes: int, limit: int) -> None:
        self._file, self._at, self._end, self._limit = file, start, start + n_bytes, limit
        self._unpacker = zlib.decompressobj()
        self._rest = b""
        self._ready = b""
        self.n_taken = 0

    def take(self, n_bytes: int) -> bytes:
        parts = []
        while n_bytes:
            if not self._ready:
                self._unpack()
            parts.append(self._ready[:n_bytes])
            self._ready = self._ready[n_bytes:]
            n_bytes -= len(parts[-1])
        return b"".join(parts)

    def skip(self, n_bytes: int) -> None:
        while n_bytes:
            n_bytes -= len(self.take(min(n_bytes, _PIECE)))

    def _unpack(self) -> None:
        while not self._ready:
            if not self._rest:
                self._rest = self._file.read(self._at, min(_PIECE, self._end - self._at))
                self._at += len(self._rest)
            if not self._rest or self._unpacker.eof:
                raise _Ended("what is compressed ends in the middle")
            self._ready = self._unpacker.decompress(self._rest, _PIECE)
            self._rest = self._unpacker.unconsumed_tail
        self.n_taken += len(self._ready)
        if self.n_taken > self._limit:
            raise too_large(self._file.name, self._file.size, "more")
