"""Finding what a damaged document held: content that is proven by a digest kept elsewhere, or none.

Nothing here guesses. A SHA-256 that fits proves a document. The 32 bits of a CRC-32C do not prove one among millions of
guesses, so data files are not mended bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hashdb.errors import FormatError
from hashdb.storage.commit import crc32c
from hashdb.storage.documents import FORMAT, canonical, digest, group_json
from hashdb.storage.layout import MAX_ROWS, ArraySpec, FileEntry
from hashdb.storage.manifest import SegmentEntry, decode, sealed
from hashdb.storage.segments import VECTOR_DTYPES

# Documents are ASCII without control characters.
_CHARACTERS = bytes(range(0x20, 0x7F))
# Bytes hashed in looking for one wrong byte: a few seconds. Beyond it only single bits are tried, then nothing.
MOST_HASHED = 1 << 32
BLOCK = 1 << 24


def one_byte_off(data: bytes, expected: str) -> bytes | None:
    """Return `data` with the one byte changed that makes `expected` its SHA-256; None where none does."""
    if digest(data) == expected:
        return data
    n_each = MOST_HASHED // max(1, len(data) * len(data) // 2)
    if n_each < 8:
        return None
    wanted, view, before = bytes.fromhex(expected), memoryview(data), hashlib.sha256()
    for at, now in enumerate(data):
        values = _CHARACTERS if n_each >= len(_CHARACTERS) else bytes(now ^ (1 << bit) for bit in range(8))
        for value in values:
            trial = before.copy()
            trial.update(bytes((value,)))
            trial.update(view[at + 1 :])
            if trial.digest() == wanted:
                return data[:at] + bytes((value,)) + data[at + 1 :]
        before.update(view[at : at + 1])
    return None


def mended_manifest(data: bytes, path: Path, named: str | None) -> bytes | None:
    """Return what a manifest with one wrong byte held.

    Parameters
    ----------
    data : bytes
        What the file holds.
    path : Path
        The file; its name has the version's number.
    named : str or None
        Checksum that the next version names, where that can be read.
    """
    parts = sealed(data)
    if parts is None:
        return None
    head, body = parts
    whole = digest(body)
    # One digit of the seal is wrong, or the next version says what it should be.
    if whole == named or sum(a != b for a, b in zip(head, whole, strict=True)) == 1:
        return _decoded(_joined(whole, body), path)
    for checksum in dict.fromkeys(one for one in (named, head) if one is not None):
        mended = one_byte_off(body, checksum) if _is_hexadecimal(checksum) else None
        if mended is not None:
            return _decoded(_joined(checksum, mended), path)
    return None


def _joined(checksum: str, body: bytes) -> bytes:
    return b'{"checksum":"' + checksum.encode("ascii") + b'",' + body[1:]


def _decoded(data: bytes, path: Path) -> bytes | None:
    try:
        decode(data, path)
    except FormatError:
        return None
    return data


def _is_hexadecimal(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def rebuilt_segment(folder: Path, entry: SegmentEntry, n_bits: int, id_kind: str) -> bytes | None:
    """Return the ``segment.json`` that the arrays in `folder` should have; None unless it has the manifest's digest."""
    entries: dict[Path, FileEntry] = {}
    for arrays in _possible_arrays(folder, entry, n_bits, id_kind):
        files = {"zarr.json": FileEntry.of(group_json())}
        try:
            for name, spec in arrays.items():
                for file in spec.file_entries(name):
                    if file.endswith("zarr.json"):
                        files[file] = FileEntry.of(spec.zarr_json())
                    else:
                        files[file] = entries.setdefault(folder / file, _entry_of(folder / file))
        except OSError:
            continue
        data = canonical(
            {
                "format": FORMAT,
                "uuid": entry.uuid,
                "n": entry.n,
                "n_bits": n_bits,
                "arrays": {name: spec.to_json() for name, spec in arrays.items()},
                "files": {name: file.to_json() for name, file in files.items()},
            }
        )
        if digest(data) == entry.digest:
            return data
    return None


def _possible_arrays(folder: Path, entry: SegmentEntry, n_bits: int, id_kind: str) -> Iterator[dict[str, ArraySpec]]:
    """Give the arrays that a segment may have, by the sizes of their files."""
    n_words = (n_bits + 63) // 64
    try:
        chunk_rows = _size(folder / "codes/c/0/0") // (8 * n_words)
        if chunk_rows == 0 or -(-entry.n // chunk_rows) != len(os.listdir(folder / "codes/c")):
            return
        arrays = {"codes": ArraySpec((entry.n, n_words), "uint64", chunk_rows)}
        if id_kind == "string":
            total = _size(folder / "id_bytes/c/0")
            arrays["id_bytes"] = ArraySpec((total,), "uint8", total)
            arrays["id_offsets"] = ArraySpec((entry.n + 1,), "int64", entry.n + 1)
        elif entry.first_id is None:
            arrays["ids"] = ArraySpec((entry.n,), "int64", entry.n)
        if not (folder / "vectors").is_dir():
            yield arrays
            return
        rows, size = _vector_rows(folder, entry.n), _size(folder / "vectors/c/0/0")
    except (OSError, ValueError, LookupError, TypeError):
        return
    for dtype, width in zip(VECTOR_DTYPES, (4, 2, 1), strict=True):
        if rows and size % (rows * width) == 0:
            yield {**arrays, "vectors": ArraySpec((entry.n, size // (rows * width)), dtype, rows)}


def _vector_rows(folder: Path, n: int) -> int:
    """Return the rows of a chunk of the vectors: all, or what Zarr's metadata say where there are several chunks."""
    if len(os.listdir(folder / "vectors/c")) == 1:
        return n
    document = json.loads((folder / "vectors/zarr.json").read_bytes())
    rows = document["chunk_grid"]["configuration"]["chunk_shape"][0]
    return rows if type(rows) is int and 0 < rows <= MAX_ROWS else 0


def _size(path: Path) -> int:
    return path.lstat().st_size


def _entry_of(path: Path) -> FileEntry:
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, crc = size + len(block), crc32c(block, crc)
    return FileEntry(size, crc)


def first_that_fits(candidates: Iterable[bytes], expected: str) -> bytes | None:
    """Return the first candidate whose SHA-256 is `expected`."""
    return next((data for data in candidates if digest(data) == expected), None)
