"""What commits do: each function looks at a head and says what the next version is.

They write what the next version needs (delete lists, merged segments) through a :class:`Workspace`, which removes it
again when the commit does not come about.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hashdb.errors import ArgumentError, DuplicateIdError, UnknownIdError
from hashdb.storage.commit import Files, Staging
from hashdb.storage.documents import group_json
from hashdb.storage.ids import INT64_MAX, IdColumn, RangeColumn, show, to_users
from hashdb.storage.layout import ArrayWriter
from hashdb.storage.manifest import MAX_DELETE_LISTS, DeleteEntry, Manifest, ModelEntry, SegmentEntry
from hashdb.storage.mapping import Mapper
from hashdb.storage.reading import read_deletes
from hashdb.storage.segments import NewSegment, largest_id
from hashdb.storage.snapshot import Segment, Snapshot

# Rows that may be merged again on every retry, also while others are kept out.
CHEAP_ROWS = 1 << 16


@dataclass(frozen=True)
class Change:
    """The next version: its segments, next automatic id and model. `first_id` is what an add assigned."""

    segments: tuple[SegmentEntry, ...]
    next_id: int
    model: ModelEntry | None
    n_rows: int = 0
    first_id: int | None = None


class TakesLong(Exception):
    """What an attempt is about to write takes longer than others may be kept out for."""


@dataclass
class Workspace:
    """Folders written for one attempt at a commit.

    Attributes
    ----------
    files : Files
        Layer for file effects.
    mapper : Mapper
        Opens files of the index.
    staged : list of Staging
        What was written.
    alone : bool
        Other writers are kept out meanwhile.
    """

    files: Files
    mapper: Mapper
    staged: list[Staging] = field(default_factory=list)
    alone: bool = False

    def begin(self, n_rows: int) -> None:
        """Say that so many rows are about to be written anew; :class:`TakesLong` where others would wait for it."""
        if self.alone and n_rows > CHEAP_ROWS:
            raise TakesLong

    @property
    def root(self) -> Path:
        """Folder of the index."""
        return self.mapper.root

    def write_deletes(self, rows: np.ndarray) -> DeleteEntry:
        """Write one delete list: uint32 rows, ascending."""
        name = uuid.uuid4().hex
        staging = Staging(self.files, self.root / "deletes" / name)
        self.staged.append(staging)
        staging.write_file("zarr.json", group_json())
        writer = ArrayWriter(staging, "rows", "uint32")
        writer.append(rows)
        writer.finish()
        staging.sync()
        return DeleteEntry(name, len(rows), writer.entries["rows/c/0"].crc)

    def keep_used(self, manifest: Manifest) -> None:
        """Remove what the version that was made does not refer to."""
        used = {lists.uuid for entry in manifest.segments for lists in entry.deletes}
        self.staged = [staging for staging in self.staged if staging.root.name not in used]
        self.discard()

    def discard(self) -> None:
        """Remove what was written."""
        while self.staged:
            self.staged.pop().discard()


def with_deletes(work: Workspace, segment: Segment, rows: np.ndarray) -> SegmentEntry | None:
    """Delete rows of a segment.

    Parameters
    ----------
    work : Workspace
        Takes the new delete list.
    segment : Segment
        The segment.
    rows : ndarray
        Rows that are alive, any order, without repeats.

    Returns
    -------
    SegmentEntry or None
        The entry with the rows deleted; None where no row is left, so that the segment can go.
    """
    if len(rows) == segment.n_alive:
        return None
    lists = sorted(segment.entry.deletes, key=lambda entry: entry.n)
    parts = [np.asarray(rows, np.uint32)]
    # Folding what is no larger keeps lists geometric: a row is rewritten at most log2(n) times.
    while lists and (lists[0].n <= sum(map(len, parts)) or len(lists) >= MAX_DELETE_LISTS):
        parts.append(read_deletes(work.mapper, lists.pop(0), segment.n))
    entry = work.write_deletes(np.sort(np.concatenate(parts)))
    return replace(segment.entry, deletes=(*lists, entry))


def delete_rows(work: Workspace, head: Snapshot, segments: np.ndarray, rows: np.ndarray) -> tuple[SegmentEntry, ...]:
    """Return the head's segments with some rows deleted, given as (segment index, row); -1 is left out."""
    entries: list[SegmentEntry] = []
    for index, segment in enumerate(head.segments):
        mine = np.unique(rows[segments == index])
        entry = with_deletes(work, segment, mine) if len(mine) else segment.entry
        if entry is not None:
            entries.append(entry)
    return tuple(entries)


