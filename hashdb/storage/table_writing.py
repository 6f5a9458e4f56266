"""Writing bucket tables: into a segment that is being written, or as new folders of one that stays as it is.

Nobody refers to a table before a commit names it; whatever fails before is removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError, StorageError
from hashdb.storage.commit import Files, Staging, holds, translated, try_remove, write_named
from hashdb.storage.documents import FORMAT, canonical, digest, group_json, is_array_path
from hashdb.storage.layout import DTYPES, ArraySpec, ArrayWriter, FileEntry
from hashdb.storage.manifest import Manifest, SegmentEntry
from hashdb.storage.mapping import missing
from hashdb.storage.reading import SegmentUnit
from hashdb.storage.snapshot import Segment
from hashdb.storage.tables import (
    ARRAY_NAME,
    KIND,
    MAX_ARRAYS,
    MAX_TABLES,
    TABLE_NAME,
    Progress,
    TableEntry,
    TableMaker,
    is_ours,
)

log = logging.getLogger(__name__)

# Tries at a folder's name while other writers take the same ones.
MAX_TRIES = 64


class TableWriter:
    """Writes one table into a new folder; see :class:`hashdb.storage.tables.TableSink`.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    segment : SegmentUnit
        The segment, whose arrays are complete.
    name : str
        Folder below ``buckets``, which must not exist.
    """

    def __init__(self, files: Files, segment: SegmentUnit, name: str) -> None:
        self.name = name
        self.entry: TableEntry | None = None
        self._segment = segment
        self._staging = Staging(files, segment.folder / KIND / name)
        self._writers: dict[str, ArrayWriter] = {}
        self._closed = False
        # A thread that is still writing when another gives up must not meet a handle that was closed and used again.
        self._lock = threading.Lock()

    def append(self, name: str, rows: np.ndarray) -> None:
        """Append the next rows of an array; the first call fixes its dtype and the shape of a row.

        Raises
        ------
        ArgumentError
            A name or dtype that cannot be stored, or rows that do not fit those before.
        StorageError
            The file system refuses, or the table was given up.
        """
        with self._lock, translated(f"write {self._staging.root}"):
            self._usable()
            writer = self._writers.get(name)
            if writer is None:
                writer = self._writers[name] = self._begin(name, rows)
            if rows.dtype.name != writer.dtype or rows.shape[1:] != writer.row_shape:
                raise ArgumentError(
                    f"rows of {name} are {rows.dtype} {rows.shape[1:]}, those before {writer.dtype} {writer.row_shape}"
                )
            writer.append(rows)

    def finish(self, description: dict[str, Any]) -> None:
        """Complete the table and flush it to the medium; `description` is JSON.

        Raises
        ------
        ArgumentError
            There is no array, or the description is not JSON.
        StorageError
            The file system refuses, or the table was given up.
        """
        with self._lock, translated(f"write {self._staging.root}"):
            self._usable()
            if not self._writers:
                raise ArgumentError(f"table {self.name} has no array")
            group = group_json()
            self._staging.write_file("zarr.json", group)
            entries = {"zarr.json": FileEntry.of(group)}
            specs = {}
            for name, writer in self._writers.items():
                specs[name] = _complete(writer)
                entries.update(writer.entries)
            data = self._document(description, specs, entries)
            self._staging.write_file("table.json", data)
            self._staging.sync()
            self.entry = TableEntry(self.name, digest(data))
            self._closed = True

    def discard(self) -> None:
        """Remove everything written. A thread that writes on gets an error."""
        with self._lock:
            self._closed = True
            self._staging.discard()

    def _usable(self) -> None:
        if self._closed:
            raise StorageError(f"the table {self._staging.root} was completed or given up")

    def _begin(self, name: str, rows: np.ndarray) -> ArrayWriter:
        if not ARRAY_NAME.fullmatch(name) or not is_array_path(name) or len(self._writers) >= MAX_ARRAYS:
            raise ArgumentError(f"{name!r:.80} cannot name an array of a table, or there are too many")
        if rows.dtype.name not in DTYPES or rows.ndim < 1:
            raise ArgumentError(f"array {name} is {rows.dtype} {rows.shape}, expected rows of one of {DTYPES}")
        return ArrayWriter(self._staging, name, rows.dtype.name, rows.shape[1:])

    def _document(
        self, description: dict[str, Any], specs: dict[str, ArraySpec], entries: dict[str, FileEntry]
    ) -> bytes:
        document = {
            "format": FORMAT,
            "uuid": self._segment.uuid,
            "name": self.name,
            "n": self._segment.n,
            "n_bits": self._segment.n_bits,
            "description": dict(description),
            "arrays": {name: spec.to_json() for name, spec in specs.items()},
            "files": {name: entry.to_json() for name, entry in entries.items()},
        }
        try:
            return canonical(document)
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentError(f"the description of table {self.name} is not JSON: {error}") from error


def _complete(writer: ArrayWriter) -> ArraySpec:
    if writer.n_rows:
        return writer.finish()
    return writer.write_whole(np.empty((0, *writer.row_shape), writer.dtype))


class TableBatch:
    """The tables of one segment while they are written.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    segment : SegmentUnit
        The segment, whose arrays are complete.
    objects : sequence of dict
        `tables` of the segment's entry so far: their names are not used again, and what is not ours is kept.
    """

    def __init__(self, files: Files, segment: SegmentUnit, objects: tuple[dict[str, Any], ...] = ()) -> None:
        self.entries: tuple[dict[str, Any], ...] = ()
        self.finished = False
        self._files = files
        self._segment = segment
        self._folder = segment.folder / KIND
        self._others = tuple(described for described in objects if not is_ours(described))
        self._named = {str(described.get("name")) for described in objects}
        self._first = self._next_number()
        self._sinks: dict[int, TableWriter] = {}
        self._made_folder = False
        self._closed = False
        self._lock = threading.Lock()

    def run(self, maker: TableMaker, progress: Progress | None) -> None:
        """Let `maker` write the tables, and flush them; on failure everything is removed."""
        try:
            maker.make(self._segment.blocks("codes"), self._segment.n_bits, self.begin, progress)
            self._finish()
        except BaseException:
            self.discard()
            raise

    def begin(self, substring: int) -> TableWriter:
        """Begin a table.

        Raises
        ------
        ArgumentError
            It was begun before, or there would be too many.
        """
        with self._lock, translated(f"write {self._folder}"):
            if self._closed:
                raise StorageError(f"the tables of {self._segment.folder} were given up")
            if not 0 <= substring < MAX_TABLES - len(self._others) or substring in self._sinks:
                raise ArgumentError(f"table {substring} was begun before, or there are too many")
            sink = self._sinks[substring] = self._make(self._first + substring)
            return sink

    def discard(self) -> None:
        """Close and remove everything, as far as that is possible."""
        with self._lock:
            self._closed = True
        for sink in self._sinks.values():
            sink.discard()
        if self._made_folder:
            self._remove_folder()

    def _finish(self) -> None:
        entries = [sink.entry for _, sink in sorted(self._sinks.items())]
        if entries:
            self._ensure_folder()
            self._files.fsync_folder(self._folder)
            self._files.fsync_folder(self._segment.folder)
        self.entries = (*self._others, *(entry.to_json() for entry in entries if entry is not None))
        if None in entries:
            raise ArgumentError("a table was begun and not finished")
        self.finished = True

    def _make(self, number: int) -> TableWriter:
        for _ in range(MAX_TRIES):
            try:
                self._ensure_folder()
                return TableWriter(self._files, self._segment, str(number))
            except FileExistsError:  # another writer's
                number = max(number + 1, self._next_number())
            except FileNotFoundError:
                log.debug("%s was empty, and removed by another", self._folder)
        raise StorageError(f"cannot write {self._folder}: other writers take every name; try again later")

    def _next_number(self) -> int:
        names = set(self._named)
        with contextlib.suppress(FileNotFoundError):
            names.update(os.listdir(self._folder))
        return max((int(name) for name in names if TABLE_NAME.fullmatch(name)), default=-1) + 1

    def _ensure_folder(self) -> None:
        """Make ``buckets`` a Zarr group where it is none; several writers may do so at once."""
        if holds(self._folder / "zarr.json", group_json()):
            return
        try:
            if not self._folder.is_dir():
                self._files.mkdir(self._folder)
                self._made_folder = True
        except FileExistsError:
            log.debug("%s was made by another", self._folder)
        except FileNotFoundError:
            raise missing(self._segment.folder, self._segment.uuid, self._segment.mapper.root) from None
        temporary = self._folder / f"zarr.json.{uuid.uuid4().hex[:8]}.tmp"
        try:
            write_named(self._files, temporary, group_json())
            self._files.rename(temporary, self._folder / "zarr.json")
        except BaseException:
            try_remove(self._files, temporary)
            raise

    def _remove_folder(self) -> None:
        """Remove ``buckets`` where nothing else is in it."""
        try:
            names = os.listdir(self._folder)
            if set(names) - {"zarr.json"}:
                return
            for name in names:
                self._files.unlink(self._folder / name)
            self._files.rmdir(self._folder)
        except FileNotFoundError:
            log.debug("already removed: %s", self._folder)
        except OSError as error:
            log.warning("could not remove %s: %s", self._folder, error)
            self._restore_folder()

    def _restore_folder(self) -> None:
        """Give ``buckets`` its metadata back: another writer has put its tables there meanwhile."""
        try:
            if self._folder.is_dir():
                self._ensure_folder()
        except OSError as error:
            log.warning("could not write %s: %s", self._folder, error)


@dataclass
class TableWork:
    """Tables that one operation gives to segments which stay as they are, kept over its retries.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    maker : TableMaker or None
        Makes them; without one, entries stay as they are.
    progress : callable, optional
        Called with (done, total) for each segment.
    """

    files: Files
    maker: TableMaker | None
    progress: Progress | None = None
    _batches: dict[str, TableBatch] = field(default_factory=dict)

    def fits(self, segments: list[Segment]) -> bool:
        """Whether tables were written for one of these segments."""
        return any(segment.uuid in self._batches for segment in segments)

    def renewed(self, segment: Segment, begin: Callable[[int], None]) -> SegmentEntry:
        """Return a segment's entry with the tables that it should have.

        Parameters
        ----------
        segment : Segment
            The segment.
        begin : callable
            Called with the number of rows before tables are made.

        Raises
        ------
        CorruptIndexError
            The codes do not match their checksums.
        """
        entry = segment.entry
        if self.maker is None:
            return entry
        segment.check_tables()
        found = segment.tables
        present = None if found is None else [table.description for table in found.tables]
        if not self.maker.wants(segment.n, segment.unit.n_bits, present):
            # Tables that cannot be used and are not wanted any more only give rise to warnings.
            if segment.tables_problem is None and not self.maker.drops(segment.n, segment.unit.n_bits):
                return entry
            return replace(entry, tables=tuple(described for described in entry.tables if not is_ours(described)))
        batch = self._batches.get(segment.uuid)
        if batch is None:
            begin(segment.n)
            for name in segment.unit.files:
                if name.startswith("codes/"):
                    segment.unit.check_file(name)
            batch = self._batches[segment.uuid] = TableBatch(self.files, segment.unit, entry.tables)
            try:
                batch.run(self.maker, self.progress)
            except BaseException:
                del self._batches[segment.uuid]
                raise
        return replace(entry, tables=batch.entries)

    def discard_unused(self, manifest: Manifest) -> None:
        """Remove tables that the version does not refer to."""
        named = {entry.uuid: entry.tables for entry in manifest.segments}
        for name, batch in self._batches.items():
            if named.get(name) != batch.entries:
                batch.discard()
        self._batches.clear()

    def discard(self) -> None:
        """Remove all tables."""
        for batch in self._batches.values():
            batch.discard()
        self._batches.clear()
