"""Merging segments: which ones, and how, with bounded memory and across conflicts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

import numpy as np

from hashdb.storage.changes import CHEAP_ROWS, Change, Workspace, entry_of, with_deletes
from hashdb.storage.layout import MAX_ROWS
from hashdb.storage.manifest import Manifest, SegmentEntry
from hashdb.storage.merge import Window, merge_windows
from hashdb.storage.reading import SegmentUnit
from hashdb.storage.segments import NewSegment, OrderedWriter, SegmentPlan
from hashdb.storage.snapshot import Segment, Snapshot
from hashdb.storage.table_writing import TableWork

FAN_IN = 8
MAX_SEGMENTS = 64
WINDOW_BYTES = 64 << 20


@dataclass
class Merged:
    """A merge that was written: its inputs as they were, and the segment."""

    inputs: list[Segment]
    writer: OrderedWriter
    result: NewSegment | None = None


@dataclass
class Merges:
    """Merges of one operation, kept over its retries: one that fits the new head as well is not done again.

    Parameters
    ----------
    plan : SegmentPlan
        Width, kind of ids and sizes of the index's segments.
    progress : callable, optional
        Called with (rows done, rows in all).
    """

    plan: SegmentPlan
    progress: Callable[[int, int], None] | None = None
    _done: dict[Hashable, Merged] = field(default_factory=dict)
    _n_done: int = 0
    _lasting: set[Hashable] | None = None

    def has_any(self) -> bool:
        """Whether a merge was begun before."""
        return bool(self._done)

    def merge(self, work: Workspace, inputs: list[Segment]) -> SegmentEntry | None:
        """Return the entry of one segment with the rows of `inputs` that are alive; None where there are none."""
        key = tuple(map(_key, inputs))
        merged = self._done.get(key)
        if merged is None or _came_back(merged.inputs, inputs):
            merged = self._done[key] = self._write(work, inputs)
        if merged.result is None or merged.result.n == 0:
            return None
        entry = entry_of(merged.result, merged.result.first_id)
        unit = unit_of(work, merged.result, self.plan.id_kind)
        segment = Segment(unit, entry, self.plan.id_kind)
        lost = [rows for base, now in zip(merged.inputs, inputs, strict=True) if len(rows := _lost(base, now, segment))]
        return with_deletes(work, segment, np.concatenate(lost)) if lost else entry

    def reusable(self, segments: list[Segment]) -> list[list[int]]:
        """Return the merges that are written and whose inputs are all there, as indices into `segments`."""
        at = {_key(segment): index for index, segment in enumerate(segments)}
        keys = [key for key, merged in self._done.items() if merged.result is not None and isinstance(key, tuple)]
        return [[at[part] for part in key] for key in keys if all(part in at for part in key)]

    def lasting(self, segments: list[Segment]) -> set[Segment]:
        """Return the segments that every head so far had: what others merge or drop all the while is left to them."""
        keys = {_key(segment) for segment in segments}
        self._lasting = keys if self._lasting is None else self._lasting & keys
        return {segment for segment in segments if _key(segment) in self._lasting}

    def discard_unused(self, manifest: Manifest) -> None:
        """Remove merges that the version does not refer to."""
        used = {entry.uuid for entry in manifest.segments}
        for merged in self._done.values():
            if merged.writer.uuid not in used:
                merged.writer.staging.discard()
        self._done.clear()

    def discard(self) -> None:
        """Remove all merges."""
        for merged in self._done.values():
            merged.writer.staging.discard()
        self._done.clear()

    def _write(self, work: Workspace, inputs: list[Segment]) -> Merged:
        n_rows = sum(segment.n_alive for segment in inputs)
        work.begin(n_rows)
        for segment in inputs:
            for name in segment.unit.files:
                segment.unit.check_file(name)
        first = inputs[0]
        plan = replace(
            self.plan,
            vectors=first.vectors,
            modality=first.modality,
            database_codes=first.database_codes,
            n_rows=n_rows,
        )
        merged = Merged(inputs, OrderedWriter(work.files, work.mapper, plan))
        # Known from the first byte on, so that an interrupt leaves nothing.
        self._done[merged.writer.uuid] = merged
        sources = [segment.source() for segment in inputs]
        for window in merge_windows(sources, self._batch(first)):
            merged.writer.append_keys(window.keys)
            merged.writer.append_codes(_gather(inputs, window, "codes"))
            if plan.vectors is not None:
                merged.writer.append_vectors(_gather(inputs, window, "vectors"))
            self._n_done += len(window.keys)
            if self.progress is not None:
                self.progress(min(self._n_done, n_rows), n_rows)
        merged.result = merged.writer.finish(None, self.progress)
        return merged

    def _batch(self, segment: Segment) -> int:
        row_bytes = sum(
            segment.unit.arrays[name].row_bytes for name in ("codes", "vectors") if name in segment.unit.arrays
        )
        return min(self.plan.sizes.merge_rows, max(1024, WINDOW_BYTES // row_bytes))


def unit_of(work: Workspace, segment: NewSegment, id_kind: str) -> SegmentUnit:
    """Return a segment that was just written, as readers see it."""
    folder = work.root / "segments" / segment.uuid
    return SegmentUnit(work.mapper, folder, segment.document, folder / "segment.json", id_kind)


def _gather(inputs: list[Segment], window: Window, name: str) -> np.ndarray:
    parts = [inputs[part.source].unit.gather(name, part.rows) for part in window.parts]
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return joined if window.order is None else joined[window.order]


def _key(segment: Segment) -> Hashable:
    # first_id belongs to it: automatic ids may come out otherwise on another head.
    return segment.uuid, segment.entry.first_id


def _dead(segment: Segment) -> np.ndarray:
    return np.zeros((segment.n + 63) // 64, np.uint64) if segment.deleted is None else segment.deleted


def _came_back(before: list[Segment], now: list[Segment]) -> bool:
    return any(
        base.entry.deletes != new.entry.deletes and bool((_dead(base) & ~_dead(new)).any())
        for base, new in zip(before, now, strict=True)
    )


def _lost(base: Segment, now: Segment, merged: Segment) -> np.ndarray:
    """Return the merged rows that were alive when the merge was written and are dead in the head."""
    if base.entry.deletes == now.entry.deletes:
        return np.empty(0, np.int64)
    words = _dead(now) & ~_dead(base)
    rows = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    return merged.ids.find(base.ids.take_keys(rows))


# ---- which segments to merge


def group_of(segment: Segment) -> Hashable:
    """Return what segments must share to be merged."""
    return segment.modality, segment.database_codes, segment.vectors


def size_class(n: int) -> int:
    """Return the power of 8 that `n` reaches."""
    return (n.bit_length() - 1) // 3


def choose_merges(sizes: list[tuple[Hashable, int]]) -> list[list[int]]:
    """Choose what an add merges.

    Within a group, 8 segments of one size class become one; so a row is rewritten once for each class, and few
    segments of each class stay. Where more than 64 remain, the smallest of the largest group go together.

    Parameters
    ----------
    sizes : list of (group, n_alive)
        The segments.

    Returns
    -------
    list of list of int
        Indices of segments that become one.
    """
    items = [(group, n, [index]) for index, (group, n) in enumerate(sizes)]
    while chosen := _next_merge(items):
        members = [items[i] for i in chosen]
        items = [item for i, item in enumerate(items) if i not in set(chosen)]
        indices = sorted(index for _, _, merged in members for index in merged)
        items.append((members[0][0], sum(n for _, n, _ in members), indices))
    return [merged for _, _, merged in items if len(merged) > 1]


def _next_merge(items: list[tuple[Hashable, int, list[int]]]) -> list[int]:
    classes: dict[Hashable, list[int]] = {}
    groups: dict[Hashable, list[int]] = {}
    for i, (group, n, _) in enumerate(items):
        classes.setdefault((group, size_class(n)), []).append(i)
        groups.setdefault(group, []).append(i)
    for members in classes.values():
        if len(members) >= FAN_IN and sum(items[i][1] for i in members) <= MAX_ROWS:
            return members
    if len(items) > MAX_SEGMENTS:
        largest = max(groups.values(), key=len)
        smallest = sorted(largest, key=lambda i: items[i][1])[: max(2, len(items) - MAX_SEGMENTS + 1)]
        if len(smallest) > 1 and sum(items[i][1] for i in smallest) <= MAX_ROWS:
            return smallest
    return []


def reduce_segments(work: Workspace, head: Snapshot, change: Change, new: NewSegment, merges: Merges) -> Change:
    """Merge small segments of the version that an add is about to make, the new segment included."""
    units = {segment.uuid: segment.unit for segment in head.segments}
    units[new.uuid] = unit_of(work, new, head.id_kind)
    segments = [Segment(units[entry.uuid], entry, head.id_kind) for entry in change.segments]
    # Large merges are written once, whatever conflicts follow: others may go on committing all the while.
    is_retry = merges.has_any()
    chosen = merges.reusable(segments)
    taken = {index for indices in chosen for index in indices}
    rest = [index for index in range(len(segments)) if index not in taken]
    for picked in choose_merges([(group_of(segments[i]), segments[i].n_alive) for i in rest]):
        indices = [rest[i] for i in picked]
        if sum(segments[i].n_alive for i in indices) > CHEAP_ROWS:
            # The new segment's automatic ids may change with the head, and with them the merge.
            indices = [] if is_retry else [i for i in indices if segments[i].uuid != new.uuid]
        if len(indices) > 1:
            chosen.append(indices)
    return replace(change, segments=_merged(work, segments, chosen, merges)) if chosen else change


def plan_compact(work: Workspace, head: Snapshot, merges: Merges, tables: TableWork) -> Change | None:
    """Merge each group into one segment without deleted rows, and give the others the tables that they lack.

    Returns
    -------
    Change or None
        None where that changes nothing.
    """
    segments = list(head.segments)
    chosen = merges.reusable(segments)
    lasting = merges.lasting(segments)
    # On a retry, what was written is used: merging its segment would make it again.
    if not chosen and not tables.fits(segments):
        chosen = _whole_groups(head, lasting)
    merged = {index for indices in chosen for index in indices}
    after = _merged(work, segments, chosen, merges)
    others = [segment for index, segment in enumerate(segments) if index not in merged]
    renewed = {segment.uuid: tables.renewed(segment, work.begin) for segment in others}
    after = tuple(renewed.get(entry.uuid, entry) for entry in after)
    if after == tuple(segment.entry for segment in segments):
        return None
    return Change(after, head.next_id, head.manifest.model, head.n_rows)


def _whole_groups(head: Snapshot, lasting: set[Segment]) -> list[list[int]]:
    chosen: list[list[int]] = []
    for group in dict.fromkeys(map(group_of, (segment for segment in head.segments if segment in lasting))):
        run: list[int] = []
        for index, segment in enumerate(head.segments):
            if segment not in lasting or group_of(segment) != group:
                continue
            if run and sum(head.segments[i].n_alive for i in run) + segment.n_alive > MAX_ROWS:
                chosen.append(run)
                run = []
            run.append(index)
        chosen.append(run)
    return [run for run in chosen if len(run) > 1 or head.segments[run[0]].entry.deletes]


def _merged(
    work: Workspace, segments: list[Segment], chosen: list[list[int]], merges: Merges
) -> tuple[SegmentEntry, ...]:
    entries: dict[int, SegmentEntry | None] = {i: segment.entry for i, segment in enumerate(segments)}
    for indices in chosen:
        entry = merges.merge(work, [segments[i] for i in indices])
        for i in indices:
            entries[i] = None
        entries[indices[0]] = entry
    return tuple(entry for _, entry in sorted(entries.items()) if entry is not None)
