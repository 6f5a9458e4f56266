"""Putting files back whose content follows from others, and listing what cannot be put back.

A file is written only when what is to be written is proven: it is fixed by the format, or fits a digest, or was derived
from sound data and fits the checksum that the file had. Anything else is damage, which is for ``salvage`` to judge.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hashdb.errors import CorruptIndexError, FormatError, HashDBError, StorageError, VersionGoneError
from hashdb.storage.checking import check_group, delete_metadata
from hashdb.storage.commit import Files, put_back
from hashdb.storage.documents import MAX_DOCUMENT_BYTES, group_json, parse_document
from hashdb.storage.folder import GROUPS, Attributes
from hashdb.storage.layout import FileEntry
from hashdb.storage.manifest import DeleteEntry, Manifest, ModelEntry, SegmentEntry
from hashdb.storage.mapping import Mapper, read_file, refuse_links
from hashdb.storage.mending import one_byte_off, rebuilt_segment
from hashdb.storage.reading import SegmentUnit, Unit, check_content, open_model, open_segment, read_deletes
from hashdb.storage.tables import KIND, TableMaker, is_ours, open_table, table_entries

Model = tuple[dict[str, Any], dict[str, np.ndarray]]
Described = Sequence[tuple[dict[str, Any], dict[str, np.ndarray]]]


class Knowledge(Protocol):
    """What the layers above know of an index that was damaged."""

    def settings(self, document: dict[str, Any]) -> Iterable[tuple[int, int, dict[str, Any]]]:
        """Give the (n_bits, n_stored_bits, settings) that an index with a model may have."""

    def maker(self, settings: dict[str, Any]) -> TableMaker:
        """Return what makes the bucket tables of an index."""

    def codes_in(self, tables: Described, n: int, n_words: int) -> np.ndarray | None:
        """Return the codes of a segment by its bucket tables, uint64 (n, n_words); None where they do not hold them."""

    def encode(self, model: Model, vectors: np.ndarray, modality: str | None) -> np.ndarray:
        """Return the codes of stored float32 vectors, uint64 (m, n_words)."""


@dataclass
class Damage:
    """What is wrong with a segment and could not be put right.

    Attributes
    ----------
    entry : SegmentEntry
        The segment as the version has it.
    unit : SegmentUnit or None
        Its folder; None where its document is lost.
    document : str
        What is wrong with the document.
    broken : dict
        Path inside the folder, and what is wrong, of every file that is damaged.
    deletes : dict
        uuid of a delete list, and what is wrong with it.
    tables : str
        What is wrong with the bucket tables, which are derived data.
    """

    entry: SegmentEntry
    unit: SegmentUnit | None = None
    document: str = ""
    broken: dict[str, str] = field(default_factory=dict)
    deletes: dict[str, str] = field(default_factory=dict)
    tables: str = ""

    @property
    def loses(self) -> bool:
        """Whether something is lost."""
        return bool(self.document or self.broken or self.deletes)

    def broken_chunks(self, name: str) -> list[int]:
        """Return the numbers of the damaged chunks of an array of rows."""
        if self.unit is None:
            return []
        chunks = [f"{name}/{chunk}" for chunk, _ in self.unit.arrays[name].chunks()] if name in self.unit.arrays else []
        return [number for number, file in enumerate(chunks) if file in self.broken]


@dataclass
class Restorer:
    """Puts files back, and says which and how.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    mapper : Mapper
        Opens the files; reads instead of mapping, for a damaged disk ends a process that maps.
    knowledge : Knowledge
        What the layers above know.
    dry_run : bool
        Write nothing.
    step : callable
        Called before each file is looked at.
    """

    files: Files
    mapper: Mapper
    knowledge: Knowledge
    dry_run: bool
    step: Callable[[], None]
    restored: list[tuple[str, str]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """Folder of the index."""
        return self.mapper.root

    def put(self, path: Path, data: bytes | np.ndarray, how: str) -> None:
        """Write a file whose content is proven, inside of the index and in nobody's way."""
        refuse_links(self.root, path.parent)
        _refuse_others(self.root, path)
        if not self.dry_run:
            put_back(self.files, self.root, path, np.frombuffer(data, np.uint8).data)
        self.restored.append((str(path), how))

    def groups(self) -> None:
        """Put the metadata of the folders of the index back."""
        for name in GROUPS:
            self._fixed(self.root / name / "zarr.json", group_json(), check_group)

    def model(self, entry: ModelEntry) -> tuple[Model | None, dict[Path, str]]:
        """Put the files of the model back; return it where it is whole, else what is wrong with which file."""
        folder = self.root / "models" / entry.uuid
        path = folder / "model.json"
        try:
            document, unit = open_model(self.mapper, entry)
        except CorruptIndexError as error:
            data = one_byte_off(_read(path), entry.digest)
            if data is None:
                return None, {path: str(error)}
            self.put(path, data, "one byte was wrong; its digest is the manifest's again")
            parsed = parse_document(data, path)
            document, unit = parsed["document"], Unit(self.mapper, folder, parsed, path)
        broken = self._unit(unit)
        if broken:
            return None, {folder / name: problem for name, problem in broken.items()}
        return (document, {name: unit.whole(name) for name in unit.arrays}), {}

    def segment(self, entry: SegmentEntry, attributes: Attributes, model: Model | None) -> Damage:
        """Put the files of a segment back, with its delete lists; return what cannot be."""
        damage = Damage(entry)
        try:
            damage.unit = self._segment_unit(entry, attributes)
        except CorruptIndexError as error:
            damage.document = str(error)
        if damage.unit is not None:
            damage.broken = self._unit(damage.unit)
            damage.tables = self._tables(damage.unit, entry)
            if damage.broken_chunks("codes"):
                self._codes(damage, model)
        for lists in entry.deletes:
            problem = self.deletes(lists, entry.n)
            if problem:
                damage.deletes[lists.uuid] = problem
        return damage

    def deletes(self, lists: DeleteEntry, n: int) -> str:
        """Put the metadata of a delete list of a segment with `n` rows back; return what is wrong with its rows."""
        self.step()
        where = self.root / "deletes" / lists.uuid
        for path, content in delete_metadata(where, lists):
            self._fixed(
                path, content, partial(check_content, entry=FileEntry.of(content), uuid=lists.uuid, root=self.root)
            )
        return _problem(partial(read_deletes, self.mapper, lists, n))

    def _segment_unit(self, entry: SegmentEntry, attributes: Attributes) -> SegmentUnit:
        n_bits, id_kind = attributes.n_stored_bits, attributes.id_kind
        path = self.root / "segments" / entry.uuid / "segment.json"
        try:
            return open_segment(self.mapper, entry, id_kind, n_bits)
        except CorruptIndexError:
            data = rebuilt_segment(path.parent, entry, n_bits, id_kind)
            how = "made anew from the arrays; its digest is the manifest's"
            if data is None:
                data, how = one_byte_off(_read(path), entry.digest), "one byte was wrong; its digest is the manifest's"
            if data is None:
                raise
            self.put(path, data, how)
            return SegmentUnit(self.mapper, path.parent, parse_document(data, path), path, id_kind)

    def _unit(self, unit: Unit) -> dict[str, str]:
        """Check every file of a folder; put metadata back, and return what is wrong with the rest."""
        broken = {}
        for name in unit.files:
            self.step()
            problem = _problem(partial(_check, unit, name))
            if problem and name.endswith("zarr.json") and FileEntry.of(unit.metadata(name)) == unit.files[name]:
                self.put(unit.folder / name, unit.metadata(name), _FIXED)
            elif problem:
                broken[name] = problem
        return broken

    def _tables(self, unit: SegmentUnit, entry: SegmentEntry) -> str:
        """Return what is wrong with the bucket tables of a segment; put the metadata of their folder back."""
        if not any(map(is_ours, entry.tables)):
            return ""
        self._fixed(unit.folder / KIND / "zarr.json", group_json(), check_group)
        return _problem(partial(self._sound_tables, unit, entry))

    def _sound_tables(self, unit: SegmentUnit, entry: SegmentEntry) -> list[tuple[dict[str, Any], Unit]]:
        tables = [open_table(unit, named) for named in table_entries(entry.tables, unit.folder / KIND)]
        for table in tables:
            for name in table.unit.files:
                self.step()
                _check(table.unit, name)
        return [(table.description, table.unit) for table in tables]

    def _codes(self, damage: Damage, model: Model | None) -> None:
        """Derive damaged codes from the bucket tables, or from the vectors; what fits the checksum is put back."""
        unit = damage.unit
        if unit is None:
            return
        spec = unit.arrays["codes"]
        held = None if damage.tables else self._codes_of_tables(unit, damage.entry)
        for number in damage.broken_chunks("codes"):
            rows = slice(number * spec.chunk_rows, min((number + 1) * spec.chunk_rows, unit.n))
            name = f"codes/{spec.chunks()[number][0]}"
            for how, codes in (
                ("taken from the bucket tables", None if held is None else held[rows]),
                ("encoded again from the stored vectors", self._encoded(damage, rows, model)),
            ):
                if codes is None or codes.shape != (rows.stop - rows.start, *spec.shape[1:]):
                    continue
                whole = np.zeros(spec.chunk_shape, "<u8")
                whole[: len(codes)] = codes
                if FileEntry.of(whole.tobytes()) == unit.files[name]:
                    self.put(unit.folder / name, whole.reshape(-1), f"{how}; it fits its checksum")
                    del damage.broken[name]
                    break

    def _codes_of_tables(self, unit: SegmentUnit, entry: SegmentEntry) -> np.ndarray | None:
        if not any(map(is_ours, entry.tables)):
            return None
        tables = self._sound_tables(unit, entry)
        arrays = [(described, {name: table.whole(name) for name in table.arrays}) for described, table in tables]
        return self.knowledge.codes_in(arrays, unit.n, unit.arrays["codes"].shape[1])

    def _encoded(self, damage: Damage, rows: slice, model: Model | None) -> np.ndarray | None:
        unit = damage.unit
        if model is None or unit is None or damage.entry.database_codes != "predicted":
            return None
        if unit.vectors is None or unit.vectors[0] != "float32":
            return None
        spec = unit.arrays["vectors"]
        first, last = rows.start // spec.chunk_rows, (rows.stop - 1) // spec.chunk_rows
        if set(range(first, last + 1)) & set(damage.broken_chunks("vectors")):
            return None
        vectors = np.concatenate([unit.block("vectors", number) for number in range(first, last + 1)])
        start = first * spec.chunk_rows
        unit.release()
        try:
            return self.knowledge.encode(model, vectors[rows.start - start : rows.stop - start], damage.entry.modality)
        except HashDBError:  # the plugin is not installed, or another version: then the codes are lost
            return None

    def _fixed(self, path: Path, content: bytes, check: Callable[[Path], object]) -> None:
        """Put a file back whose content the format fixes."""
        self.step()
        if _problem(partial(check, path)) and _read(path) != content:
            self.put(path, content, _FIXED)


