"""Store: one index folder, its snapshot, and the commits that move it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from hashdb.errors import ArgumentError, IndexExistsError, ReadOnlyError
from hashdb.forks import lock_of
from hashdb.storage import folder, maintain, sweeping, versions
from hashdb.storage.changes import Change, Workspace, assigned_ids, decide_add, decide_build, decide_delete
from hashdb.storage.commit import DISK, Files, translated
from hashdb.storage.compaction import Merges, plan_compact, reduce_segments
from hashdb.storage.folder import Attributes
from hashdb.storage.ids import Ids, normalise
from hashdb.storage.manifest import Manifest, list_versions
from hashdb.storage.mapping import Mapper
from hashdb.storage.models import read_model, stored_model, write_model
from hashdb.storage.opening import open_version
from hashdb.storage.places import resolved
from hashdb.storage.segments import NewSegment, SegmentPlan, SegmentWriter, Sizes, begin_segment
from hashdb.storage.snapshot import Snapshot
from hashdb.storage.table_writing import TableWork
from hashdb.storage.tables import Progress, TableMaker
from hashdb.storage.transaction import Decide, Kept, Transaction


class Store:
    """An index folder. Made by :meth:`create` and :meth:`open`.

    A store is a snapshot: it moves by its own commits and by :meth:`refresh` only. It may be shared between threads;
    commits of one store wait for each other, commits of several stores or processes are decided again on conflict.

    Attributes
    ----------
    path : Path
        The folder.
    attributes : Attributes
        What never changes: uuid, id_kind, n_bits, n_stored_bits, settings.
    snapshot : Snapshot
        The version seen.
    read_only : bool
        Whether it was opened at a version of its own.
    """

    def __init__(self, attributes: Attributes, mapper: Mapper, snapshot: Snapshot, files: Files, sizes: Sizes) -> None:
        self.path = mapper.root
        self.attributes = attributes
        self.snapshot = snapshot
        self.read_only = False
        self.files = files
        self.sizes = sizes
        self.tables: TableMaker | None = None
        self._mapper = mapper
        self._lock = lock_of(self)
        self._build: folder.Build | None = None
        self._closed = False

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        id_kind: str,
        n_bits: int,
        n_stored_bits: int,
        settings: dict[str, Any] | None = None,
        files: Files = DISK,
        sizes: Sizes | None = None,
        tables: TableMaker | None = None,
    ) -> Store:
        """Begin an index; :meth:`commit_build` makes it visible, :meth:`close` before that removes it.

        Parameters
        ----------
        path : str or Path
            Folder, which does not exist, is empty, or holds an unfinished build.
        id_kind : "int64" or "string"
            Kind of ids.
        n_bits, n_stored_bits : int
            Information bits, and width of a code (1 to 4096).
        settings : dict
            JSON that the layers above keep with the index for ever.
        files, sizes : Files, Sizes
            Layer for file effects, and sizes: for tests.
        tables : TableMaker, optional
            Makes bucket tables for the segments that are written; without one they get none.

        Raises
        ------
        IndexExistsError
            There is an index, someone is building one, or the folder holds something else.
        StorageError
            The file system refuses.
        """
        attributes = Attributes.new(id_kind, n_bits, n_stored_bits, settings or {})
        mapper = Mapper(resolved(path))
        with translated(f"create the index {mapper.root}"):
            build = folder.begin(mapper.root, attributes, files)
        snapshot = Snapshot(Manifest(attributes.uuid, attributes.digest), (), id_kind, n_stored_bits)
        store = cls(attributes, mapper, snapshot, files, sizes or Sizes())
        store._build, store.tables = build, tables
        return store

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        version: int | None = None,
        mmap: bool = True,
        check: str = "quick",
        files: Files = DISK,
        sizes: Sizes | None = None,
        tables: TableMaker | None = None,
    ) -> Store:
        """Open an index at its newest version, or read-only at an older one.

        Parameters
        ----------
        path : str or Path
            Folder of the index.
        version : int, optional
            Version to see; the store is then read-only.
        mmap : bool
            False reads data into memory when first touched, instead of mapping them.
        check : "quick" or "full"
            "quick" checks metadata, and existence and size of every file; "full" the checksum of every byte too.
            Bucket tables that are damaged are not used, and never an error.
        files, sizes, tables
            As in :meth:`create`.

        Raises
        ------
        IndexNotFoundError
            There is no index.
        VersionGoneError
            There is no such version.
        CorruptIndexError, UnsupportedFormatError
            The index is damaged, or newer than this hashdb.
        """
        attributes, mapper, snapshot = open_version(Path(path), version, mmap=mmap, check=check)
        store = cls(attributes, mapper, snapshot, files, sizes or Sizes())
        store.read_only, store.tables = version is not None, tables
        return store

    def close(self) -> None:
        """Let go of every file. An index that was created and never committed is removed."""
        with self._lock:
            if self._build is not None and not self._closed:
                self._build.abandon()
            self._closed = True
            for segment in self.snapshot.segments:
                segment.release()
            self._mapper.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.path} at version {self.snapshot.version}: {self.snapshot.n_rows} rows>"

    def refresh(self) -> bool:
        """Move to the newest version; return whether that changed anything.

        Raises
        ------
        ReadOnlyError
            The store was opened at a version of its own.
        """
        with self._lock:
            self._writable("refresh")
            before = self.snapshot.version
            with translated(f"open the index {self.path}"):
                self.snapshot = self._head()
                return self.snapshot.version != before

    def versions(self) -> list[versions.VersionInfo]:
        """Return number, time, rows and segments of every version that can still be opened, ascending."""
        with translated(f"read the versions of {self.path}"):
            return versions.describe_versions(self.path)

    def write_model(self, document: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
        """Write a model: a JSON document and arrays of bool, integers or floats; return its uuid.

        Raises
        ------
        ArgumentError
            Something that cannot be stored.
        """
        self._writable("write a model")
        with translated(f"write a model to {self.path}"):
            return write_model(self.files, self.path, document, arrays)

    def read_model(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the document and the arrays (read-only) of this version's model; ArgumentError where it has none."""
        entry = self.snapshot.manifest.model
        if entry is None:
            raise ArgumentError(f"the index {self.path} has no model")
        with translated(f"read the model of {self.path}"):
            return read_model(self._mapper, entry)

    def new_segment(
        self,
        *,
        ids: Ids | None = None,
        n_rows_hint: int | None = None,
        vectors: tuple[DTypeLike, int] | None = None,
        modality: str | None = None,
        database_codes: str = "predicted",
    ) -> SegmentWriter:
        """Begin a segment, which no version sees until a commit.

        Parameters
        ----------
        ids : integer array, array of unicode, or sequence, optional
            Id of each row to come, in input order, any order; None for automatic ids.
        n_rows_hint : int, optional
            Rows to come, where known; lets large segments have equal chunks.
        vectors : (dtype, dim), optional
            Vectors to store: "float32", "float16" or "int8".
        modality : str, optional
            Modality of the vectors behind the codes.
        database_codes : "predicted" or "learned"
            Where the codes come from.

        Raises
        ------
        ArgumentError, DuplicateIdError
            Ids of the wrong kind, or given twice.
        """
        self._writable("add rows")
        plan = self._plan(vectors=vectors, modality=modality, database_codes=database_codes, n_rows=n_rows_hint)
        with translated(f"write to {self.path}"):
            return begin_segment(self.files, self._mapper, plan, ids)

    def commit_build(self, model: str | None, segment: NewSegment | None = None) -> None:
        """Make a created index visible as version 1.

        Parameters
        ----------
        model : str or None
            What :meth:`write_model` returned.
        segment : NewSegment or None
            The first rows.
        """
        with self._lock:
            if self._build is None:
                raise ArgumentError(f"{self.path} is an index already; add to it instead of building it")
            entry = None if model is None else stored_model(self.path, model)
            self._build.check()
            self._commit("build", lambda work, head: decide_build(work, head, segment, entry), segment)
            self._build.release()
            self._build = None

    def commit_add(self, segment: NewSegment, *, upsert: bool = False, auto_compact: bool = True) -> np.ndarray:
        """Make a new segment part of the index.

        Parameters
        ----------
        segment : NewSegment
            What the writer's ``finish`` returned. Where the commit fails, its files are removed.
        upsert : bool
            Replace rows whose ids are in the index already; otherwise such an id is an error.
        auto_compact : bool
            Merge small segments in the same commit.

        Returns
        -------
        ndarray
            Ids of the rows in input order: int64, or fixed-width unicode.

        Raises
        ------
        DuplicateIdError
            An id is in the index already.
        ConflictError
            Other writers committed first, on every retry.
        """
        merges = Merges(self._plan())

        def decide(work: Workspace, head: Snapshot) -> Change | None:
            change = decide_add(work, head, segment, upsert=upsert)
            if change is not None and auto_compact:
                return reduce_segments(work, head, change, segment, merges)
            return change

        change = self._commit("add", decide, segment, [merges])
        return assigned_ids(segment, change, self.attributes.id_kind)

    def commit_delete(self, ids: Ids, *, ignore_missing: bool = False) -> int:
        """Delete rows by id; repeats are fine.

        Returns
        -------
        int
            Rows deleted.

        Raises
        ------
        UnknownIdError
            An id is not in the index.
        """
        column = normalise(ids, self.attributes.id_kind)
        change = self._commit(
            "delete", lambda work, head: decide_delete(work, head, column, ignore_missing=ignore_missing)
        )
        return 0 if change is None else change.n_rows

    def compact(
        self, *, prune: bool = False, keep: int = 1, grace: float = sweeping.GRACE,
        tables: TableMaker | None = None, progress: Progress | None = None,
    ) -> sweeping.CompactReport:  # fmt: skip
        """Merge the segments of each modality and policy, renew the tables of those that stay, sweep leftovers.

        Parameters
        ----------
        prune : bool
            Remove old versions, and the files that only they refer to.
        keep : int
            Newest versions that `prune` keeps, at least 1.
        grace : float
            Age in seconds from which a file that no version refers to is a leftover.
        tables, progress : optional
            Maker instead of the store's own; callable taking (rows done, rows in all).

        Raises
        ------
        CorruptIndexError
            A file to be merged, or codes to make tables of, do not match their checksum; nothing is changed then.
        """
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ArgumentError(f"keep is {keep!r}, expected a whole number of at least 1")
        maker = tables or self.tables
        kept = (Merges(self._plan(maker=maker), progress), TableWork(self.files, maker, progress))
        with self._lock:
            self._writable("compact")
            with translated(f"open the index {self.path}"):
                self.snapshot = self._head()
            before = len(self.snapshot.segments)
            change = self._commit("compact", lambda work, head: plan_compact(work, head, *kept), kept=kept)
            if change is None:
                self.snapshot = self._head()  # another may have compacted meanwhile
            with translated(f"sweep {self.path}"):
                now, check = self.snapshot, partial(versions.newer, self.path, self.snapshot.manifest)
                swept = sweeping.sweep(self.files, self.path, grace=grace, keep=keep if prune else None, check=check)
            return sweeping.CompactReport(
                now.version, change is not None, before, len(now.segments), now.n_rows, *astuple(swept)
            )

    def verify(self, *, deep: bool = False, progress: Progress | None = None) -> maintain.VerifyReport:
        """Check this version; see :func:`hashdb.storage.maintain.verify`."""
        return maintain.verify(self.path, version=self.snapshot.version, deep=deep, progress=progress)

    def _plan(self, **fields: Any) -> SegmentPlan:
        usual = {"n_bits": self.attributes.n_stored_bits, "id_kind": self.attributes.id_kind, "maker": self.tables}
        return SegmentPlan(**{**usual, **fields}, sizes=self.sizes)

    def _writable(self, doing: str) -> None:
        if self._closed:
            raise ArgumentError(f"cannot {doing}: the index {self.path} was closed")
        if self.read_only:
            raise ReadOnlyError(
                f"cannot {doing}: {self.path} was opened at version {self.snapshot.version}; "
                "open it without version= (--at)"
            )

    def _commit(
        self, doing: str, decide: Decide, segment: NewSegment | None = None, kept: Sequence[Kept] = ()
    ) -> Change | None:
        self._writable(doing)
        if segment is not None and segment.committed:
            raise ArgumentError("this segment was committed already; write a new one")
        doing = f"{doing} in {self.path}"
        transaction = Transaction(self.files, self._mapper, doing, decide, segment, kept)
        with self._lock, translated(doing):
            snapshot, change = transaction.run(self._head)
            if change is not None:  # a snapshot moves by its own commits only
                self.snapshot = snapshot
            return change

    def _head(self) -> Snapshot:
        """Return the newest version, which may be the snapshot."""
        if self._build is None:
            found = versions.newer(self.path, self.snapshot.manifest)
            if found is not None:
                known = {segment.uuid: segment.unit for segment in self.snapshot.segments}
                return versions.load(self.path, self.attributes, self._mapper, None, known)
        elif list_versions(self.path):
            raise IndexExistsError(f"there is an index at {self.path} already")
        return self.snapshot
