"""The footer of a Parquet file, read before pyarrow believes it: how many values each column claims to have.

A run of equal values takes a few bytes whatever its length, so the size of a file says little about what is in it. The
footer is a structure of Thrift in its compact protocol; of it only numbers and names are taken. pyarrow's own view of
it ends the process where statistics are damaged.
"""

from __future__ import annotations

import struct
from typing import Any

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile

_MAX_FOOTER_BYTES = 16 << 20
_MAX_DEPTH = 16
_MARK = b"PAR1"
# Numbers of fields, as parquet.thrift has them: of the file, a row group, a column chunk and what is known of it.
_ROW_GROUPS, _COLUMNS, _N_ROWS, _ABOUT, _PATH, _N_VALUES, _N_BYTES = 4, 1, 3, 3, 3, 5, 6

Claims = list[tuple[str, int, int]]


def read_claims(file: ByteFile) -> list[tuple[int, Claims]]:
    """Give what a file claims: of each row group the number of rows, and name, values and unpacked bytes of columns.

    Of a column that is a structure, each leaf comes by itself, under the name of the whole.

    Raises
    ------
    InputFileError
        The footer is damaged, or far larger than that of any file of vectors.
    """
    tail = file.read(max(0, file.size - 8), 8)
    n_bytes = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != _MARK or not 0 < n_bytes <= file.size - 8:
        raise InputFileError(f"{file.name} is not a readable Parquet file: it does not end with a footer and PAR1")
    if n_bytes > _MAX_FOOTER_BYTES:
        raise InputFileError(f"{file.name} has a footer of {n_bytes:,} bytes: expected at most {_MAX_FOOTER_BYTES:,}")
    try:
        footer = _Compact(file.read(file.size - 8 - n_bytes, n_bytes)).structure(0)
        return [(int(group[_N_ROWS]), [_claim(column) for column in group[_COLUMNS]]) for group in footer[_ROW_GROUPS]]
    except (LookupError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise InputFileError(f"{file.name} is not a readable Parquet file: its footer is damaged") from error


def _claim(column: dict[int, Any]) -> tuple[str, int, int]:
    about = column[_ABOUT]
    return about[_PATH][0].decode("utf-8", "backslashreplace"), int(about[_N_VALUES]), int(about[_N_BYTES])


class _Compact:
    """Reads the compact protocol of Thrift: structures as dicts by the number of the field."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def structure(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("structures or lists are nested too deeply")
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            head = self._byte()
            n = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15, depth + 1) for _ in range(self._possible(n))]
        if kind == 12:
            return self.structure(depth + 1)
        raise ValueError(f"type {kind} is not used by Parquet")

    def _possible(self, n: int) -> int:
        if n > len(self._raw) - self._at:  # everything takes a byte at least
            raise ValueError(f"{n} are more than there can be")
        return n

    def _byte(self) -> int:
        self._at += 1
        return self._raw[self._at - 1]

    def _bytes(self, n: int) -> bytes:
        self._at += self._possible(n)
        return self._raw[self._at - n : self._at]

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number has more than 64 bits")
