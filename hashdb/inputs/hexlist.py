"""Hex codes as text: one per line, all of one width, bit 0 the top bit of the first byte."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.lines import Lines, LineSource
from hashdb.inputs.source import Array

_HEX = re.compile(r"[0-9a-fA-F]+")
# No two ways to match the same digits: trying them all would take the square of their number.
_NUMBER = re.compile(
    r"[+-]?([0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE
)
_MIN_DIGITS = 8
_MAX_NUMBER_DIGITS = 18  # longer runs of digits fit no int64


def is_number(cell: str) -> bool:
    """Tell whether a cell of text is a number."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def is_hex(cell: str) -> bool:
    """Tell whether a cell could be a hex code: whole bytes, at least four of them."""
    return len(cell) >= _MIN_DIGITS and len(cell) % 2 == 0 and _HEX.fullmatch(cell) is not None


def reading_of(cells: Sequence[str]) -> str:
    """Say what a column of cells is: ``hex``, ``number``, ``text`` or ``ambiguous`` (hex codes or numbers).

    The majority decides, so that a stray cell is an error later on that names its line. Cells are hex where most have
    one even width of at least eight hex digits and are no numbers, or are too long for one; nothing but 0 and 1 may
    also be one bit a character.
    """
    if not cells:
        return "number"
    n_numbers = sum(map(is_number, cells))
    width = Counter(map(len, cells)).most_common(1)[0][0]
    n_hex = sum(len(cell) == width and is_hex(cell) for cell in cells)
    if 2 * n_hex > len(cells):
        if all(set(cell) <= {"0", "1"} for cell in cells):
            return "ambiguous"  # hex, or a bit a character
        return "hex" if n_numbers < n_hex or width > _MAX_NUMBER_DIGITS else "ambiguous"
    return "text" if 2 * n_numbers < len(cells) else "number"


def check_hex(name: str, codes: Sequence[str], numbers: Sequence[int], width: int) -> None:
    """Check that every code is `width` hex digits.

    Raises
    ------
    InputFileError
        One is not; the message has its line number.
    """
    for code, number in zip(codes, numbers, strict=True):
        if len(code) != width:
            raise InputFileError(f"{name}: line {number} has {len(code)} characters, expected {width} hex digits")
        if not _HEX.fullmatch(code):
            raise InputFileError(f"{name}: line {number} is {code[:80]!r}, expected {width} hex digits")


class HexSource(LineSource):
    """One hex code per line."""

    is_text = True

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines)
        self.n_columns = 1
        self.dtype = np.dtype(object)
        self._width = 0
        if self.n_rows:
            first = lines.read(0, 1)[0].strip()
            self._width = len(first)
            if len(first) % 2 or not _HEX.fullmatch(first):
                raise InputFileError(f"{self.name}: line 1 is {first[:80]!r}, expected an even number of hex digits")

    def _parse(self, lines: list[str], numbers: Sequence[int]) -> Array:
        codes = [line.strip() for line in lines]
        check_hex(self.name, codes, numbers, self._width)
        return np.array(codes, dtype=object)