_FIXED = "the format fixes what it holds"


def refuse_linked_folders(root: Path) -> None:
    """Look that no folder of an index is a symbolic link: what is behind it is not ours to write to, or to give up.

    Raises
    ------
    CorruptIndexError
        Naming the link.
    """
    for top in (root / name for name in GROUPS):
        links = [top] if top.is_symlink() else _links_below(top)
        for path in links:
            raise CorruptIndexError(
                f"{path} is a symbolic link, which an index never holds; nothing was changed: "
                "put the folder itself there, or remove the link, and repair again",
                path,
            )


def _links_below(top: Path) -> Iterator[Path]:
    for folder, names, _ in os.walk(top):
        # A link in the place of a document is replaced by that.
        paths = [Path(folder, name) for name in sorted(names)]
        yield from (path for path in paths if path.is_symlink() and path.suffix != ".json")


def _refuse_others(root: Path, path: Path) -> None:
    """Raise StorageError where something stands in the way of a file that is not ours to remove."""
    for folder in path.parents:
        if folder.is_relative_to(root) and folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder} is not a folder; one belongs there: move it elsewhere and repair again")
    if path.is_dir() and not path.is_symlink() and any(path.iterdir()):
        raise StorageError(
            f"{path} is a folder that is not empty; a file belongs there: move it elsewhere and repair again"
        )


