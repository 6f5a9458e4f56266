"""Reading whole files through the readers of :mod:`hashdb.inputs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import InputFileError
from hashdb.inputs import open_vectors, read_ids, read_labels
from hashdb.inputs.files import open_file
from hashdb.inputs.formats import parse_spec
from hashdb.inputs.jsonl import values_of
from hashdb.inputs.lines import Lines


def vectors(path: Path, inner: str | None = None) -> NDArray[Any]:
    """Read all rows of a file, in its own dtype."""
    with open_vectors(f"{path}::{inner}" if inner else path) as source:
        for rows in source.batches(max(1, source.n_rows)):
            return rows
        return np.empty((0, source.n_columns), source.dtype)


def images(path: Path, inner: str | None = None) -> NDArray[np.uint8]:
    """Read an array of images, uint8 (n, height, width) or (n, height, width, 3)."""
    with open_vectors(f"{path}::{inner}" if inner else path, items=True) as source:
        if not source.item_shape:
            raise InputFileError(f"{path} holds no images, expected uint8 (n, height, width) or (n, height, width, 3)")
        parts = list(source.batches(max(1, source.n_rows)))
        flat = parts[0] if parts else np.empty((0, source.n_columns), np.uint8)
        return np.asarray(flat.reshape(len(flat), *source.item_shape))


def classes(path: Path, inner: str | None = None) -> NDArray[Any]:
    """Read labels: int64 (n,), or bool (n, n_classes)."""
    return read_labels(f"{path}::{inner}" if inner else path)


def names(path: Path, inner: str | None = None) -> list[str]:
    """Read strings, one a line or of one column."""
    found = read_ids(f"{path}::{inner}" if inner else path, kind="string")
    return [str(one) for one in found]


def columns(path: Path, keys: tuple[str, ...]) -> list[list[Any]]:
    """Read some keys of JSON lines in one pass: a list of values for each."""
    with open_file(parse_spec(path)) as file:
        lines = Lines(file)
        rows = values_of(str(path), lines.read(0, lines.n), range(1, lines.n + 1), None)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not set(keys) <= set(row):
            raise InputFileError(f"{path}: line {number} is no object with the keys {', '.join(keys)}")
    return [[row[key] for row in rows] for key in keys]


def neighbours(rows: NDArray[Any], n_rows: int, path: Path) -> NDArray[np.int64]:
    """Check row numbers of published neighbours."""
    if rows.dtype.kind not in "iu" or (rows.size and (int(rows.min()) < 0 or int(rows.max()) >= n_rows)):
        raise InputFileError(f"{path} names neighbours that are no rows from 0 to {n_rows - 1:,}: it is of another set")
    return rows.astype(np.int64)
