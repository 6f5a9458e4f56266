"""Tables as text: ``.csv``, ``.tsv`` and ``.txt``, numbers or cells, one row per line.

The delimiter is the tab, comma or semicolon that most of the first lines have (in ``.csv``, the first), else any white
space. Double quotes group cells in ``.csv`` only; in other text they are characters like any. What each column
holds is decided by the first hundred rows: numbers, hex codes or other text. A header is a first line without numbers
above a line with some, or one that counts its columns 0, 1, 2 beside a name. In ``.csv`` above plain text, it is one
that has the column asked for, or a name such as id, name or label: else it is a row, for a list of words looks the
same without a header. The head of word2vec's text format, two integers, is skipped.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hashdb.errors import InputFileError, brief
from hashdb.inputs.formats import choose, listing
from hashdb.inputs.hexlist import HexSource, check_hex, is_hex, is_number, reading_of
from hashdb.inputs.lines import Lines, LineSource
from hashdb.inputs.source import Array, VectorSource

_N_SAMPLED = 100
_MAX_DIGITS = 20  # of a number of rows or columns; Python refuses to read thousands
_NOT_VECTORS = {"", "id", "ids", "index", "label", "labels"}  # names of columns beside the vector
_NAMES_OF_WORDS = {"id", "ids", "index", "key", "keys", "name", "names", "label", "labels", "class", "classes"}


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are a table.

    Attributes
    ----------
    delimiter : str or None
        None is any white space.
    header : tuple of str, or None
        Names of the columns.
    n_skipped : int
        Lines before the first row.
    kinds : tuple of str
        Per column ``number``, ``hex``, ``text`` or ``ambiguous``, see `hashdb.inputs.hexlist.reading_of`.
    is_quoted : bool
        Double quotes group what is between them.
    """

    delimiter: str | None
    header: tuple[str, ...] | None
    n_skipped: int
    kinds: tuple[str, ...]
    is_quoted: bool = False

    def cells(self, line: str) -> list[str]:
        """Split a line into stripped cells."""
        return _split(line, self.delimiter, self.is_quoted)

    def names(self) -> dict[str, str]:
        """Give every column's name (its number where there is no header) and kind."""
        names = self.header or tuple(map(str, range(len(self.kinds))))
        return {name: f"({kind})" for name, kind in zip(names, self.kinds, strict=True)}

    def column(self, file: str, inner: str) -> int:
        """Find a column by name, or by number from 0."""
        names = list(self.names())
        if inner not in names and inner.isdecimal() and len(inner) < _MAX_DIGITS and int(inner) < len(names):
            return int(inner)
        return names.index(choose(file, "column", self.names(), inner))


def detect_layout(lines: Lines, *, is_csv: bool, inner: str | None, is_values: bool = False) -> Layout:
    """Find delimiter, header and kinds of columns from the first lines.

    Parameters
    ----------
    lines : Lines
        Quoted cells with line ends are joined.
    is_csv : bool
        Whether double quotes group cells, and a header may stand above words.
    inner : str or None
        The column asked for.
    is_values : bool
        The columns are of ids or labels, where hex digits are a word like any.

    Raises
    ------
    InputFileError
        Two columns of the header have one name.
    """
    # Before quoted cells are joined, only the first line of a .csv is sure to be one.
    delimiter = _delimiter(lines.read(0, min(1 if is_csv else _N_SAMPLED, lines.n)))
    is_quoted = is_csv and lines.has_quotes
    if is_quoted:
        delimiter = delimiter or ","  # of a single column
        lines.join_quoted(delimiter)
    rows = [_split(line, delimiter, is_quoted) for line in lines.read(0, min(_N_SAMPLED + 2, lines.n))]
    if not rows:
        return Layout(delimiter, None, 0, ())
    header, n_skipped = None, 0
    if _is_word2vec_head(rows, lines.n):
        n_skipped = 1
    elif _is_header(rows, inner, is_csv=is_csv, is_values=is_values):
        header, n_skipped = tuple(rows[0]), 1
        if len(set(header)) < len(header):
            twice = Counter(header).most_common(1)[0][0]
            raise InputFileError(f"{lines.name}: line 1 names two columns {brief(twice)!r}, expected a name each")
    body = rows[n_skipped:]
    n_columns = len(header or body[0])
    kinds = tuple(reading_of([row[c] for row in body if len(row) == n_columns]) for c in range(n_columns))
    return Layout(delimiter, header, n_skipped, kinds, is_quoted)


