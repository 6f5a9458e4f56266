"""``.fvecs``, ``.bvecs``, ``.ivecs``, each row led by its dim, and ``.fbin``, ``.u8bin``, ``.i8bin``, one head for all.

The first family is that of the TEXMEX corpora, the second that of the billion-scale benchmarks.
"""

from __future__ import annotations

import struct

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.source import RecordSource, VectorSource

_VECS = {"fvecs": "<f4", "bvecs": "|u1", "ivecs": "<i4"}
_BIN = {"fbin": "<f4", "u8bin": "|u1", "i8bin": "|i1"}


def open_vecs(file: ByteFile, format: str) -> VectorSource:
    """Open a file of records, each an int32 dim and that many numbers.

    The first row's dim holds for all; every read checks the rows it reads.

    Raises
    ------
    InputFileError
        The dim is not positive, or the size is no multiple of a row's.
    """
    dtype = np.dtype(_VECS[format])
    if not file.size:
        return RecordSource(file, 0, 0, 0, dtype)
    if file.size < 4:
        raise InputFileError(f"{file.name} has {file.size} bytes: too few for one row of .{format}")
    (dim,) = struct.unpack("<i", file.read(0, 4))
    if dim < 1:
        raise InputFileError(f"{file.name} is not .{format}: its first row says {dim} numbers, expected at least 1")
    row_bytes = 4 + dim * dtype.itemsize
    n_rows, rest = divmod(file.size, row_bytes)
    if rest:
        raise InputFileError(
            f"{file.name} is truncated or not .{format}: rows of {dim} numbers take {row_bytes:,} bytes, "
            f"but its {file.size:,} bytes are {n_rows:,} rows and {rest:,} bytes"
        )
    return RecordSource(file, 0, n_rows, dim, dtype, has_dim=True)


def open_bin(file: ByteFile, format: str) -> VectorSource:
    """Open a file of two uint32, the number of rows and the dim, and then the rows.

    Raises
    ------
    InputFileError
        The size is not what the head says.
    """
    dtype = np.dtype(_BIN[format])
    if file.size < 8:
        raise InputFileError(f"{file.name} has {file.size} bytes: too few for the head of .{format}, two uint32")
    n_rows, dim = struct.unpack("<II", file.read(0, 8))
    expected = 8 + n_rows * dim * dtype.itemsize
    if (n_rows and not dim) or file.size != expected:
        fault = "truncated" if file.size < expected else f"not .{format}"
        raise InputFileError(
            f"{file.name} is {fault}: its head says {n_rows:,} rows of {dim:,} {dtype}, {expected:,} bytes, "
            f"but it has {file.size:,}"
        )
    return RecordSource(file, 8, n_rows, dim, dtype)
