"""Repairing an index: put back what is proven, make derived data anew, and give up the rest only when told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hashdb.errors import (
    CorruptIndexError,
    FormatError,
    HashDBError,
    IndexNotFoundError,
    UnsupportedFormatError,
    VersionGoneError,
)
from hashdb.storage import folder, maintain
from hashdb.storage.changes import Change, Workspace
from hashdb.storage.checking import looking
from hashdb.storage.commit import DISK, Files
from hashdb.storage.documents import MAX_DOCUMENT_BYTES, parse_document
from hashdb.storage.folder import Attributes
from hashdb.storage.locking import locked
from hashdb.storage.losses import Loss, RepairReport, losses_of, lost_versions, next_id_after
from hashdb.storage.manifest import Manifest, decode, list_versions, manifest_name
from hashdb.storage.mapping import Mapper, read_file
from hashdb.storage.mending import first_that_fits, mended_manifest, one_byte_off
from hashdb.storage.places import kind_of
from hashdb.storage.reading import open_segment, read_document
from hashdb.storage.restoring import Damage, Knowledge, Model, Restorer, count_files, refuse_linked_folders
from hashdb.storage.salvage import Rewrites, Salvage
from hashdb.storage.segments import SegmentPlan, Sizes
from hashdb.storage.snapshot import Segment, Snapshot
from hashdb.storage.sweeping import forget_versions
from hashdb.storage.table_writing import TableWork
from hashdb.storage.tables import KIND
from hashdb.storage.transaction import Transaction
from hashdb.storage.visiting import uuids_of

Progress = Callable[[int, int], None]

# Times that a repair begins again because the version it looked at was pruned.
MAX_TRIES = 4


def repair(
    root: str | Path,
    knowledge: Knowledge,
    *,
    drop: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    files: Files = DISK,
    sizes: Sizes | None = None,
) -> RepairReport:
    """Repair the newest version of an index, its manifests, and what only older versions need.

    Parameters
    ----------
    root : str or Path
        Folder of the index, which need not open.
    knowledge : Knowledge
        What the layers above know of it.
    drop : bool
        Give up what cannot be saved.
    dry_run : bool
        Write nothing, and say what would be done.
    progress : callable, optional
        Called with (files looked at, files in all).
    files, sizes : Files, Sizes
        Layer for file effects, and sizes: for tests.

    Raises
    ------
    IndexNotFoundError
        There is no index.
    CorruptIndexError
        A folder of it is a symbolic link.
    StorageError, ConflictError, OutOfMemoryError
        The system refuses, or others do not let go of the lock. What was put back before stays.
    """
    root = Path(root)
    with looking(f"repair {root}"):
        if kind_of(root) != "a folder" or not list_versions(root):
            folder.read_attributes(root)
            raise IndexNotFoundError(f"no index at {root}")
        for tries in range(MAX_TRIES):
            try:
                report = _Repair(root, knowledge, files, sizes or Sizes(), drop, dry_run, progress).run()
                break
            except VersionGoneError:
                if tries == MAX_TRIES - 1:
                    raise
        if not dry_run:
            try:
                report.problems = maintain.verify(root, deep=True).problems
            except HashDBError as error:
                if not report.dropped:
                    raise
                # What was given up must be told all the same.
                report.verified = False
                report.problems = [(str(root), f"it was repaired and cannot be verified: {error}")]
        return report


class _Repair:
    """One attempt at a repair."""

    def __init__(
        self, root: Path, knowledge: Knowledge, files: Files, sizes: Sizes, drop: bool, dry_run: bool,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.root, self.knowledge, self.files, self.sizes = root, knowledge, files, sizes
        self.drop, self.dry_run, self.progress = drop, dry_run, progress
        self.mapper = Mapper(root, use_mmap=False)
        self.mapper.quiet = True  # the report says it
        self.report = RepairReport(dry_run=dry_run)
        self.restorer = Restorer(files, self.mapper, knowledge, dry_run, self._step)
        self.report.restored = self.restorer.restored
        self.sound: dict[int, Manifest] = {}
        self.broken: dict[int, tuple[str, bytes]] = {}
        self.damaged: dict[str, Damage] = {}
        self._goes_back = False
        self._n_files, self._n_done = 0, 0

    def run(self) -> RepairReport:
        refuse_linked_folders(self.root)
        self._manifests()
        attributes = self._root_document()
        if attributes is None or not self.sound:
            if attributes is not None:
                path = self.root / "manifests" / manifest_name(max(self.broken))
                what = (
                    f"{self.broken[max(self.broken)][0]}: no version can be read; codes and ids can, by any Zarr reader"
                )
                self._lose("index", path, what)
            return self.report
        newest = self.sound[max(self.sound)]
        self.report.version = newest.version
        self._n_files = count_files(self.root, self.sound.values())
        self.restorer.groups()
        model = self._model(newest)
        for entry in newest.segments:
            damage = self.restorer.segment(entry, attributes, model)
            if damage.loses or damage.tables:
                self.damaged[entry.uuid] = damage
        self._older_versions(attributes, newest, model)
        gone = self._versions_to_forget(newest)
        for damage in self.damaged.values():
            self.report.losses += losses_of(self.mapper, damage, attributes.id_kind)
        self.report.losses += lost_versions(self.mapper, self.broken, self.sound, gone, attributes)
        self.report.dropped = self.drop and bool(self.report.losses) and not self._hopeless
        if not self._hopeless:
            self._commit(attributes, newest, gone)
        return self.report

    # ---- documents of the index

    def _manifests(self) -> None:
        """Read every manifest, newest first: each names the checksum of the one before."""
        for number in reversed(list_versions(self.root)):
            path = self.root / "manifests" / manifest_name(number)
            data = b""
            try:
                data = read_file(path, MAX_DOCUMENT_BYTES)
                self.sound[number] = decode(data, path)
            except FileNotFoundError:
                continue
            except CorruptIndexError as error:
                after = self.sound.get(number + 1)
                mended = mended_manifest(data, path, None if after is None else after.parent)
                if mended is None:
                    self.broken[number] = str(error), data
                elif self._put_manifest(path, mended):
                    self.sound[number] = decode(mended, path)

    def _put_manifest(self, path: Path, data: bytes) -> bool:
        """Put a manifest back; False where its version was pruned while it was mended."""
        how = "one byte was wrong; its checksum fits again"
        if self.dry_run:
            self.restorer.put(path, data, how)
            return True
        with locked(self.files, self.root, shared=True):
            if path.exists():
                self.restorer.put(path, data, how)
                return True
        return False

    def _root_document(self) -> Attributes | None:
        """Read the root's metadata, or put them back; manifests of another index are set aside."""
        path, data, problem = self.root / "zarr.json", b"", ""
        attributes = None
        try:
            data = read_file(path, MAX_DOCUMENT_BYTES)
            attributes = Attributes.parse(data, path)
        except FileNotFoundError:
            problem = f"{path} is missing"
        except CorruptIndexError as error:
            problem = str(error)
        except UnsupportedFormatError:
            if not folder.was_altered(self.root):
                raise
        if self.sound and (attributes is None or not any(_fits(one, attributes) for one in self.sound.values())):
            newest = self.sound[max(self.sound)]
            found, how = one_byte_off(data, newest.root), "one byte was wrong; its digest is the manifest's again"
            if found is None:
                found, how = (
                    first_that_fits(self._roots(newest), newest.root),
                    "made anew from the model and the manifest",
                )
            if found is not None:
                self.restorer.put(path, found, how)
                attributes = Attributes.parse(found, path)
            else:
                problem = problem or f"{path} is not the one that the manifests name"
                attributes = None
        if attributes is None:
            self._lose("index", path, f"{problem or f'{path} is not that of an index'}: no version opens without it")
            return None
        for number, manifest in list(self.sound.items()):
            if not _fits(manifest, attributes):
                name = self.root / "manifests" / manifest_name(number)
                self.broken[number] = f"{name} belongs to another index", b""
                del self.sound[number]
        return attributes

    def _roots(self, manifest: Manifest) -> list[bytes]:
        """Return the root documents that an index with this model may have."""
        if manifest.model is None:
            return []
        uuid = manifest.model.uuid
        path = self.root / "models" / uuid / "model.json"
        try:
            document = read_document(self.root, path, uuid, manifest.model.digest).get("document")
        except (FormatError, VersionGoneError):
            data = one_byte_off(_bytes_of(path), manifest.model.digest)
            document = None if data is None else parse_document(data, path).get("document")
        if not isinstance(document, dict):
            return []
        return [
            Attributes(manifest.index, kind, n_bits, n_stored_bits, settings).zarr_json()
            for n_bits, n_stored_bits, settings in self.knowledge.settings(document)
            for kind in ("int64", "string")
        ]

    def _model(self, manifest: Manifest) -> Model | None:
        if manifest.model is None:
            return None
        model, problems = self.restorer.model(manifest.model)
        for path, problem in problems.items():
            self._lose("index", path, f"{problem}: without its model an index does not open; its codes and ids are not "
                       "touched, and any Zarr reader has them (docs/format.md)")  # fmt: skip
        return model

    # ---- older versions

    def _older_versions(self, attributes: Attributes, newest: Manifest, model: Model | None) -> None:
        """Put back what only older versions need; a version that stays damaged counts as one that cannot be read."""
        wrong = dict.fromkeys(uuids_of(newest), "")
        for number in sorted(self.sound, reverse=True)[1:]:
            manifest = self.sound[number]
            for entry in manifest.segments:
                if entry.uuid not in wrong:
                    damage = self.restorer.segment(replace(entry, deletes=()), attributes, model)
                    wrong[entry.uuid] = damage.document or next(iter(damage.broken.values()), "")
                for lists in entry.deletes:
                    if lists.uuid not in wrong:
                        wrong[lists.uuid] = self.restorer.deletes(lists, entry.n)
            if manifest.model is not None and manifest.model.uuid not in wrong:
                wrong[manifest.model.uuid] = next(iter(self.restorer.model(manifest.model)[1].values()), "")
            problem = next((wrong[uuid] for uuid in uuids_of(manifest) if wrong[uuid]), "")
            if problem:
                self.broken[number] = f"{problem}; needed by version {number}", b""

    def _versions_to_forget(self, newest: Manifest) -> list[int]:
        """Return the versions up to the last that cannot be read or is missing: manifests go from the lowest up.

        The newest one goes too where it needs what is lost: the version without that takes its place.
        """
        numbers = list_versions(self.root)
        for number in sorted(set(range(numbers[0], numbers[-1])).difference(numbers)):
            name = self.root / "manifests" / manifest_name(number)
            self.broken.setdefault(number, (f"{name} is missing", b""))
        last = max(self.broken, default=0)
        if self._loses:
            last = max(last, newest.version)
        return [number for number in numbers if number <= last]

    # ---- the version without what is lost

    def _commit(self, attributes: Attributes, newest: Manifest, gone: list[int]) -> None:
        drop = self.drop and bool(self.report.losses)
        whole = max(self.broken, default=0) < newest.version and all(one.unit for one in self.damaged.values())
        if drop or whole:
            self.report.renewed += [
                (str(self.root / "segments" / uuid / KIND), damage.tables)
                for uuid, damage in self.damaged.items()
                if damage.tables and not damage.loses
            ]
        if self.dry_run:
            back = drop and max(self.broken, default=0) > newest.version
            self.report.committed = bool(self.report.renewed) or back or (drop and self._loses)
            self.report.version = list_versions(self.root)[-1] + self.report.committed
            return
        if drop or self.report.renewed:
            self._make_version(attributes, drop)
        if self._loses:  # those too that others have made meanwhile
            gone = [number for number in list_versions(self.root) if number < (self.report.version or 0)]
        if drop and gone:
            with locked(self.files, self.root):
                forget_versions(self.files, self.root, gone)

    def _make_version(self, attributes: Attributes, drop: bool) -> None:
        maker = self.knowledge.maker(attributes.settings)
        plan = SegmentPlan(attributes.n_stored_bits, attributes.id_kind, self.sizes, maker=maker)
        rewrites, renewals = Rewrites(plan), TableWork(self.files, maker)
        salvage = Salvage(self.damaged, rewrites, renewals, drop)

        def decide(work: Workspace, head: Snapshot) -> Change | None:
            change = salvage.decide(work, head)
            if change is None and self._goes_back:
                return Change(head.manifest.segments, head.next_id, head.manifest.model, head.n_rows)
            return change

        transaction = Transaction(
            *(self.files, self.mapper, f"repair {self.root}", decide),
            kept=(rewrites, renewals),
            is_newest=lambda head: list_versions(self.root)[-1:] == [head.version],
        )
        snapshot, change = transaction.run(lambda: self._head(attributes))
        self.report.version, self.report.committed = snapshot.version, change is not None
        if change is None:  # others have done it
            self.report.renewed.clear()

    def _head(self, attributes: Attributes) -> Snapshot:
        """Return the newest version that can be read, under the number of the newest that is there."""
        numbers = list_versions(self.root)
        for number in reversed(numbers):
            path = self.root / "manifests" / manifest_name(number)
            try:
                manifest: Manifest | None = decode(read_file(path, MAX_DOCUMENT_BYTES), path)
            except FileNotFoundError:
                continue
            except CorruptIndexError:
                manifest = None
            if manifest is not None and _fits(manifest, attributes):
                break
            if number not in self.broken:
                raise VersionGoneError(f"{path} was damaged while the repair was at work")
        else:
            raise VersionGoneError(f"{self.root} has no version that can be read any more")
        segments = []
        for entry in manifest.segments:
            damage = self.damaged.get(entry.uuid)
            if damage is not None and damage.unit is None:
                continue
            unit = open_segment(self.mapper, entry, attributes.id_kind, attributes.n_stored_bits)
            segments.append(Segment(unit, entry, attributes.id_kind))
        self._goes_back = number < numbers[-1]
        next_id = manifest.next_id
        if self._goes_back:  # no id is given twice, not those of lost rows either
            next_id = next_id_after(self.mapper, self.broken, {**self.sound, number: manifest}, attributes)
        manifest = replace(manifest, version=numbers[-1], next_id=next_id)
        return Snapshot(manifest, tuple(segments), attributes.id_kind, attributes.n_stored_bits)

    # ---- small things

    @property
    def _hopeless(self) -> bool:
        return any(loss.what == "index" for loss in self.report.losses)

    @property
    def _loses(self) -> bool:
        return any(damage.loses for damage in self.damaged.values())

    def _lose(self, what: str, path: Path, message: str) -> None:
        self.report.losses.append(Loss(what, str(path), message))

    def _step(self) -> None:
        self._n_done += 1
        if self.progress is not None:
            self.progress(min(self._n_done, self._n_files), self._n_files)


def _fits(manifest: Manifest, attributes: Attributes) -> bool:
    return manifest.index == attributes.uuid and manifest.root == attributes.digest


def _bytes_of(path: Path) -> bytes:
    try:
        return read_file(path, MAX_DOCUMENT_BYTES)
    except (FileNotFoundError, CorruptIndexError):
        return b""
