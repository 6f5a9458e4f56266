"""``.npy`` and ``.npz``: read in place, never with pickle.

Members of an ``.npz`` that are stored plainly (`numpy.savez`) are read where they lie; compressed ones are
decompressed once into a spool.
"""

from __future__ import annotations

import ast
import math
import operator
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np

from hashdb.errors import HashDBError, InputFileError, brief
from hashdb.inputs.files import ByteFile, spool
from hashdb.inputs.formats import choose, one_line
from hashdb.inputs.limits import MAX_DIMENSIONS, check_claim
from hashdb.inputs.source import Array, ColumnSource, RecordSource, VectorSource, check_array, check_dtype, is_images

_MAX_HEAD_BYTES = 64 << 10
_HEAD_ERRORS = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, RecursionError, MemoryError),
    OverflowError,
)
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(RuntimeError, EOFError, OSError, ValueError, OverflowError),
)
_PYTHON_2_LONG = re.compile(r"(\d)L\b")  # as in shape (10L, 4L)

Wanted = Callable[[tuple[int, ...], np.dtype[Any]], bool]


@dataclass(frozen=True)
class NpyHeader:
    """What the head of a ``.npy`` file says; `data` is the offset of the numbers in bytes."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    data: int

    @property
    def n_bytes(self) -> int:
        """Size of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return brief(f"{self.shape} {self.dtype}")


def read_header(handle: IO[bytes], name: str) -> NpyHeader:
    """Read the head of a ``.npy`` file that starts where `handle` stands.

    Raises
    ------
    InputFileError
        It is no ``.npy`` file, or its head is damaged.
    """
    try:
        text, n_bytes = _head_text(handle)
        with warnings.catch_warnings():  # Python and NumPy warn of odd heads
            warnings.simplefilter("ignore")
            fields = ast.literal_eval(_PYTHON_2_LONG.sub(r"\1", text))
            shape, is_fortran = tuple(map(operator.index, fields["shape"])), bool(fields["fortran_order"])
            dtype = np.lib.format.descr_to_dtype(fields["descr"])
    except _HEAD_ERRORS as error:
        raise InputFileError(f"{name} is not a .npy file or its head is damaged: {one_line(error)}") from error
    is_possible = len(shape) <= MAX_DIMENSIONS and min(shape, default=0) >= 0 and dtype.itemsize < 1 << 30
    if not is_possible or math.prod(max(1, length) for length in shape) >= 2**48 or not dtype.itemsize:
        raise InputFileError(f"{name} is damaged: its head says shape {brief(shape)} of {brief(dtype)}")
    return NpyHeader(shape, is_fortran, dtype, n_bytes)


def _head_text(handle: IO[bytes]) -> tuple[str, int]:
    """Give the dictionary at the start of a ``.npy`` as text, and the offset of the numbers."""
    start = handle.read(8)
    if start[:6] != np.lib.format.MAGIC_PREFIX or len(start) < 8:
        raise ValueError(f"it starts with {start.hex() or 'nothing'}, expected 934e554d5059")
    if start[6] not in (1, 2, 3):
        raise ValueError(f"version {start[6]} of the format is unknown")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(handle.read(width), "little")
    if length > _MAX_HEAD_BYTES:
        raise ValueError(f"its head takes {length:,} bytes, expected at most {_MAX_HEAD_BYTES:,}")
    text = handle.read(length)
    if len(text) < length:
        raise ValueError("it ends within its head")
    return text.decode("utf-8" if start[6] == 3 else "latin1").strip(), 8 + width + length


def open_npy(file: ByteFile, start: int = 0, size: int | None = None, *, items: bool = False) -> VectorSource:
    """Open the ``.npy`` that takes `size` bytes of a file from byte `start` on; with `items` it may hold images."""
    header = _checked_header(file, start, size)
    if items and is_images(header.shape, header.dtype) and not header.is_fortran:
        source = RecordSource(file, start + header.data, header.shape[0], math.prod(header.shape[1:]), header.dtype)
        source.item_shape = header.shape[1:]
        return source
    is_text = check_array(file.name, header.shape, header.dtype)
    n_rows, n_columns = header.shape[0], header.shape[1] if len(header.shape) > 1 else 1
    if header.is_fortran and n_columns > 1 and not is_text:
        return ColumnSource(file, start + header.data, n_rows, n_columns, header.dtype)
    return RecordSource(file, start + header.data, n_rows, n_columns, header.dtype)


def load_npy(file: ByteFile, start: int = 0, size: int | None = None) -> Array:
    """Read a whole ``.npy`` of any shape, for ids and labels."""
    header = _checked_header(file, start, size)
    check_dtype(file.name, header.dtype)
    flat = np.empty(math.prod(header.shape), dtype=header.dtype)
    if flat.nbytes:
        file.read_into(start + header.data, flat.view(np.uint8))
    return flat.reshape(header.shape, order="F" if header.is_fortran else "C")


