"""The files of one or many versions, each looked at once; what is wrong says which old versions need it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from hashdb.errors import CorruptIndexError, FormatError, HashDBError, OutOfMemoryError, StorageError, VersionGoneError
from hashdb.storage.checking import (
    REFUSALS,
    check_delete_metadata,
    check_disjoint,
    check_group,
    check_rows,
    compare,
    looking,
    same,
    zarr_array,
)
from hashdb.storage.folder import GROUPS, Attributes
from hashdb.storage.manifest import DeleteEntry, Manifest, ModelEntry, SegmentEntry, manifest_name
from hashdb.storage.mapping import Mapper
from hashdb.storage.reading import (
    SegmentUnit,
    Unit,
    delete_files,
    open_model,
    open_segment,
    read_deletes,
    read_document,
)
from hashdb.storage.tables import KIND, REMEDY, is_ours, open_table, table_entries

Progress = Callable[[int, int], None]
# uuid of the segment, model or delete list that is looked at, path, and what looks at it.
Step = tuple[str, Path, Callable[[], None]]


def uuids_of(manifest: Manifest) -> Iterator[str]:
    """Give the segments, delete lists and model that a version needs."""
    for entry in manifest.segments:
        yield entry.uuid
        yield from (lists.uuid for lists in entry.deletes)
    if manifest.model is not None:
        yield manifest.model.uuid


class Visit:
    """Looks at every file that versions need.

    Parameters
    ----------
    mapper : Mapper
        Opens the files.
    attributes : Attributes, optional
        The root document; None where it is damaged.
    chosen : Manifest, optional
        The version asked for, of which bucket tables are looked at too.
    others : sequence of Manifest
        Other versions: what is wrong with files that only they need says so.
    deep : bool
        Read every byte.
    """

    def __init__(
        self, mapper: Mapper, attributes: Attributes | None = None, chosen: Manifest | None = None,
        others: Sequence[Manifest] = (), *, deep: bool = False,
    ) -> None:  # fmt: skip
        self.mapper, self.root = mapper, mapper.root
        self.attributes, self.chosen, self.deep = attributes, chosen, deep
        self._looked = [*([] if chosen is None else [chosen]), *others]
        self.problems: list[tuple[str, str]] = []
        self.n_files = self.n_bytes = 0
        self._seen: set[str] = set()
        self._own = set() if chosen is None else set(uuids_of(chosen))
        self._needed: dict[str, list[int]] = {}
        for manifest in others:
            for uuid in uuids_of(manifest):
                self._needed.setdefault(uuid, []).append(manifest.version)

    def run(self, progress: Progress | None) -> None:
        """Look at everything, and keep what is wrong in `problems`."""
        with looking("read the index"):
            steps = list(self._steps())
        for done, (uuid, path, step) in enumerate(steps):
            try:
                with looking("read the index"):
                    step()
            except (FormatError, VersionGoneError, StorageError) as error:
                self._note(error, path, uuid)
            if progress is not None:
                progress(done + 1, len(steps))

    def _note(self, error: HashDBError, path: Path, uuid: str) -> None:
        """Add a problem, unless the version that needs the file was pruned; raise what is no fault of a file."""
        if _is_refusal(error):
            raise error
        needing = [] if uuid in self._own else self._needed.get(uuid, [])
        if needing and not any(os.path.exists(self.root / "manifests" / manifest_name(each)) for each in needing):
            return
        at = error.path if isinstance(error, FormatError) and error.path is not None else path
        self.problems.append((str(at), f"{error}{_needed_by(needing)}"))

    # ---- what is looked at

    def _steps(self) -> Iterator[Step]:
        for name in GROUPS if self._looked else ():
            yield "", self.root / name / "zarr.json", partial(self._group, self.root / name / "zarr.json")
        for manifest in self._looked:
            for entry in manifest.segments:
                if self._is_new(entry.uuid):
                    yield from self._segment(entry, tables=manifest is self.chosen)
                for lists in entry.deletes:
                    if self._is_new(lists.uuid):
                        where = self.root / "deletes" / lists.uuid
                        yield lists.uuid, where, partial(self._deletes, lists, entry.n)
                if self.deep and manifest is self.chosen:
                    yield entry.uuid, self.root / "deletes", partial(check_disjoint, self.mapper, entry)
            if manifest.model is not None and self._is_new(manifest.model.uuid):
                yield from self._model(manifest.model)

    def _is_new(self, uuid: str) -> bool:
        new = uuid not in self._seen
        self._seen.add(uuid)
        return new

    def _segment(self, entry: SegmentEntry, *, tables: bool) -> Iterator[Step]:
        where = self.root / "segments" / entry.uuid
        try:
            unit = self._open_segment(entry, where / "segment.json")
        except HashDBError as error:
            self._note(error, where, entry.uuid)
            return
        yield from self._unit(unit)
        if self.deep:
            yield entry.uuid, where, partial(check_rows, unit)
        if tables and any(map(is_ours, entry.tables)):
            yield from self._tables(unit, entry)
        yield entry.uuid, where, unit.release

    def _open_segment(self, entry: SegmentEntry, path: Path) -> SegmentUnit:
        if self.attributes is not None:
            return open_segment(self.mapper, entry, self.attributes.id_kind, self.attributes.n_stored_bits)
        # The root document is damaged, and this one is as the manifest says.
        document = read_document(self.root, path, entry.uuid, entry.digest)
        arrays, n_bits = document.get("arrays"), document.get("n_bits")
        id_kind = "string" if isinstance(arrays, dict) and "id_bytes" in arrays else "int64"
        return open_segment(self.mapper, entry, id_kind, n_bits if isinstance(n_bits, int) else 0)

    def _model(self, entry: ModelEntry) -> Iterator[Step]:
        where = self.root / "models" / entry.uuid
        try:
            unit = open_model(self.mapper, entry)[1]
        except HashDBError as error:
            self._note(error, where, entry.uuid)
            return
        yield from self._unit(unit)
        yield entry.uuid, where, unit.release

    def _unit(self, unit: Unit) -> Iterator[Step]:
        for name in unit.files:
            # Metadata are small and always read; data only when asked.
            read = self.deep or name.endswith("zarr.json")
            yield unit.uuid, unit.folder / name, partial(self._file, unit, name, read)
        if self.deep:
            for name in unit.arrays:
                yield unit.uuid, unit.folder / name, partial(compare, unit, name)

    def _tables(self, unit: SegmentUnit, entry: SegmentEntry) -> Iterator[Step]:
        """Give the steps for the bucket tables of a segment, whose errors say that nothing is lost."""
        where = unit.folder / KIND
        steps: list[Step] = [(unit.uuid, where / "zarr.json", partial(self._group, where / "zarr.json"))]
        try:
            for named in table_entries(entry.tables, where):
                try:
                    table = open_table(unit, named).unit
                except (FormatError, VersionGoneError, StorageError) as error:
                    self._note(_derived(error), where / named.name, unit.uuid)
                else:
                    steps += [*self._unit(table), (unit.uuid, table.folder, table.release)]
        except CorruptIndexError as error:
            self._note(_derived(error), where, unit.uuid)
        for uuid, path, step in steps:
            yield uuid, path, partial(_check_derived, step)

    # ---- the steps

    def _group(self, path: Path) -> None:
        self.n_bytes += check_group(path)
        self.n_files += 1

    def _file(self, unit: Unit, name: str, read: bool) -> None:
        unit.check_size(name)
        self.n_files += 1
        self.n_bytes += unit.files[name].size
        if read:
            unit.check_file(name)

    def _deletes(self, entry: DeleteEntry, n: int) -> None:
        rows = read_deletes(self.mapper, entry, n)
        check_delete_metadata(self.mapper, entry)
        self.n_files += 3
        self.n_bytes += rows.nbytes
        if self.deep:
            where = self.root / "deletes" / entry.uuid / "rows"
            same(where, zarr_array(where, delete_files(entry)[0]), [rows], entry.n)


def _is_refusal(error: HashDBError) -> bool:
    return isinstance(error, OutOfMemoryError) or (isinstance(error, StorageError) and error.errno in REFUSALS)


def _needed_by(versions: list[int]) -> str:
    """Say which versions need a file, none for those asked for."""
    if not versions:
        return ""
    first, last = min(versions), max(versions)
    shown = f"version {first}" if first == last else f"versions {first} to {last}"
    return f"; needed by {shown}"


def _check_derived(step: Callable[[], None]) -> None:
    try:
        step()
    except (FormatError, VersionGoneError) as error:
        raise _derived(error) from error


def _derived(error: HashDBError) -> HashDBError:
    if _is_refusal(error):
        return error
    return CorruptIndexError(f"{error}; {REMEDY}", error.path if isinstance(error, FormatError) else None)