def entry_of(segment: NewSegment, first_id: int | None) -> SegmentEntry:
    """Return the manifest's entry of a new segment."""
    return SegmentEntry(
        *(segment.uuid, segment.n, first_id, segment.digest, segment.modality, segment.database_codes),
        tables=segment.tables,
    )


def decide_add(work: Workspace, head: Snapshot, segment: NewSegment, *, upsert: bool) -> Change | None:
    """Add a segment.

    Raises
    ------
    DuplicateIdError
        An id is in the index already, and `upsert` is false.
    ArgumentError
        No integers are left for automatic ids, or the kind of ids needs explicit ones.
    """
    if segment.n == 0:
        return None
    entries = tuple(old.entry for old in head.segments)
    first_id: int | None
    if segment.given_ids is None:
        first_id, next_id = _automatic(head, segment.n)
    else:
        first_id = segment.first_id
        next_id = max(head.next_id, (largest_id(segment.given_ids) or 0) + 1) if head.id_kind == "int64" else 0
        found, rows = head.find(segment.given_ids)
        if bool((found >= 0).any()):
            if not upsert:
                raise _duplicates(segment.given_ids, found)
            entries = delete_rows(work, head, found, rows)
    new = entry_of(segment, first_id)
    return Change((*entries, new), next_id, head.manifest.model, segment.n, first_id)


def decide_build(work: Workspace, head: Snapshot, segment: NewSegment | None, model: ModelEntry | None) -> Change:
    """Make the first version."""
    change = None if segment is None else decide_add(work, head, segment, upsert=False)
    return Change((), 0, model) if change is None else replace(change, model=model)


def _automatic(head: Snapshot, n: int) -> tuple[int, int]:
    if head.id_kind == "string":
        raise ArgumentError("this index has string ids, which cannot be assigned; give ids= (--ids FILE)")
    if head.next_id + n - 1 > INT64_MAX:
        raise ArgumentError(f"only {INT64_MAX - head.next_id + 1} automatic ids are left for {n} rows; give ids=")
    return head.next_id, head.next_id + n


def _duplicates(ids: IdColumn, found: np.ndarray) -> DuplicateIdError:
    present = np.flatnonzero(found >= 0)
    others = f" (and {len(present) - 1} more of these ids)" if len(present) > 1 else ""
    return DuplicateIdError(
        f"id {show(ids, int(present[0]))} is in the index already{others}; "
        "give other ids, or replace the rows with upsert=True (--upsert)"
    )


def decide_delete(work: Workspace, head: Snapshot, ids: IdColumn, *, ignore_missing: bool) -> Change | None:
    """Delete ids.

    Raises
    ------
    UnknownIdError
        An id is not in the index, and `ignore_missing` is false.
    """
    segments, rows = head.find(ids)
    absent = np.flatnonzero(segments < 0)
    if len(absent) and not ignore_missing:
        others = f" (and {len(absent) - 1} more of these ids)" if len(absent) > 1 else ""
        raise UnknownIdError(
            f"id {show(ids, int(absent[0]))} is not in the index{others}; "
            "leave it out, or pass over such ids with ignore_missing=True (--ignore-missing)"
        )
    if len(absent) == ids.n:
        return None
    entries = delete_rows(work, head, segments, rows)
    n_left = sum(entry.n_alive for entry in entries)
    return Change(entries, head.next_id, head.manifest.model, head.n_rows - n_left)


def assigned_ids(segment: NewSegment | None, change: Change | None, id_kind: str) -> np.ndarray:
    """Return the ids of a new segment's rows in input order, as users see them."""
    if segment is None or segment.n == 0 or change is None:
        return np.empty(0, np.int64 if id_kind == "int64" else "<U1")
    if segment.given_ids is None:
        return RangeColumn(change.first_id or 0, segment.n).keys(0, segment.n)
    return to_users(segment.given_ids.keys(0, segment.n))
