r"""Files of lines: one pass finds where each line starts, then any lines are read without the rest.

Lines are UTF-8 and end with ``\n`` or ``\r\n``. Blank lines at the end are ignored; a blank line between others is
refused, for it would shift every row after it.
"""

from __future__ import annotations

import csv
import io
import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import one_line
from hashdb.inputs.source import Array, VectorSource, runs

_BLOCK_BYTES = 4 << 20
_MAX_LINE_BYTES = 64 << 20
_MAX_TRAILING_BLANKS = 1000
_BOM = b"\xef\xbb\xbf"
_MARKS_OF_FRACTIONS = np.frombuffer(b".eEnN", dtype=np.uint8)  # 1.5, 1e3, nan, inf


class Lines:
    """The lines of a file, by number from 0.

    Attributes
    ----------
    n : int
        Number of lines, without blank ones at the end.
    has_fractions : bool
        Some byte of the file could belong to a number that is no plain integer.
    has_quotes : bool
        There is a double quote somewhere.
    """

    def __init__(self, file: ByteFile) -> None:
        self.file = file
        self.name = file.name
        self.has_fractions = False
        self.has_quotes = False
        self._is_joined = False
        first = len(_BOM) if file.read(0, len(_BOM)) == _BOM else 0
        if file.read(0, 2) in (b"\xff\xfe", b"\xfe\xff"):
            raise InputFileError(f"{file.name} is UTF-16 text: expected UTF-8; convert it with iconv")
        self._starts = self._scan(first)
        self.n = len(self._starts) - 1
        self._check_longest()
        self._drop_trailing_blanks()

    def read(self, start: int, stop: int) -> list[str]:
        """Give lines `start` to `stop` without their ends.

        Raises
        ------
        InputFileError
            A line is blank or not UTF-8; the message has its number, from 1.
        """
        if start >= stop:
            return []
        offset, n_bytes = self._extent(start, stop)
        raw = self.file.read(offset, n_bytes)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            number = int(np.searchsorted(self._starts, offset + error.start, side="right"))
            raise InputFileError(f"{self.name}: line {number} is not UTF-8 text: {error.reason}") from error
        if self._is_joined:  # a quoted cell may hold line ends, so the starts decide
            cuts = (self._starts[start : stop + 1] - offset).tolist()
            pieces = [raw[a:b].decode("utf-8") for a, b in itertools.pairwise(cuts)]
            lines = [piece.removesuffix("\n").removesuffix("\r") for piece in pieces]
        else:
            lines = [line.removesuffix("\r") for line in text.split("\n")[: stop - start]]
        for number, line in enumerate(lines, start + 1):
            if not line or line.isspace():
                raise InputFileError(f"{self.name}: line {number} is blank, expected one row per line")
        return lines

    def take(self, rows: Array) -> list[str]:
        """Give the lines of ascending numbers."""
        lines: list[str] = []
        for first, last in runs(rows, 0, 1 << 16):
            base = int(rows[first])
            block = self.read(base, int(rows[last - 1]) + 1)
            lines.extend(block[row - base] for row in rows[first:last].tolist())
        return lines

    def join_quoted(self, delimiter: str) -> None:
        """Count a record of CSV whose quoted cells hold line ends as one line.

        Raises
        ------
        InputFileError
            A quote is not closed at the end of its cell; the message has the line where the record starts.
        """
        raw = io.BufferedReader(_Handle(self), 1 << 20)
        raw_lines = io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="")
        # Strict, for a quote left open swallows every row up to the next quote or the end of the file.
        reader = csv.reader(raw_lines, delimiter=delimiter, strict=True)
        firsts = [0]
        try:
            firsts.extend(reader.line_num for _ in reader)
        except csv.Error as error:
            raise InputFileError(
                f"{self.name}: the row that starts at line {firsts[-1] + 1} is not CSV: {one_line(error)}; "
                "close every quote at the end of its cell, and write one inside a cell twice"
            ) from error
        # The reader splits at a lone carriage return as well; such files keep their plain lines.
        if firsts[-1] == len(self._starts) - 1:
            self._starts = self._starts[np.array(firsts)]
            self.n = len(self._starts) - 1
            self._is_joined = True
            self._drop_trailing_blanks()

    def _drop_trailing_blanks(self) -> None:
        for _ in range(_MAX_TRAILING_BLANKS):
            if not self.n or self.file.read(*self._extent(self.n - 1, self.n)).strip():
                return
            self.n -= 1

    def _extent(self, start: int, stop: int) -> tuple[int, int]:
        offset = int(self._starts[start])
        return offset, int(self._starts[stop]) - offset

    def _scan(self, first: int) -> Array:
        found = [np.array([first], dtype=np.int64)]
        for offset in range(first, self.file.size, _BLOCK_BYTES):
            block = np.frombuffer(self.file.read(offset, _BLOCK_BYTES), dtype=np.uint8)
            found.append(np.flatnonzero(block == ord("\n")) + (offset + 1))
            self.has_quotes = self.has_quotes or bool((block == ord('"')).any())
            if not self.has_fractions:
                self.has_fractions = bool(np.isin(block, _MARKS_OF_FRACTIONS).any())
        if int(found[-1][-1] if found[-1].size else first) != self.file.size and self.file.size > first:
            found.append(np.array([self.file.size], dtype=np.int64))
        return np.concatenate(found)

    def _check_longest(self) -> None:
        if self.n and int(np.diff(self._starts).max()) > _MAX_LINE_BYTES:
            number = int(np.diff(self._starts).argmax())
            raise InputFileError(
                f"{self.name}: line {number + 1} has {self._extent(number, number + 1)[1]:,} bytes, "
                f"expected at most {_MAX_LINE_BYTES:,}; is it a text file?"
            )


class _Handle(io.RawIOBase):
    """The bytes of the lines as a stream, for the CSV reader."""

    def __init__(self, lines: Lines) -> None:
        self._file = lines.file
        self._offset = int(lines._starts[0])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(self._offset, len(buffer))
        buffer[: len(piece)] = piece
        self._offset += len(piece)
        return len(piece)


class LineSource(VectorSource):
    """Rows that are lines of a text file; a subclass says what a line means.

    Parameters
    ----------
    lines : Lines
        Its file is closed with the source.
    n_skipped : int
        Lines before row 0, such as a header.
    """

    def __init__(self, lines: Lines, n_skipped: int = 0) -> None:
        self.name = lines.name
        self.n_rows = max(0, lines.n - n_skipped)
        self._lines, self._n_skipped = lines, n_skipped

    @abstractmethod
    def _parse(self, lines: list[str], numbers: Sequence[int]) -> Array:
        """Give the rows that lines mean; `numbers` are the lines' numbers from 1, for messages."""

    def _read(self, start: int, stop: int) -> Array:
        lines = self._lines.read(start + self._n_skipped, stop + self._n_skipped)
        return self._parse(lines, range(start + self._n_skipped + 1, stop + self._n_skipped + 1))

    def _take(self, rows: Array) -> Array:
        rows = rows + self._n_skipped
        unique = np.unique(rows)
        parsed = self._parse(self._lines.take(unique), (unique + 1).tolist())
        return parsed if len(unique) == len(rows) else parsed[np.searchsorted(unique, rows)]

    def close(self) -> None:
        """Close the file."""
        self._lines.file.close()