def load_npz(file: ByteFile) -> dict[str, Array]:
    """Read every array of an ``.npz``, by name.

    Raises
    ------
    InputFileError
        It is no whole archive, holds other things than numbers and strings, or grows beyond measure.
    """
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(file.handle) as archive:
            n_bytes = 0
            for info in archive.infolist():
                key = info.filename.removesuffix(".npy")
                _check_packing(file.name, info)
                with archive.open(info) as stream:
                    header = read_header(stream, f"{file.name}::{brief(key)}")
                    check_dtype(f"{file.name}::{brief(key)}", header.dtype)
                    n_bytes += header.n_bytes
                    check_claim(file.name, n_bytes, file.size)
                    raw = stream.read(header.n_bytes + 1)
                if len(raw) != header.n_bytes:
                    fault = _fault(len(raw), header.n_bytes)
                    raise InputFileError(f"{file.name}::{brief(key)} {fault}: its head says {header}")
                order: Literal["F", "C"] = "F" if header.is_fortran else "C"
                arrays[key] = np.frombuffer(bytearray(raw), header.dtype).reshape(header.shape, order=order)
    except HashDBError:
        raise
    except _ZIP_ERRORS as error:
        raise InputFileError(f"{file.name} is not a whole .npz archive: {one_line(error)}") from error
    return arrays


def open_npz(
    file: ByteFile, inner: str | None, wanted: list[Wanted], near: str | os.PathLike[str] | None
) -> tuple[ByteFile, int, int]:
    """Find one array of an ``.npz``.

    Parameters
    ----------
    file : ByteFile
        The archive; closed when the array had to be decompressed.
    inner : str or None
        The array asked for.
    wanted : list of functions of (shape, dtype)
        Which arrays are candidates when none is asked for; the first that any array fulfils counts.
    near : Path or None
        Where to spool, see `hashdb.inputs.files.spool`.

    Returns
    -------
    (ByteFile, int, int)
        The file that now holds the array as a ``.npy``, where it starts and its size in bytes.
    """
    try:
        with zipfile.ZipFile(file.handle) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            headers = {}
            for key, info in members.items():
                if info.filename.endswith(".npy"):
                    _check_packing(file.name, info)
                    with archive.open(info) as stream:
                        headers[key] = read_header(stream, f"{file.name}::{brief(key)}")
            info = members[_choose_array(file.name, inner, headers, wanted)]
            if info.compress_type == zipfile.ZIP_STORED:
                return file, _data_offset(file, info), info.file_size
            with archive.open(info) as stream:
                spooled = spool(f"{file.name}::{brief(inner or info.filename)}", stream, near, packed=file.size)
    except HashDBError:
        raise
    except _ZIP_ERRORS as error:
        raise InputFileError(f"{file.name} is not a whole .npz archive: {one_line(error)}") from error
    file.close()
    return ByteFile(spooled, file.name), 0, info.file_size


def _check_packing(name: str, info: zipfile.ZipInfo) -> None:
    """Refuse what NumPy does not write: of bzip2 and LZMA, a megabyte is unpacked at once, to gigabytes perhaps."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputFileError(f"{name} is packed by method {info.compress_type}: expected none, or deflate as by NumPy")


def _choose_array(name: str, inner: str | None, headers: dict[str, NpyHeader], wanted: list[Wanted]) -> str:
    everything = {key: str(header) for key, header in headers.items()}
    candidates: dict[str, str] = {}
    for fits in wanted:
        candidates = {key: everything[key] for key, header in headers.items() if fits(header.shape, header.dtype)}
        if candidates:
            break
    return choose(name, "array that fits", candidates, inner, everything)


def _data_offset(file: ByteFile, info: zipfile.ZipInfo) -> int:
    # The local header repeats the name and may carry another extra field than the directory does.
    head = file.read(info.header_offset, 30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise InputFileError(f"{file.name} is damaged: no member starts at byte {info.header_offset:,}")
    n_name, n_extra = struct.unpack("<HH", head[26:30])
    return int(info.header_offset + 30 + n_name + n_extra)


def _checked_header(file: ByteFile, start: int, size: int | None) -> NpyHeader:
    available = file.size - start if size is None else size
    file.handle.seek(start)
    header = read_header(file.handle, file.name)
    if header.dtype.hasobject:
        return header
    expected, found = header.data + header.n_bytes, min(available, file.size - start)
    if found != expected:
        raise InputFileError(
            f"{file.name} {_fault(found, expected)}: its head says {header}, {expected:,} bytes, but it has {found:,}"
        )
    return header


def _fault(found: int, expected: int) -> str:
    return "is truncated" if found < expected else "goes on after its array"
