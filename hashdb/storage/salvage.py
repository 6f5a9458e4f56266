"""The version that a repair makes: without what is lost, with bucket tables made anew. It commits like any other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np

from hashdb.storage.changes import Change, Workspace, entry_of, with_deletes
from hashdb.storage.ids import BLOCK, from_keys
from hashdb.storage.losses import lost_rows, lost_vectors
from hashdb.storage.manifest import Manifest, SegmentEntry
from hashdb.storage.reading import SegmentUnit
from hashdb.storage.restoring import Damage
from hashdb.storage.segments import NewSegment, OrderedWriter, SegmentPlan
from hashdb.storage.snapshot import Segment, Snapshot
from hashdb.storage.table_writing import TableWork


@dataclass
class Rewrites:
    """Segments written anew without what is lost, kept over the retries of the commit."""

    plan: SegmentPlan
    _written: dict[Hashable, tuple[OrderedWriter, NewSegment | None]] = field(default_factory=dict)

    def without_lost(self, work: Workspace, segment: Segment, rows: np.ndarray, *, vectors: bool) -> list[SegmentEntry]:
        """Return the entry of a new segment with some rows of a damaged one; nothing for no rows."""
        if not len(rows):
            return []
        key = segment.uuid, segment.entry.deletes, vectors
        done = self._written.get(key, (None, None))[1]
        new = done or self._write(work, segment, rows, vectors, key)
        return [entry_of(new, new.first_id)]

    def discard_unused(self, manifest: Manifest) -> None:
        """Remove what the version does not refer to."""
        used = {entry.uuid for entry in manifest.segments}
        for writer, _ in self._written.values():
            if writer.uuid not in used:
                writer.staging.discard()
        self._written.clear()

    def discard(self) -> None:
        """Remove everything."""
        for writer, _ in self._written.values():
            writer.staging.discard()
        self._written.clear()

    def _write(self, work: Workspace, segment: Segment, rows: np.ndarray, vectors: bool, key: Hashable) -> NewSegment:
        work.begin(len(rows))
        plan = replace(
            self.plan,
            vectors=segment.vectors if vectors else None,
            modality=segment.modality,
            database_codes=segment.database_codes,
            n_rows=len(rows),
        )
        writer = OrderedWriter(work.files, work.mapper, plan)
        self._written[key] = writer, None
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            writer.append_keys(segment.ids.take_keys(part))
            writer.append_codes(_gather(segment.unit, "codes", part))
            if vectors and segment.vectors is not None:
                writer.append_vectors(_gather(segment.unit, "vectors", part))
        new = writer.finish(None)
        self._written[key] = writer, new
        return new


def _gather(unit: SegmentUnit, name: str, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array whose other chunks may be damaged."""
    spec = unit.arrays[name]
    result = np.empty((len(rows), *spec.shape[1:]), spec.dtype)
    chunks = rows // spec.chunk_rows
    for chunk in np.unique(chunks).tolist():
        mine = chunks == chunk
        result[mine] = unit.block(name, chunk)[rows[mine] - chunk * spec.chunk_rows]
    return result


@dataclass
class Salvage:
    """Decides the next version: what is lost left out, if that is allowed, and new tables in place of damaged ones.

    Parameters
    ----------
    damaged : dict
        uuid of a segment, and what is wrong with it.
    rewrites, renewals : Rewrites, TableWork
        What is written, kept over retries.
    drop : bool
        Whether what is lost may go.
    """

    damaged: dict[str, Damage]
    rewrites: Rewrites
    renewals: TableWork
    drop: bool

    def decide(self, work: Workspace, head: Snapshot) -> Change | None:
        """Decide on a head, which may lack segments that cannot be opened; None where it stays as it is."""
        there = {segment.uuid: segment for segment in head.segments}
        settled: dict[str, Segment] = {}
        made: list[list[SegmentEntry]] = []
        # From the newest segment on: an id whose deletion is lost is alive where it was added last.
        for entry in reversed(head.manifest.segments):
            damage, segment = self.damaged.get(entry.uuid), there.get(entry.uuid)
            if damage is not None and damage.loses and self.drop:
                made.append([] if segment is None else self._salvaged(work, head, segment, damage, settled))
            elif damage is not None and damage.tables and segment is not None and not damage.loses:
                made.append([self.renewals.renewed(segment, work.begin)])
            else:
                made.append([entry])
        segments = tuple(entry for entries in reversed(made) for entry in entries)
        if segments == head.manifest.segments:
            return None
        return Change(segments, head.next_id, head.manifest.model, head.n_rows)

    def _salvaged(
        self, work: Workspace, head: Snapshot, segment: Segment, damage: Damage, settled: dict[str, Segment]
    ) -> list[SegmentEntry]:
        gone, bare = lost_rows(damage), lost_vectors(damage)
        if gone.all():
            return []
        if damage.deletes:
            sound = tuple(lists for lists in segment.entry.deletes if lists.uuid not in damage.deletes)
            segment = Segment(segment.unit, replace(segment.entry, deletes=sound), head.id_kind)
            entry = _without_repeats(work, segment, self._others(head, segment, settled))
            if entry is None:
                return []
            segment = settled[segment.uuid] = Segment(segment.unit, entry, head.id_kind)
        if not (gone | bare).any():
            return [self.renewals.renewed(segment, work.begin) if damage.tables else segment.entry]
        alive = segment.alive(0, segment.n)
        keep = ~gone if alive is None else ~gone & alive
        return [
            *self.rewrites.without_lost(work, segment, np.flatnonzero(keep & ~bare), vectors=True),
            *self.rewrites.without_lost(work, segment, np.flatnonzero(keep & bare), vectors=False),
        ]

    def _others(self, head: Snapshot, segment: Segment, settled: dict[str, Segment]) -> list[Segment]:
        """Return the segments whose ids a row must not have that comes back in `segment`."""
        others = []
        for other in head.segments:
            damage = self.damaged.get(other.uuid)
            if damage is not None and damage.deletes:
                # Older ones will be compared with this one.
                others += [settled[other.uuid]] if other.uuid in settled else []
            elif other.uuid != segment.uuid and (damage is None or not lost_rows(damage).all()):
                others.append(other)
        return others


def _without_repeats(work: Workspace, segment: Segment, others: list[Segment]) -> SegmentEntry | None:
    """Return a segment's entry with the rows deleted whose ids are alive in others; None where no row is left."""
    repeated = []
    column = segment.ids
    for start in range(0, segment.n, BLOCK):
        stop = min(start + BLOCK, segment.n)
        alive = segment.alive(start, stop)
        rows = np.arange(start, stop) if alive is None else start + np.flatnonzero(alive)
        keys = from_keys(column.take_keys(rows))
        found = [other.find(keys) >= 0 for other in others]
        repeated.append(rows[np.logical_or.reduce(found)] if found else rows[:0])
    joined = np.concatenate(repeated)
    return with_deletes(work, segment, joined) if len(joined) else segment.entry