def count_files(root: Path, manifests: Iterable[Manifest]) -> int:
    """Count the files of versions as they are there."""
    places = set()
    for manifest in manifests:
        places |= {root / "segments" / entry.uuid for entry in manifest.segments}
        places |= {root / "deletes" / lists.uuid for entry in manifest.segments for lists in entry.deletes}
        places |= set() if manifest.model is None else {root / "models" / manifest.model.uuid}
    return max(1, len(GROUPS) + sum(sum(file.is_file() for file in place.rglob("*")) for place in places))


def _check(unit: Unit, name: str) -> None:
    try:
        unit.check_size(name)
        unit.check_file(name)
    finally:
        unit.release()  # not more than one file in memory


def _problem(check: Callable[[], object]) -> str:
    """Return what is wrong, or nothing; a sector that cannot be read is damage, anything else the system's refusal."""
    try:
        check()
    except VersionGoneError:
        raise
    except StorageError as error:
        if error.errno != errno.EIO:
            raise
        return str(error)
    except FormatError as error:
        return str(error)
    return ""


def _read(path: Path) -> bytes:
    """Return what a damaged document holds, nothing where it is no readable file."""
    try:
        return read_file(path, MAX_DOCUMENT_BYTES)
    except (FileNotFoundError, CorruptIndexError, StorageError):
        return b""