def open_table(lines: Lines, inner: str | None, *, is_csv: bool) -> VectorSource:
    """Open vectors or codes in a table.

    Without a column named, all columns of numbers are the vector, except those a header calls id, index or label;
    a first column of words is left out likewise, in ``.csv`` any, but for those among numbers without a header. A table
    with hex codes and numbers asks which.

    Raises
    ------
    InputFileError
        There is no such column or there are several readings; the message names them.
    """
    layout = detect_layout(lines, is_csv=is_csv, inner=inner)
    if inner is not None:
        column = layout.column(lines.name, inner)
        if layout.kinds[column] == "ambiguous":  # one column by itself is codes rather than a vector of one number
            kinds = tuple("hex" if c == column else kind for c, kind in enumerate(layout.kinds))
            layout = replace(layout, kinds=kinds)
        return TableSource(lines, layout, [column])
    if not layout.kinds:
        return TableSource(lines, layout, [])
    if len(layout.kinds) == 1 and not is_csv:
        if layout.kinds[0] == "ambiguous":
            first = brief(lines.read(0, 1)[0].strip())
            raise InputFileError(
                f"{lines.name} holds lines such as {first!r}, which may be hex codes or numbers: "
                "say which with --format hex or --format text"
            )
        if layout.kinds[0] == "hex":
            return HexSource(lines)
    return TableSource(lines, layout, _vector_columns(lines.name, layout, is_csv=is_csv))


def _vector_columns(file: str, layout: Layout, *, is_csv: bool) -> list[int]:
    names = list(layout.names())
    numbers = [c for c, kind in enumerate(layout.kinds) if kind in ("number", "ambiguous")]
    if layout.header is not None:
        numbers = [c for c in numbers if names[c].lower() not in _NOT_VECTORS] or numbers
    codes = [c for c, kind in enumerate(layout.kinds) if kind == "hex"]
    words = [c for c, kind in enumerate(layout.kinds) if kind == "text"]
    if len(codes) == 1 and not numbers:
        return codes
    # Without a header, words among numbers may be numbers with decimal commas.
    is_odd = words not in ([], [0]) and not is_csv
    is_odd = is_odd or (layout.header is None and any(numbers[:1] < [c] < numbers[-1:] for c in words))
    if codes or not numbers or is_odd:
        options = {names[c]: f"({layout.kinds[c]})" for c in codes or range(len(names))}
        if codes and numbers:
            options["all numbers"] = f"(columns {', '.join(names[c] for c in numbers[:20])})"
        usable = codes or numbers
        advice = f"pick a column, as in {file}::{usable[0]}" if usable else "expected numbers or hex codes"
        raise InputFileError(f"{file} has no one reading as vectors: {listing(options)}; {advice}")
    return numbers


def _split(line: str, delimiter: str | None, is_quoted: bool) -> list[str]:
    if delimiter is None:
        return line.split()
    if not is_quoted or '"' not in line:
        cells = line.split(delimiter)
    else:
        try:
            cells = next(csv.reader([line], delimiter=delimiter))
        except csv.Error:
            # A lone carriage return outside of quotes ends a line for the reader, and not for us.
            cells = next(csv.reader([line.replace("\r", " ")], delimiter=delimiter))
    return [cell.strip() for cell in cells]


def _delimiter(sample: list[str]) -> str | None:
    for delimiter in ("\t", ",", ";"):
        if 2 * sum(delimiter in line for line in sample) > len(sample):
            return delimiter
    return None


def _is_word2vec_head(rows: list[list[str]], n_lines: int) -> bool:
    if len(rows) < 2 or len(rows[0]) != 2:
        return False
    if not all(cell.isdecimal() and len(cell) < _MAX_DIGITS for cell in rows[0]):
        return False
    n, dim = map(int, rows[0])
    return n == n_lines - 1 and len(rows[1]) == dim + 1 and dim > 1


def _is_header(rows: list[list[str]], inner: str | None, *, is_csv: bool, is_values: bool) -> bool:
    first, second = rows[0], rows[1] if len(rows) > 1 else None
    numbers = [cell for cell in first if is_number(cell)]
    if len(numbers) == len(first) or any(map(is_hex, first)):
        return False
    if numbers:  # pandas names unnamed columns 0, 1, 2 …
        return len(numbers) > 1 and numbers == [str(n) for n in range(len(numbers))]
    if not is_csv:
        is_pair = second is not None and len(second) == len(first) > 1
        return is_pair and any(is_number(b) or is_hex(b) for b in second or ())
    if inner in first or any(cell.lower() in _NAMES_OF_WORDS for cell in first):
        return True
    if inner is None and (len(first) > 1 or not is_values):
        return True  # no row of words is a vector, and of several columns an error lists the names
    body = [row for row in rows[1:] if len(row) == len(first)]
    if len(first) == 1 and is_values:
        return bool(body) and all(is_number(row[0]) for row in body)  # ids may be words among numbers
    return bool(body) and any(reading_of([row[c] for row in body]) != "text" for c in range(len(first)))


