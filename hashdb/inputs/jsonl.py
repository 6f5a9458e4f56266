"""JSON lines: each line a list of numbers, or an object from which a key is picked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hashdb.errors import InputFileError, brief
from hashdb.inputs.formats import choose, listing, one_line
from hashdb.inputs.hexlist import is_hex
from hashdb.inputs.lines import Lines, LineSource
from hashdb.inputs.source import Array

_N_SAMPLED = 1000
_KINDS = {"b": "true or false", "i": "integers", "f": "numbers"}


def parse_line(name: str, line: str, number: int) -> Any:
    """Parse one line.

    Raises
    ------
    InputFileError
        It is no JSON, or an object in it has a key twice; the message has its number, counted from 1.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise InputFileError(f"{name}: line {number} has the key {brief(twice)!r} twice, expected it once")
        return found

    try:
        return json.loads(line, object_pairs_hook=unique)
    except InputFileError:
        raise
    except RecursionError as error:
        raise InputFileError(f"{name}: line {number} is nested too deeply for a row") from error
    except ValueError as error:
        raise InputFileError(f"{name}: line {number} is not JSON: {one_line(error)}") from error


def values_of(name: str, lines: Sequence[str], numbers: Sequence[int], key: str | None) -> list[Any]:
    """Parse lines and pick `key` from each where it is not None.

    Raises
    ------
    InputFileError
        A line is no JSON, no object where a key is asked for, or has not the key.
    """
    values = []
    for line, number in zip(lines, numbers, strict=True):
        value = parse_line(name, line, number)
        if key is not None:
            if not isinstance(value, dict):
                raise InputFileError(f"{name}: line {number} is no object: expected one with the key {brief(key)!r}")
            if key not in value:
                keys = listing(dict.fromkeys(value, ""))
                raise InputFileError(f"{name}: line {number} has no key {brief(key)!r}: it has {keys}")
            value = value[key]
        values.append(value)
    return values


def choose_key(lines: Lines, inner: str | None, wanted: str, fits: Any) -> str | None:
    """Choose the key of the first line's object; None where lines are no objects.

    Parameters
    ----------
    lines : Lines
        With at least one line.
    inner : str or None
        The key asked for.
    wanted : str
        What is looked for, in messages.
    fits : function of a value
        Whether a key with that value is a candidate when none is asked for.
    """
    first = parse_line(lines.name, lines.read(0, 1)[0], 1)
    if not isinstance(first, dict):
        if inner is not None:
            raise InputFileError(f"{lines.name}: line 1 is no object: expected one with the key {brief(inner)!r}")
        return None
    everything = {key: f"({_describe(value)})" for key, value in first.items()}
    candidates = {key: everything[key] for key, value in first.items() if fits(value)}
    return choose(lines.name, wanted, candidates, inner, everything)


def is_vector(value: Any) -> bool:
    """Tell whether a value can be a row: a list of numbers or a hex code."""
    if isinstance(value, str):
        return is_hex(value)
    return isinstance(value, list) and bool(value) and all(isinstance(item, int | float) for item in value)


class JsonlSource(LineSource):
    """Rows of numbers or strings from JSON lines.

    The first thousand lines say whether numbers are bool, int64 or float64; a fraction that follows integers later
    is an error rather than a change of dtype.
    """

    def __init__(self, lines: Lines, inner: str | None) -> None:
        super().__init__(lines)
        self._key: str | None = None
        self.n_columns = 0
        self.dtype = np.dtype(np.float64)
        if not self.n_rows:
            return
        self._key = choose_key(lines, inner, "key with vectors or codes", is_vector)
        n_sampled = min(_N_SAMPLED, self.n_rows)
        sample = values_of(self.name, lines.read(0, n_sampled), range(1, n_sampled + 1), self._key)
        first = sample[0]
        if isinstance(first, str):
            self.is_text, self.n_columns, self.dtype = True, 1, np.dtype(object)
            return
        if not isinstance(first, list) or not first:
            raise InputFileError(f"{self.name}: line 1 holds {_describe(first)}, expected a list of numbers")
        self.n_columns = len(first)
        self.dtype = self._as_array(sample, range(1, n_sampled + 1)).dtype

    def _parse(self, lines: list[str], numbers: Sequence[int]) -> Array:
        values = values_of(self.name, lines, numbers, self._key)
        if self.is_text:
            for value, number in zip(values, numbers, strict=True):
                if not isinstance(value, str):
                    raise InputFileError(f"{self.name}: line {number} holds {_describe(value)}, expected a string")
            return np.array(values, dtype=object)
        if not values:
            return np.empty((0, self.n_columns), dtype=self.dtype)
        rows = self._as_array(values, numbers)
        if not np.can_cast(rows.dtype, self.dtype, "safe"):
            raise InputFileError(
                f"{self.name}: {_KINDS[rows.dtype.kind]} within lines {numbers[0]} to {numbers[-1]}, expected "
                f"{_KINDS[self.dtype.kind]} as in the first lines; to mean fractions, write 1.0 for 1 in line 1"
            )
        return rows.astype(self.dtype, copy=False)

    def _as_array(self, values: list[Any], numbers: Sequence[int]) -> Array:
        for value, number in zip(values, numbers, strict=True):
            if not isinstance(value, list) or len(value) != self.n_columns:
                raise InputFileError(
                    f"{self.name}: line {number} holds {_describe(value)}, expected a list of {self.n_columns} numbers"
                )
        try:
            rows = np.array(values)
        except (ValueError, OverflowError) as error:
            raise self._diagnose(values, numbers) from error
        if rows.dtype.kind not in "bif" or rows.ndim != 2:
            raise self._diagnose(values, numbers)
        return rows

    def _diagnose(self, values: list[Any], numbers: Sequence[int]) -> InputFileError:
        for value, number in zip(values, numbers, strict=True):
            for item in value:
                if not isinstance(item, int | float):
                    return InputFileError(f"{self.name}: line {number} holds {_describe(item)}, expected a number")
                if isinstance(item, int) and abs(item) >= 2**63:
                    return InputFileError(f"{self.name}: line {number} holds {brief(item)}, too large for int64")
        return InputFileError(f"{self.name}: lines {numbers[0]} to {numbers[-1]} are not rows of numbers")


def _describe(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"the string {value[:40]!r}" if isinstance(value, str) else f"the number {str(value)[:40]}"
