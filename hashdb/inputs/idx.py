"""idx, the format of MNIST: a big-endian array of any dimensions, read as rows along the first."""

from __future__ import annotations

import math
import struct

import numpy as np

from hashdb.errors import InputFileError, brief
from hashdb.inputs.files import ByteFile
from hashdb.inputs.limits import MAX_DIMENSIONS
from hashdb.inputs.source import Array, RecordSource, VectorSource

_DTYPES = {0x08: "|u1", 0x09: "|i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def open_idx(file: ByteFile) -> VectorSource:
    """Open an idx file; images (n, height, width) become rows of height x width numbers.

    Raises
    ------
    InputFileError
        It is no idx file, is truncated, or holds one number per row (labels).
    """
    shape, dtype, offset = _read_head(file)
    if len(shape) < 2:
        raise InputFileError(f"{file.name} has shape {brief(shape)}, as labels have: expected two or more dimensions")
    n_columns = math.prod(shape[1:])
    if shape[0] and not n_columns:
        raise InputFileError(f"{file.name} has shape {brief(shape)}: expected at least one number per row")
    source = RecordSource(file, offset, shape[0], n_columns, dtype)
    source.item_shape = shape[1:] if len(shape) > 2 else ()
    return source


def load_idx(file: ByteFile) -> Array:
    """Read a whole idx file, for ids and labels."""
    shape, dtype, offset = _read_head(file)
    flat = np.empty(math.prod(shape), dtype=dtype)
    if flat.nbytes:
        file.read_into(offset, flat.view(np.uint8))
    return flat.reshape(shape)


def _read_head(file: ByteFile) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    head = file.read(0, 4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _DTYPES or not head[3]:
        raise InputFileError(
            f"{file.name} is not an idx file: it starts with {head.hex() or 'nothing'}, "
            "expected 0000, a type from 08 to 0e and the number of dimensions"
        )
    offset = 4 + 4 * head[3]
    if file.size < offset:
        raise InputFileError(f"{file.name} is truncated: its head takes {offset} bytes, but it has {file.size}")
    shape = struct.unpack(f">{head[3]}I", file.read(4, 4 * head[3]))
    if len(shape) > MAX_DIMENSIONS or math.prod(max(1, length) for length in shape) >= 2**48:
        raise InputFileError(f"{file.name} is damaged: its head says shape {brief(shape)}")
    dtype = np.dtype(_DTYPES[head[2]])
    expected = offset + math.prod(shape) * dtype.itemsize
    if file.size != expected:
        fault = "is truncated" if file.size < expected else "is longer than its head says"
        raise InputFileError(
            f"{file.name} {fault}: shape {brief(shape)} of {dtype} takes {expected:,} bytes, but it has {file.size:,}"
        )
    return shape, dtype, offset
