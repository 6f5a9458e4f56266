"""What is checked of an HDF5 dataset before its library reads it."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import one_line
from hashdb.inputs.limits import check_claim
from hashdb.inputs.source import READ_ERRORS

_HEAP = b"GCOL\x01\0\0\0"  # global heap, where strings of any length lie
_BLOCK = 1 << 20


def check_dataset(file: ByteFile, dataset: Any, name: str) -> None:
    """Check that a dataset lies in this file, and is no larger than the file can make it.

    Raises
    ------
    InputFileError
        It is elsewhere, claims too much, or its strings lie in a damaged heap.
    """
    try:
        if dataset.is_virtual or dataset.external:
            raise InputFileError(f"{name} lies in other files, which are not read: expected a dataset in this file")
        item_bytes = max(1, dataset.dtype.itemsize)
        for shape in (dataset.shape, dataset.chunks or ()):
            check_claim(name, math.prod(shape) * item_bytes, file.size)
        if dataset.dtype.hasobject:
            _check_heaps(file, name)
            _check_lengths(file, dataset, name)
    except READ_ERRORS as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"{name} is damaged: {one_line(error)}") from error


def _check_lengths(file: ByteFile, dataset: Any, name: str) -> None:
    """Look at the length that stands with each string: HDF5 takes memory for it before it looks for the string.

    Where references are compressed or lie within metadata they cannot be seen, and HDF5 is trusted.
    """
    if dataset.chunks is None:
        stretches = [(dataset.id.get_offset(), dataset.id.get_storage_size())]
        size = stretches[0][1] // max(1, dataset.size)
    elif dataset.id.get_create_plist().get_nfilters():
        return
    else:
        infos = [dataset.id.get_chunk_info(number) for number in range(dataset.id.get_num_chunks())]
        stretches = [(info.byte_offset, info.size) for info in infos]
        size = max((info.size for info in infos), default=0) // math.prod(dataset.chunks)
    for start, n_bytes in stretches:
        if start is None or size < 4:
            continue
        for at in range(start, min(start + n_bytes, file.size), size << 12):
            block = file.read(at, min(size << 12, start + n_bytes - at))
            references = np.frombuffer(block, np.uint8)[: len(block) // size * size].reshape(-1, size)
            longest = int(np.ascontiguousarray(references[:, :4]).view("<u4").max(initial=0))
            if longest > file.size:
                raise InputFileError(f"{name} is damaged: a string says that it has {longest:,} bytes")


def _check_heaps(file: ByteFile, name: str) -> None:
    """Walk through the heaps of strings: HDF5 goes round in circles where an object has an absurd size."""
    for start in range(0, file.size, _BLOCK):
        block = file.read(start, _BLOCK + len(_HEAP) - 1)
        at = block.find(_HEAP)
        while at >= 0:
            _check_heap(file, start + at, name)
            at = block.find(_HEAP, at + 1)


def _check_heap(file: ByteFile, start: int, name: str) -> None:
    (size,) = struct.unpack("<Q", file.read(start + 8, 8).ljust(8, b"\xff"))
    if size > file.size - start:
        raise InputFileError(f"{name} is damaged: a heap at byte {start:,} says that it takes {size:,} bytes")
    heap, at = file.read(start, size), 16
    while at + 16 <= size:
        number, n_bytes = struct.unpack("<H6xQ", heap[at : at + 16])
        # Number 0 is free space, whose size counts its head.
        step = n_bytes if number == 0 else 16 + -(-n_bytes // 8) * 8
        if not 16 <= step <= size - at:
            raise InputFileError(f"{name} is damaged: an object at byte {start + at:,} takes {n_bytes:,} bytes")
        at += step