class TableSource(LineSource):
    """Chosen columns of a table: numbers, or one column of strings.

    Parameters
    ----------
    lines : Lines
        The file.
    layout : Layout
        From `detect_layout`.
    columns : list of int
        All of numbers, or one of text or hex.
    """

    def __init__(self, lines: Lines, layout: Layout, columns: list[int]) -> None:
        super().__init__(lines, layout.n_skipped)
        self._layout, self._columns = layout, columns
        self.n_columns = len(columns)
        self._width = 0
        self.is_text = any(layout.kinds[c] in ("hex", "text") for c in columns)
        if self.is_text:
            self.dtype = np.dtype(object)
            if layout.kinds[columns[0]] == "hex" and self.n_rows:
                self._width = len(self._cells([lines.read(layout.n_skipped, layout.n_skipped + 1)[0]], [1])[0])
        else:
            # A header may hold any letter, so only plain files of integers are known to be that.
            is_integer = not lines.has_fractions and bool(columns)
            self.dtype = np.dtype(np.int64 if is_integer else np.float64)

    def _parse(self, lines: list[str], numbers: Sequence[int]) -> Array:
        if self.is_text:
            cells = self._cells(lines, numbers)
            if self._width:
                check_hex(self.name, cells, numbers, self._width)
            return np.array(cells, dtype=object)
        if not lines:
            return np.empty((0, self.n_columns), dtype=self.dtype)
        # Without usecols, loadtxt itself refuses lines of different lengths, and faster.
        takes_all = len(self._columns) == len(self._layout.kinds)
        try:
            rows = np.loadtxt(
                lines,
                dtype=self.dtype,
                delimiter=self._layout.delimiter,
                comments=None,
                quotechar='"' if self._layout.is_quoted else None,
                usecols=None if takes_all else self._columns,
                ndmin=2,
            )
        except (ValueError, OverflowError) as error:
            raise self._diagnose(lines, numbers, str(error)) from error
        if self._is_beyond(rows) and (wrong := self._wrong_cell(lines, numbers)):
            raise wrong
        if rows.shape != (len(lines), self.n_columns) or (not takes_all and self._is_ragged(lines)):
            raise self._diagnose(lines, numbers, "the number of cells varies")
        return rows

    def _cells(self, lines: list[str], numbers: Sequence[int]) -> list[str]:
        column = self._columns[0]
        out = []
        for line, number in zip(lines, numbers, strict=True):
            cells = self._layout.cells(line)
            if len(cells) != len(self._layout.kinds):
                raise self._ragged(number, len(cells))
            out.append(cells[column])
        return out

    def _is_ragged(self, lines: list[str]) -> bool:
        delimiter, expected = self._layout.delimiter, len(self._layout.kinds)
        if delimiter is None or self._layout.is_quoted:
            return any(len(self._layout.cells(line)) != expected for line in lines)
        return any(line.count(delimiter) != expected - 1 for line in lines)

    def _ragged(self, number: int, n_cells: int) -> InputFileError:
        expected = len(self._layout.kinds)
        return InputFileError(
            f"{self.name}: line {number} has {n_cells} cells, expected {expected} as in the first row"
        )

    def _is_beyond(self, rows: Array) -> bool:
        # Older releases of NumPy read an integer that is too large as the least or the greatest there is.
        ends = np.iinfo(np.int64)
        return self.dtype.kind == "i" and bool(((rows == ends.min) | (rows == ends.max)).any())

    def _diagnose(self, lines: list[str], numbers: Sequence[int], reason: str) -> InputFileError:
        return self._wrong_cell(lines, numbers) or InputFileError(
            f"{self.name}: lines {numbers[0]} to {numbers[-1]} cannot be read as numbers: {brief(reason, 200)}"
        )

    def _wrong_cell(self, lines: list[str], numbers: Sequence[int]) -> InputFileError | None:
        for line, number in zip(lines, numbers, strict=True):
            cells = self._layout.cells(line)
            if len(cells) != len(self._layout.kinds):
                return self._ragged(number, len(cells))
            for column in self._columns:
                fault = self._fault(cells[column])
                if fault:
                    return InputFileError(
                        f"{self.name}: line {number}, column {column} is {cells[column][:80]!r}: {fault}"
                    )
        return None

    def _fault(self, cell: str) -> str | None:
        if not is_number(cell):
            return "a value is missing, expected a number" if not cell else "expected a number"
        if self.dtype.kind == "i" and (len(cell) > 100 or not -(2**63) <= int(cell) < 2**63):
            return "too large for int64, expected below 2**63 (1.0 in any line makes all fractions)"
        return None
