"""Zarr stores looked at before zarr reads them: which arrays there are, and whether their metadata may be believed.

zarr runs whatever codec the metadata name, and one of them loads pickles. So codecs are taken from a list, and an array
must not claim more than its files can hold.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hashdb.errors import InputFileError, brief
from hashdb.inputs.formats import one_line
from hashdb.inputs.limits import MAX_DIMENSIONS, check_claim, most_bytes, too_large

# Codecs by their names in metadata of version 3 and 2: they rearrange bytes or unpack them, and run nothing.
_CODECS = {
    3: {"bytes", "crc32c", "gzip", "zstd", "blosc", "transpose", "sharding_indexed", "vlen-utf8"},
    2: {"blosc", "zlib", "gzip", "zstd", "lz4", "shuffle", "delta", "crc32", "adler32", "vlen-utf8"},
}
_DOCUMENTS = {"zarr.json": 3, ".zarray": 2}
_MAX_DOCUMENT_BYTES = 4 << 20
_MAX_ARRAYS = 10_000
_MANY_CHUNKS = 10_000  # zarr makes a task of each, also of those that are not there
_ERRORS = (OSError, ValueError, TypeError, KeyError, RecursionError, AttributeError)


def arrays_in(root: Path) -> Iterator[tuple[str, int]]:
    """Find the arrays of a store: name below the root, "" where the root itself is one, and version of Zarr.

    Links to folders are not followed: they may go round in circles.
    """
    n_found = 0
    for folder, inner, files in os.walk(root):
        for document, version in _DOCUMENTS.items():
            if document in files and (version == 2 or _node_type(Path(folder)) == "array"):
                inner.clear()  # chunks
                n_found += 1
                if n_found > _MAX_ARRAYS:
                    raise InputFileError(f"{root} holds more than {_MAX_ARRAYS:,} arrays: name the folder of one")
                yield os.path.relpath(folder, root).removeprefix("."), version
                break
        inner.sort()


def check_array_metadata(folder: Path, version: int) -> None:
    """Look at the metadata of an array.

    Raises
    ------
    InputFileError
        They are damaged, name a codec that is not on the list, or claim more than the files hold.
    """
    document = _read(folder, version)
    try:
        codecs = set(_codecs(document, version))
        shape, chunks = _lengths(document["shape"]), _lengths(_chunk_shape(document, version))
        is_sound = len(shape) == len(chunks)
    except _ERRORS as error:
        raise InputFileError(f"{folder} has damaged metadata: {one_line(error)}") from error
    odd = sorted(codecs - _CODECS[version])
    if odd:
        known = ", ".join(sorted(_CODECS[version]))
        raise InputFileError(f"{folder} is stored with the codec {brief(odd[0])!r}: expected one of {known}")
    if not is_sound:
        raise InputFileError(f"{folder} has damaged metadata: shape {brief(shape)} with chunks {brief(chunks)}")
    sizes = [size for _, size in _chunk_files(folder)]
    stored, n_chunks = (
        sum(sizes),
        math.prod(-(-length // max(1, chunk)) for length, chunk in zip(shape, chunks, strict=True)),
    )
    if n_chunks > max(_MANY_CHUNKS, 10 * len(sizes)):
        raise InputFileError(f"{folder} says that it has {brief(n_chunks)} chunks, but {len(sizes):,} are there")
    for n_entries in (math.prod(shape), math.prod(chunks)):
        check_claim(str(folder), n_entries * _item_bytes(document, version), stored)


def check_chunks(folder: Path, version: int) -> None:
    """Look at the heads of chunk files that say how much they unpack to.

    Raises
    ------
    InputFileError
        It is far more than what a chunk holds.
    """
    document = _read(folder, version)
    expected = math.prod(_lengths(_chunk_shape(document, version))) * _item_bytes(document, version)
    packer = _last_codec(document, version)
    for path, size in _chunk_files(folder):
        with open(path, "rb") as file:
            claimed = _unpacked_size(file.read(18), packer)
        if claimed > 2 * expected + most_bytes(size):
            raise too_large(str(path), size, f"{claimed:,} bytes")


def _node_type(folder: Path) -> Any:
    return _read(folder, 3).get("node_type")


def _read(folder: Path, version: int) -> Mapping[str, Any]:
    path = folder / ("zarr.json" if version == 3 else ".zarray")
    try:
        if not path.is_file() or path.stat().st_size > _MAX_DOCUMENT_BYTES:
            raise InputFileError(f"{path} is no file of at most {_MAX_DOCUMENT_BYTES:,} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except InputFileError:
        raise
    except _ERRORS as error:
        raise InputFileError(f"{path} is no JSON: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise InputFileError(f"{path} is no JSON object")
    return document


def _codecs(document: Mapping[str, Any], version: int) -> Iterator[str]:
    if version == 2:
        for codec in (document.get("compressor"), *(document.get("filters") or ())):
            if codec is not None:
                yield str(codec["id"])
        return
    if document.get("storage_transformers"):
        yield "storage transformer"
    yield from _codecs_3(document["codecs"])


def _codecs_3(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        if isinstance(codec, str):
            yield codec
            continue
        configuration = codec.get("configuration") or {}
        yield str(codec["name"])
        for inner in ("codecs", "index_codecs"):
            yield from _codecs_3(configuration.get(inner, ()))


def _last_codec(document: Mapping[str, Any], version: int) -> str:
    names = [*_codecs(document, version), ""]
    if version == 2:
        return names[0] if document.get("compressor") else ""
    return names[-2]


def _chunk_shape(document: Mapping[str, Any], version: int) -> Any:
    return document["chunks"] if version == 2 else document["chunk_grid"]["configuration"]["chunk_shape"]


def _lengths(values: Any) -> tuple[int, ...]:
    lengths = tuple(values)
    if len(lengths) > MAX_DIMENSIONS or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError(f"lengths {brief(values)}")
    return lengths


def _item_bytes(document: Mapping[str, Any], version: int) -> int:
    """Bytes of an entry, at least one; of strings, of a reference to them."""
    import numpy as np

    kind = document.get("dtype") if version == 2 else document.get("data_type")
    if isinstance(kind, dict):  # strings of a fixed length
        length = (kind.get("configuration") or {}).get("length_bytes", 8)
        return max(1, length) if type(length) is int else 8
    try:
        return max(1, np.dtype(kind).itemsize) if isinstance(kind, str) else 8
    except (TypeError, ValueError):
        return 8


def _chunk_files(folder: Path) -> Iterator[tuple[str, int]]:
    for place, _, names in os.walk(folder):
        for name in names:
            if name not in ("zarr.json", ".zarray", ".zattrs"):
                path = os.path.join(place, name)
                try:
                    yield path, os.stat(path).st_size
                except OSError:
                    continue  # a link to nothing


def _unpacked_size(head: bytes, packer: str) -> int:
    """Give what the head of packed bytes says of their size unpacked; 0 where it does not say."""
    if packer == "blosc" and len(head) >= 8:
        return int.from_bytes(head[4:8], "little")
    if packer == "lz4" and len(head) >= 4:  # numcodecs puts the size in front
        return int.from_bytes(head[:4], "little")
    if packer != "zstd" or len(head) < 18 or head[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    flags = head[4]
    is_single, n_dictionary = flags >> 5 & 1, (0, 1, 2, 4)[flags & 3]
    width = (is_single, 2, 4, 8)[flags >> 6]
    start = 5 + (not is_single) + n_dictionary
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)
