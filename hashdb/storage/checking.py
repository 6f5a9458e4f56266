"""The checks that a full opening and a verification are made of: checksums, zarr's own reading, promises about rows."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.errors import CorruptIndexError, HashDBError, OutOfMemoryError
from hashdb.storage.commit import storage_error, translated
from hashdb.storage.documents import MAX_DOCUMENT_BYTES, group_json
from hashdb.storage.layout import ArraySpec, FileEntry
from hashdb.storage.manifest import DeleteEntry, SegmentEntry
from hashdb.storage.mapping import Mapper, check_size, missing, read_file, refuse_links
from hashdb.storage.reading import SegmentUnit, Unit, check_content, delete_files, open_model, read_deletes
from hashdb.storage.snapshot import Snapshot
from hashdb.storage.tables import KIND, open_table, table_entries

# What the system refuses to whoever looks says nothing about a file.
REFUSALS = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSYS}


@contextmanager
def looking(doing: str) -> Iterator[None]:
    """Turn what the system refuses to the body into errors of ours that say what was being done."""
    try:
        with translated(doing):
            yield
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        raise _out_of_memory(error, doing) from error


def check_full(snapshot: Snapshot, mapper: Mapper) -> None:
    """Read every file of a version and compare checksums. Bucket tables that are damaged are only not used.

    Raises
    ------
    CorruptIndexError
        Naming the first file that differs.
    """
    units: list[Unit] = [segment.unit for segment in snapshot.segments]
    if snapshot.manifest.model is not None:
        units.append(open_model(mapper, snapshot.manifest.model)[1])
    for unit in units:
        for name in unit.files:
            unit.check_file(name)
    for segment in snapshot.segments:
        segment.check_tables()
        for entry in segment.entry.deletes:
            read_deletes(mapper, entry, segment.n)
            check_delete_metadata(mapper, entry)
        check_disjoint(mapper, segment.entry)


def check_disjoint(mapper: Mapper, entry: SegmentEntry) -> None:
    """Check that no row stands in two delete lists of a segment: it would count twice."""
    if len(entry.deletes) < 2:
        return
    rows = np.concatenate([read_deletes(mapper, lists, entry.n) for lists in entry.deletes])
    if len(np.unique(rows)) != len(rows):
        where = mapper.root / "deletes"
        raise CorruptIndexError(f"{where}: two lists of segment {entry.uuid} hold the same row", where)


def check_delete_metadata(mapper: Mapper, entry: DeleteEntry) -> None:
    """Compare the metadata of a delete list with what they must be."""
    where = mapper.root / "deletes" / entry.uuid
    for path, expected in delete_metadata(where, entry):
        check_content(path, FileEntry.of(expected), entry.uuid, mapper.root)


def check_deletes_presence(mapper: Mapper, entry: DeleteEntry) -> None:
    """Look that the files of a delete list are there, each with its size, and compare its metadata."""
    check_delete_metadata(mapper, entry)
    path = mapper.root / "deletes" / entry.uuid / "rows" / "c" / "0"
    refuse_links(mapper.root, path.parent)
    try:
        check_size(path, path.lstat(), delete_files(entry)[1]["rows/c/0"])
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path, entry.uuid, mapper.root) from None


def check_tables_presence(segment: SegmentUnit, objects: Sequence[dict[str, Any]]) -> None:
    """Look that the tables which a version names for a segment are there, each file with its size.

    Raises
    ------
    CorruptIndexError, VersionGoneError
        Naming the file.
    """
    folder = segment.folder / KIND
    entries = table_entries(objects, folder)
    if entries:  # there may be tables of other kinds only
        check_group(folder / "zarr.json")
    for entry in entries:
        open_table(segment, entry).unit.check_presence()


def delete_metadata(where: Path, entry: DeleteEntry) -> list[tuple[Path, bytes]]:
    """Return path and content of the metadata of a delete list in the folder `where`."""
    return [(where / "zarr.json", group_json()), (where / "rows" / "zarr.json", delete_files(entry)[0].zarr_json())]


def check_group(path: Path) -> int:
    """Compare the ``zarr.json`` of a group without attributes with what it must be; return its size.

    Raises
    ------
    CorruptIndexError
        It is missing or altered.
    """
    try:
        data = read_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        raise CorruptIndexError(f"{path} is missing", path) from None
    if data != group_json():
        raise CorruptIndexError(f"{path} is not that of a Zarr group: it was altered or damaged", path)
    return len(data)


def check_rows(unit: SegmentUnit) -> None:
    """Check what a segment promises about its rows: ids ascend, padding bits are zero."""
    padding = unit.n_bits % 64
    if padding:
        for block in unit.blocks("codes"):
            if bool((block[:, -1] >> np.uint64(padding)).any()):
                raise CorruptIndexError(f"{unit.folder / 'codes'} has bits set past bit {unit.n_bits - 1}", unit.folder)
    if not unit.stores_ids:
        return
    column = unit.column(None)
    for start in range(0, unit.n - 1, 1 << 16):
        keys = column.keys(start, min(start + (1 << 16) + 1, unit.n))
        if not bool((keys[:-1] < keys[1:]).all()):
            raise CorruptIndexError(f"{unit.folder}: ids are not in ascending order", unit.folder)


def compare(unit: Unit, name: str) -> None:
    """Read an array with zarr and compare it with our own reading, bit for bit."""
    spec = unit.arrays[name]
    same(unit.folder / name, zarr_array(unit.folder / name, spec), unit.blocks(name), spec.chunk_rows)


def zarr_array(path: Path, spec: ArraySpec) -> object:
    """Open an array with zarr, and compare shape and dtype."""
    # Only here: zarr costs a quarter of a second to import, and this is the one use that wants another's reading.
    import zarr

    _try_zarr(path)
    try:
        read_file(path / "zarr.json", MAX_DOCUMENT_BYTES)  # zarr would wait at a named pipe
        array = zarr.open_array(path, mode="r")
    except Exception as error:
        raise _meaning(error, path, "opened") from error
    if tuple(array.shape) != spec.shape or str(array.dtype) != spec.dtype:
        raise CorruptIndexError(
            f"{path} is {array.dtype} {array.shape} to zarr, expected {spec.dtype} {spec.shape}", path
        )
    return array


def same(path: Path, array: object, blocks: list[np.ndarray], rows: int) -> None:
    """Compare zarr's reading of an array with our blocks of `rows` rows, bit for bit."""
    for index, block in enumerate(blocks):
        part = slice(index * rows, index * rows + len(block)) if block.ndim else ()
        try:
            other = np.ascontiguousarray(array[part])  # type: ignore[index]
        except Exception as error:
            raise _meaning(error, path, "read") from error
        if other.tobytes() != np.ascontiguousarray(block).tobytes():
            raise CorruptIndexError(f"{path} reads otherwise with zarr", path)


