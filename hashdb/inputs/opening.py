"""From a spec to rows, or to the whole of what holds ids and labels: the one place that knows every format."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.codes import unmasked
from hashdb.errors import InputFileError, brief
from hashdb.inputs import jsonl, vecs
from hashdb.inputs.files import ByteFile, open_file
from hashdb.inputs.formats import Spec, listing, one_line, parse_spec
from hashdb.inputs.hexlist import HexSource
from hashdb.inputs.idx import load_idx, open_idx
from hashdb.inputs.lines import Lines
from hashdb.inputs.numpy_files import Wanted, load_npy, open_npy, open_npz
from hashdb.inputs.source import Array, ArraySource, VectorSource, is_images
from hashdb.inputs.table import TableSource, detect_layout, open_table

# Arrays of an .npz that are vectors when none is named; strings and uint64 codes only where there is no matrix.
_VECTORS: list[Wanted] = [
    lambda shape, dtype: len(shape) == 2 and dtype.kind in "biuf",
    lambda shape, dtype: len(shape) == 1 and (dtype.kind in "US" or dtype == np.uint64),
]
_IMAGES: Wanted = is_images
_TEXT_FORMATS = ("csv", "text", "hex")


def open_vectors(
    spec: str | os.PathLike[str] | Array | VectorSource | Sequence[Any],
    *,
    format: str | None = None,
    spool_near: str | os.PathLike[str] | None = None,
    items: bool = False,
) -> VectorSource:
    """Open vectors or codes for reading in batches.

    Parameters
    ----------
    spec : str, Path, ndarray, sequence or VectorSource
        A file, ``FILE::NAME``, ``-`` for standard input; an array (n, dim) of numbers, (n,) of strings or of uint64
        codes; a list of hex strings or of rows; or a source, which is given back.
    format : str, optional
        One of `hashdb.inputs.FORMATS`, in place of the extension.
    spool_near : path, optional
        The folder, best the one that holds the index, in which what cannot be sought (standard input, pipes, large
        gzip) is copied once into a nameless file, gone when the source is closed. None is the system's folder.
    items : bool
        Images are taken too, for an encoder: uint8 (n, height, width) or (n, height, width, channels) in ``.npy``,
        ``.npz``, idx, ``.h5``, ``.zarr`` or an array. The source's ``item_shape`` then says what a flat row is.

    Returns
    -------
    VectorSource
        Close it, or use it in a ``with`` statement.

    Raises
    ------
    InputFileError
        The file is missing or not what its name says, or holds more than one reading; one line says which.

    Examples
    --------
    >>> import numpy as np
    >>> with open_vectors(np.eye(3, dtype=np.float32)) as source:
    ...     source.n_rows, source.n_columns, [batch.shape for batch in source.batches(2)]
    (3, 3, [(2, 3), (1, 3)])
    """
    if isinstance(spec, VectorSource):
        return spec
    if isinstance(spec, str | os.PathLike):
        return _open_spec(parse_spec(spec, format), spool_near, items)
    array = _as_array(spec)
    if not (items and is_images(array.shape, array.dtype)):
        return ArraySource(array)
    source = ArraySource(array.reshape(len(array), -1) if len(array) else array.reshape(0, math.prod(array.shape[1:])))
    source.item_shape = array.shape[1:]
    return source


def load_values(spec: str | os.PathLike[str], format: str | None, fits: list[Wanted]) -> tuple[Array | list[Any], str]:
    """Read the whole of a file that holds ids or labels.

    Parameters
    ----------
    spec : str or Path
        As for `open_vectors`.
    format : str or None
        In place of the extension.
    fits : list of functions of (shape, dtype)
        Which arrays of an ``.npz`` are candidates when none is named.

    Returns
    -------
    values : ndarray or list
        An array in the file's own dtype and shape; text comes as a list of ``str``, or as a 2-D array where it is a
        table of numbers and no column is named; JSON lines and Parquet as a list of Python values.
    format : str
        What the file was read as.
    """
    # Ids and labels that are piped in are lines of text unless a format is named.
    parsed = parse_spec(spec, "text" if format is None and os.fspath(spec) == "-" else format, rename=True)
    if parsed.format == "zarr":
        from hashdb.inputs.stores import load_zarr

        return load_zarr(_folder(parsed), parsed.inner), parsed.format
    with open_file(parsed) as file:
        return _load(file, parsed, fits), parsed.format


def _load(file: ByteFile, spec: Spec, fits: list[Wanted]) -> Array | list[Any]:
    if spec.format in _TEXT_FORMATS:
        return _load_text(Lines(file), spec)
    if spec.format == "jsonl":
        return _load_jsonl(Lines(file), spec.inner)
    if spec.format == "npz":
        member, start, size = open_npz(file, spec.inner, fits, None)
        with member:
            return load_npy(member, start, size)
    if spec.format == "mat":
        from hashdb.inputs.matlab import load_mat

        return load_mat(file, spec.inner)
    if spec.format == "h5":
        from hashdb.inputs.stores import load_h5

        return load_h5(file, spec.inner)
    if spec.format == "parquet":
        from hashdb.inputs.parquet import load_parquet

        return load_parquet(file, spec.inner)
    _refuse_inner(spec)
    if spec.format == "npy":
        return load_npy(file)
    if spec.format == "idx":
        return load_idx(file)
    source = _open_plain(file, spec.format)
    return source.take(np.arange(source.n_rows))


def _load_text(lines: Lines, spec: Spec) -> Array | list[Any]:
    is_plain = spec.inner is None and spec.format != "csv"
    layout = detect_layout(lines, is_csv=spec.format == "csv", inner=spec.inner, is_values=True)
    if is_plain:
        # A line is one value, white space and commas included, unless all of it is numbers.
        if len(layout.kinds) < 2 or any(kind != "number" for kind in layout.kinds):
            return lines.read(0, lines.n)
    elif spec.inner is not None or len(layout.kinds) == 1:
        column = layout.column(spec.name, spec.inner) if spec.inner is not None else 0
        rows = [layout.cells(line) for line in lines.read(layout.n_skipped, lines.n)]
        for number, row in enumerate(rows, layout.n_skipped + 1):
            if len(row) != len(layout.kinds):
                raise InputFileError(f"{spec.name}: line {number} has {len(row)} cells, expected {len(layout.kinds)}")
        return [row[column] for row in rows]
    elif any(kind != "number" for kind in layout.kinds):
        raise InputFileError(
            f"{spec.name} holds more than one column: {listing(layout.names())}; pick one, as in {spec.name}::0"
        )
    source = TableSource(lines, layout, list(range(len(layout.kinds))))
    return source.take(np.arange(source.n_rows))


def _load_jsonl(lines: Lines, inner: str | None) -> list[Any]:
    if not lines.n:
        return []
    key = jsonl.choose_key(lines, inner, "key with values", lambda value: isinstance(value, int | str | float | list))
    return jsonl.values_of(lines.name, lines.read(0, lines.n), range(1, lines.n + 1), key)


def _open_spec(spec: Spec, spool_near: str | os.PathLike[str] | None, items: bool) -> VectorSource:
    if spec.format == "zarr":
        from hashdb.inputs.stores import open_zarr

        return open_zarr(_folder(spec), spec.inner, items=items)
    file = open_file(spec, spool_near)
    try:
        return _open(file, spec, spool_near, items)
    except BaseException:
        file.close()
        raise


def _open(file: ByteFile, spec: Spec, spool_near: str | os.PathLike[str] | None, items: bool) -> VectorSource:
    if spec.format == "npz":
        wanted = [_IMAGES, *_VECTORS] if items else _VECTORS
        member, start, size = open_npz(file, spec.inner, wanted, spool_near)
        try:
            return open_npy(member, start, size, items=items)
        except BaseException:
            member.close()
            raise
    if spec.format == "jsonl":
        return jsonl.JsonlSource(Lines(file), spec.inner)
    if spec.format in ("csv", "text"):
        return open_table(Lines(file), spec.inner, is_csv=spec.format == "csv")
    if spec.format == "mat":
        from hashdb.inputs.matlab import open_mat

        return open_mat(file, spec.inner)
    if spec.format == "h5":
        from hashdb.inputs.stores import open_h5

        return open_h5(file, spec.inner, items=items)
    if spec.format == "parquet":
        from hashdb.inputs.parquet import open_parquet

        return open_parquet(file, spec.inner)
    _refuse_inner(spec)
    if spec.format == "hex":
        return HexSource(Lines(file))
    if spec.format == "npy":
        return open_npy(file, items=items)
    if spec.format == "idx":
        return open_idx(file)
    return _open_plain(file, spec.format)


def _open_plain(file: ByteFile, format: str) -> VectorSource:
    return vecs.open_vecs(file, format) if format.endswith("vecs") else vecs.open_bin(file, format)


def _refuse_inner(spec: Spec) -> None:
    if spec.inner is not None:
        raise InputFileError(f"{spec.name} is .{spec.format}, which holds one array: leave ::{brief(spec.inner)} out")


def _folder(spec: Spec) -> Path:
    if spec.path is None:
        raise InputFileError("stdin cannot be a Zarr store, which is a folder: name the folder")
    return spec.path


def _as_array(values: Any) -> Array:
    if hasattr(values, "toarray"):
        raise InputFileError("the array is a sparse matrix: expected a dense one; convert it with .toarray()")
    if isinstance(values, list | tuple) and values and all(isinstance(item, str) for item in values):
        return np.array(values, dtype=object)
    values = unmasked(values, "vectors")
    try:
        return np.asanyarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputFileError(
            f"the vectors are not an array: {one_line(error)}; expected rows of equal length"
        ) from error
