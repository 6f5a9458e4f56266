"""One commit: decide on the head, publish, decide again on conflict, leave nothing behind on failure."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hashdb.errors import ConflictError, CorruptIndexError, HashDBError, VersionGoneError
from hashdb.storage import versions
from hashdb.storage.changes import Change, TakesLong, Workspace
from hashdb.storage.checking import check_deletes_presence, check_tables_presence
from hashdb.storage.commit import Files, holds
from hashdb.storage.locking import locked
from hashdb.storage.manifest import Manifest, list_versions, manifest_name
from hashdb.storage.mapping import Mapper
from hashdb.storage.publishing import publish
from hashdb.storage.segments import NewSegment
from hashdb.storage.snapshot import Snapshot, load_snapshot
from hashdb.storage.sweeping import names_of
from hashdb.storage.tables import KIND

log = logging.getLogger(__name__)

MAX_RETRIES = 64
LONGEST_WAIT = 0.1
# Attempts lost before the next one keeps others out, and seconds: of the last one at most, and until the lock is had.
MAX_LOST = 8
LONGEST_ALONE = 5.0

Decide = Callable[[Workspace, Snapshot], Change | None]


class Kept(Protocol):
    """What an operation writes once and keeps over its retries."""

    def discard_unused(self, manifest: Manifest) -> None:
        """Remove what the version that was made does not refer to."""

    def discard(self) -> None:
        """Remove everything."""


@dataclass
class Transaction:
    """Carries one change through.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    mapper : Mapper
        Opens files of the index.
    doing : str
        What it is, for messages.
    decide : callable
        Looks at a head and says what the next version is; None for no change.
    segment : NewSegment or None
        The segment to be committed; removed on failure.
    kept : sequence of Kept
        What `decide` writes and keeps over retries; removed on failure.
    is_newest : callable, optional
        Tells whether a head is still the newest version, where its manifest does not stand under its number.
    """

    files: Files
    mapper: Mapper
    doing: str
    decide: Decide
    segment: NewSegment | None = None
    kept: Sequence[Kept] = ()
    is_newest: Callable[[Manifest], bool] | None = None
    _target: Path | None = None
    _data: bytes = b""
    _new: set[str] = field(default_factory=set)
    _number: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def run(self, find_head: Callable[[], Snapshot]) -> tuple[Snapshot, Change | None]:
        """Commit.

        Parameters
        ----------
        find_head : callable
            Gives the newest version; called before each attempt.

        Returns
        -------
        snapshot : Snapshot
            The version made, or the head where nothing changes.
        change : Change or None
            What was decided.

        Raises
        ------
        ConflictError
            Other writers were first on every attempt, and were not to be kept out; or they did not let go of the lock.
        """
        work = Workspace(self.files, self.mapper)
        try:
            is_long = False
            for attempt in range(MAX_RETRIES):
                if attempt:
                    time.sleep(self._random.uniform(0, min(LONGEST_WAIT, 0.001 * 2**attempt)))
                begun = time.monotonic()
                try:
                    with ExitStack() as held:
                        # Who keeps losing would lose on to those who are quicker: these wait now.
                        work.alone = attempt >= MAX_LOST and not is_long and self._keeps_out_others(held)
                        done, change, snapshot = self._attempt(work, find_head())
                except TakesLong:
                    is_long = True
                else:
                    if done:
                        self._tidy(work, snapshot)
                        return snapshot, change
                    is_long = time.monotonic() - begun > LONGEST_ALONE
                work.discard()
            raise ConflictError(
                f"cannot {self.doing}: other writers committed first {MAX_RETRIES} times; try again later"
            )
        except BaseException:
            self._give_up(work)
            raise

    def _keeps_out_others(self, held: ExitStack) -> bool:
        """Take the lock of the index alone, if it can be had soon."""
        try:
            held.enter_context(locked(self.files, self.mapper.root, patience=LONGEST_ALONE))
        except ConflictError:
            return False
        return True

    def _attempt(self, work: Workspace, head: Snapshot) -> tuple[bool, Change | None, Snapshot]:
        try:
            change = self.decide(work, head)
            if change is None:
                return True, None, head
            manifest, data, snapshot = self._next(head, change)
        except (CorruptIndexError, VersionGoneError, OSError) as error:
            # A file of the head, or its folder, may have been pruned because someone committed in between.
            is_gone = not isinstance(error, OSError) or error.errno == errno.ENOENT
            if not is_gone or head.version == 0 or self._leads(head):
                raise
            return False, None, head
        self._data, self._new = data, _names(manifest) - _names(head.manifest)
        self._number, target = manifest.version, self.mapper.root / "manifests" / manifest_name(manifest.version)
        done = publish(self.files, target, data, lambda: self._is_next(head, snapshot, target), alone=work.alone)
        if not done:
            self._target = None
        return done, change, snapshot

    def _next(self, head: Snapshot, change: Change) -> tuple[Manifest, bytes, Snapshot]:
        """Make the version that follows the head, in memory."""
        manifest, data = head.manifest.successor(change.segments, change.next_id, change.model).encode()
        known = {segment.uuid: segment.unit for segment in head.segments}
        snapshot = load_snapshot(manifest, self.mapper, head.id_kind, head.n_stored_bits, known)
        before = {segment.uuid: segment.entry.tables for segment in head.segments}
        for segment in snapshot.segments:
            if segment.entry.tables != before.get(segment.uuid, ()) and segment.tables_problem is not None:
                raise CorruptIndexError(segment.tables_problem, segment.unit.folder)
        return manifest, data, snapshot

    def _is_next(self, head: Snapshot, snapshot: Snapshot, target: Path) -> bool:
        if not self._leads(head):
            return False
        try:
            self._check_new(head, snapshot)
        except (CorruptIndexError, VersionGoneError) as error:
            raise ConflictError(
                f"cannot {self.doing}: it waited for longer than the grace time, and somebody's sweep took what it had "
                "written; try again"
            ) from error
        self._target = target  # from here on it may come into being
        return True

    def _leads(self, head: Snapshot) -> bool:
        """Whether a head is still the newest version."""
        if head.version == 0:
            return not list_versions(self.mapper.root)
        if self.is_newest is not None:
            return self.is_newest(head.manifest)
        return versions.newer(self.mapper.root, head.manifest) is None

    def _check_new(self, head: Snapshot, snapshot: Snapshot) -> None:
        old = {segment.uuid: segment.entry for segment in head.segments}
        for segment in snapshot.segments:
            before = old.get(segment.uuid)
            if before is None:
                segment.unit.check_presence()
            for lists in set(segment.entry.deletes).difference(() if before is None else before.deletes):
                check_deletes_presence(self.mapper, lists)
            if segment.entry.tables != (() if before is None else before.tables):
                check_tables_presence(segment.unit, segment.entry.tables)

    def _tidy(self, work: Workspace, snapshot: Snapshot) -> None:
        """After success: remove what was written and merged away again in the same commit."""
        work.keep_used(snapshot.manifest)
        for written in self.kept:
            written.discard_unused(snapshot.manifest)
        if self.segment is not None:
            if self.segment.uuid not in {entry.uuid for entry in snapshot.manifest.segments}:
                self.segment.discard()
            self.segment.committed = True

    def _give_up(self, work: Workspace) -> None:
        """After a failure: keep everything if the manifest came into being all the same, else remove it."""
        if self._target is not None and self._stands(self._target):
            if self.segment is not None:
                self.segment.committed = True
            return
        work.discard()
        for written in self.kept:
            written.discard()
        if self.segment is not None:
            self.segment.discard()

    def _stands(self, target: Path) -> bool:
        """Whether the manifest came into being, or may have: others may have committed on it and pruned it since."""
        root = self.mapper.root
        try:
            if holds(target, self._data):
                return True
            with locked(self.files, root, shared=True):
                numbers = [number for number in list_versions(root) if number >= self._number]
                return any(self._new.intersection(names_of(root, number, strict=False)) for number in numbers)
        except (HashDBError, OSError) as error:
            log.warning("cannot tell whether %s came into being, a later sweep will: %s", target, error)
            return True


def _names(manifest: Manifest) -> set[str]:
    """Return what a manifest names, as :func:`hashdb.storage.sweeping.names_of` does."""
    names = {lists.uuid for entry in manifest.segments for lists in entry.deletes}
    names |= {f"{entry.uuid}/{KIND}/{table.get('name')}" for entry in manifest.segments for table in entry.tables}
    return names | {entry.uuid for entry in manifest.segments}