def _try_zarr(path: Path) -> None:
    """Read an array in memory: what fails already there, as by a setting of zarr, is not the file's fault."""
    try:
        thread = threading.Thread(target=int)  # as zarr will: where that fails, nothing has begun yet
        thread.start()
        thread.join()
        _read_in_memory()
    except Exception as error:
        meaning = _meaning(error, path, "opened")
        if isinstance(meaning, CorruptIndexError):
            said = f"zarr does not work here ({str(error)[:200]}); see its settings in the environment"
            raise storage_error(OSError(errno.ENOSYS, said), f"look at {path}") from error
        raise meaning from error


@cache
def _read_in_memory() -> None:
    import zarr

    zarr.array(np.zeros(1, np.uint8))[:]


def _meaning(error: Exception, path: Path, done: str) -> HashDBError:
    """Return what an exception of zarr says: there was no means to look, or else the file is damaged."""
    looking_at = f"look at {path} with zarr"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return _out_of_memory(cause, looking_at)
        if isinstance(cause, OSError) and cause.errno in REFUSALS:
            return storage_error(cause, looking_at)
        if type(cause) is RuntimeError:  # as Python says it where no thread can be started
            _forget_loop()
            return storage_error(OSError(errno.EAGAIN, f"{str(cause)[:200]} (see `ulimit -u`)"), looking_at)
        cause = cause.__cause__
    return CorruptIndexError(f"{path} cannot be {done} with zarr: {str(error)[:200]}", path)


def _out_of_memory(error: MemoryError, doing: str) -> OutOfMemoryError:
    said = " ".join(str(error).split()) or "the system gives no more memory"
    return OutOfMemoryError(f"cannot {doing}: {said}; free some and try again")


def _forget_loop() -> None:
    """Let zarr begin anew: it keeps an event loop whose thread did not start, and would wait for it for ever."""
    with suppress(ImportError, AttributeError):
        from zarr.core import sync

        if sync.loop[0] is not None and not (sync.iothread[0] and sync.iothread[0].is_alive()):
            sync.loop[0].close()
            sync.loop[0] = sync.iothread[0] = None
