"""Reading published folders: the arrays of a segment or a model, found by the document that describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from hashdb.errors import ArgumentError, CorruptIndexError, UnsupportedFormatError
from hashdb.storage.commit import crc32c
from hashdb.storage.documents import (
    FORMAT,
    MAX_DOCUMENT_BYTES,
    Fields,
    canonical,
    digest,
    group_json,
    is_array_path,
    parse_document,
)
from hashdb.storage.ids import IdColumn, IntColumn, RangeColumn, StringColumn
from hashdb.storage.layout import ArraySpec, FileEntry
from hashdb.storage.manifest import DeleteEntry, ModelEntry, SegmentEntry
from hashdb.storage.mapping import Mapper, check_size, missing, read_file, refuse_links


class Unit:
    """A published folder with its document: arrays by name, files with size and checksum.

    Parameters
    ----------
    mapper : Mapper
        Opens the files.
    folder : Path
        ``segments/<uuid>`` or ``models/<uuid>``, or that of a bucket table inside a segment.
    document : dict
        The parsed ``segment.json``, ``model.json`` or ``table.json``.
    path : Path
        Where it was read from.
    owner : str, optional
        uuid that the document must have: the folder's name by default.

    Raises
    ------
    CorruptIndexError
        Where the document is not consistent in itself.
    """

    def __init__(
        self, mapper: Mapper, folder: Path, document: dict[str, Any], path: Path, owner: str | None = None
    ) -> None:
        self.mapper = mapper
        self.folder = folder
        self.path = path
        fields = Fields(document, path)
        fields.integer("format", FORMAT, FORMAT)
        self.uuid = fields.uuid()
        if self.uuid != (owner or folder.name):
            raise fields.wrong("uuid", f"that of the folder, {owner or folder.name}")
        arrays = fields.table("arrays")
        for name in arrays:
            if not is_array_path(name):
                raise CorruptIndexError(f"{path}: {name[:80]!r} is no name of an array", path)
        self.arrays = {name: ArraySpec.from_json(spec, path, name) for name, spec in arrays.items()}
        self.files = self._files(fields)
        refuse_links(mapper.root, folder, self.files)
        self._kept: dict[str, np.ndarray] = {}
        self._blocks: dict[str, list[np.ndarray]] = {}  # of arrays whose files are all kept

    def _files(self, fields: Fields) -> dict[str, FileEntry]:
        table = fields.table("files")
        expected: dict[str, int | None] = {"zarr.json": None}
        for name, spec in self.arrays.items():
            if spec.n_chunks > len(table):  # before they are written out
                raise CorruptIndexError(
                    f"{self.path}: array {name} has {spec.n_chunks:,} chunks, not all listed", self.path
                )
            expected.update(spec.file_entries(name))
            for depth in range(1, name.count("/") + 1):
                expected["/".join(name.split("/")[:depth]) + "/zarr.json"] = None
        if set(table) != set(expected):
            odd = sorted(set(table) ^ set(expected))[0]
            raise CorruptIndexError(f"{self.path}: file {odd[:80]!r} is missing or unexpected", self.path)
        entries = {}
        for name, entry in table.items():
            part = Fields(entry, self.path, f"files.{name}.")
            part.only("size", "crc32c")
            size = expected[name]
            low, high = (size, size) if size is not None else (1, MAX_DOCUMENT_BYTES)
            entries[name] = FileEntry(part.integer("size", low, high), part.crc())
        return entries

    def check_presence(self) -> None:
        """Look that every file exists with its size, and compare the checksums of metadata; data are not read.

        Raises
        ------
        CorruptIndexError
            Naming the file that is missing, has another size, or is not the one that was written.
        """
        for name in self.files:
            if name.endswith("zarr.json"):
                self.check_metadata(name)
            else:
                self.check_size(name)

    def check_metadata(self, name: str) -> None:
        """Compare the checksum of a ``zarr.json``, which the process keeps nothing of."""
        check_content(self.folder / name, self.files[name], self.uuid, self.mapper.root)

    def metadata(self, name: str) -> bytes:
        """Return what a ``zarr.json`` must hold."""
        spec = self.arrays.get(name.removesuffix("/zarr.json"))
        return group_json() if spec is None else spec.zarr_json()

    def check_size(self, name: str) -> None:
        """Look that one file exists with its size; as :meth:`check_presence`."""
        path = self.folder / name
        try:
            check_size(path, path.lstat(), self.files[name].size)
        except (FileNotFoundError, NotADirectoryError):
            raise missing(path, self.uuid, self.mapper.root) from None

    def check_file(self, name: str) -> None:
        """Read a file and compare its checksum.

        Raises
        ------
        CorruptIndexError
            Where it differs.
        """
        entry = self.files[name]
        path = self.folder / name
        if crc32c(self._open(name)) != entry.crc:
            raise CorruptIndexError(f"{path} does not match its checksum: its data are damaged", path)

    def blocks(self, name: str) -> list[np.ndarray]:
        """Return the rows of an array as one read-only block for each chunk, without padding."""
        known = self._blocks.get(name)
        if known is not None:
            return list(known)
        result = [self.block(name, number) for number in range(len(self.arrays[name].chunks()))]
        if self.mapper.keeps_all:
            self._blocks[name] = list(result)
        return result

    def block(self, name: str, number: int) -> np.ndarray:
        """Return the rows of one chunk, whatever has become of the others."""
        spec = self.arrays[name]
        chunk, n_rows = spec.chunks()[number]
        data = self._open(f"{name}/{chunk}").view(np.dtype(spec.dtype).newbyteorder("<"))
        return data.reshape(spec.chunk_shape)[:n_rows] if spec.shape else data.reshape(())

    def whole(self, name: str) -> np.ndarray:
        """Return an array that is one chunk, read-only."""
        spec = self.arrays[name]
        blocks = self.blocks(name)
        if len(blocks) > 1:
            raise CorruptIndexError(f"{self.path}: array {name} should be one chunk", self.path)
        return blocks[0] if blocks else np.empty(spec.shape, spec.dtype)

    def release(self) -> None:
        """Let go of every file; one that is needed again is opened again."""
        self._blocks.clear()
        self._kept.clear()

    def _open(self, name: str) -> np.ndarray:
        data = self._kept.get(name)
        if data is None:
            data, keep = self.mapper.open(self.folder / name, self.files[name].size, self.uuid)
            if keep:
                self._kept[name] = data
        return data


def check_content(path: Path, entry: FileEntry, uuid: str, root: Path) -> None:
    """Read a small file and compare its size and checksum.

    Raises
    ------
    CorruptIndexError, VersionGoneError
        It is missing, altered, or pruned.
    """
    try:
        data = read_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        raise missing(path, uuid, root) from None
    if len(data) != entry.size:
        raise CorruptIndexError(f"{path} has {len(data)} bytes, it was written with {entry.size}", path)
    if crc32c(data) != entry.crc:
        raise CorruptIndexError(f"{path} does not match its checksum: it was altered or damaged", path)


class SegmentUnit(Unit):
    """The folder of a segment.

    Attributes
    ----------
    n : int
        Rows.
    shared : WeakValueDictionary
        What the snapshots that have the segment share as long as one of them is there: its bucket tables.
    """

    def __init__(self, mapper: Mapper, folder: Path, document: dict[str, Any], path: Path, id_kind: str) -> None:
        super().__init__(mapper, folder, document, path)
        self.shared: WeakValueDictionary[bytes, Any] = WeakValueDictionary()
        fields = Fields(document, path)
        fields.only("format", "uuid", "n", "n_bits", "arrays", "files")
        self.n = fields.integer("n", 1, 1 << 32)
        self.n_bits = fields.integer("n_bits", 1, 4096)
        self._expect("codes", "uint64", (self.n, (self.n_bits + 63) // 64))
        self.stores_ids = id_kind == "string" or "ids" in self.arrays
        names = {"codes"}
        if id_kind == "string":
            names |= {"id_bytes", "id_offsets"}
            self._expect("id_offsets", "int64", (self.n + 1,))
            self._expect("id_bytes", "uint8", None)
        elif self.stores_ids:
            names.add("ids")
            self._expect("ids", "int64", (self.n,))
        if "vectors" in self.arrays:
            names.add("vectors")
            spec = self.arrays["vectors"]
            if len(spec.shape) != 2 or spec.shape[0] != self.n or spec.dtype not in ("float32", "float16", "int8"):
                raise CorruptIndexError(f"{path}: array vectors is not (n, dim) of float32, float16 or int8", path)
        if set(self.arrays) != names:
            raise CorruptIndexError(f"{path}: arrays are {sorted(self.arrays)}, expected {sorted(names)}", path)

    @property
    def vectors(self) -> tuple[str, int] | None:
        """Dtype and dimension of the stored vectors, None where there are none."""
        spec = self.arrays.get("vectors")
        return None if spec is None else (spec.dtype, spec.shape[1])

    def column(self, first_id: int | None) -> IdColumn:
        """Return the ids; `first_id` is the manifest's.

        Raises
        ------
        CorruptIndexError
            The offsets of string ids do not begin or end where they should.
        """
        if "id_bytes" in self.arrays:
            return StringColumn(
                self.whole("id_bytes"), self.whole("id_offsets"), self.folder / "id_offsets" / "c" / "0"
            )
        if "ids" in self.arrays:
            return IntColumn(self.whole("ids"))
        return RangeColumn(first_id or 0, self.n)

    def gather(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return some rows of an array, in the order asked for.

        Raises
        ------
        ArgumentError
            A row that the segment does not have.
        """
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.n:
            raise ArgumentError(f"rows go from {rows.min()} to {rows.max()}, the segment has {self.n}")
        spec = self.arrays[name]
        blocks = self.blocks(name)
        if len(blocks) == 1:
            return np.asarray(blocks[0][rows])
        result = np.empty((len(rows), *spec.shape[1:]), spec.dtype)
        chunks = rows // spec.chunk_rows
        for chunk in np.unique(chunks):
            mine = chunks == chunk
            result[mine] = blocks[chunk][rows[mine] - chunk * spec.chunk_rows]
        return result

    def _expect(self, name: str, dtype: str, shape: tuple[int, ...] | None) -> None:
        spec = self.arrays.get(name)
        if spec is None or spec.dtype != dtype or len(spec.shape) != len(shape or (0,)):
            raise CorruptIndexError(f"{self.path}: array {name} is missing or not {dtype}", self.path)
        if shape is not None and spec.shape != shape:
            raise CorruptIndexError(f"{self.path}: array {name} has shape {spec.shape}, expected {shape}", self.path)
        if name != "codes" and spec.shape[0] > spec.chunk_rows:
            raise CorruptIndexError(f"{self.path}: array {name} should be one chunk", self.path)


def read_document(root: Path, path: Path, uuid: str, expected: str) -> dict[str, Any]:
    """Read ``segment.json``, ``model.json`` or ``table.json`` and compare its digest.

    Parameters
    ----------
    root : Path
        Folder of the index.
    path : Path
        The document.
    uuid : str
        uuid of the segment or model that it belongs to.
    expected : str
        Digest from the manifest.

    Raises
    ------
    CorruptIndexError, VersionGoneError
        It is missing, altered, or pruned.
    """
    refuse_links(root, path.parent)
    try:
        data = read_file(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        raise missing(path, uuid, root) from None
    if digest(data) != expected:
        raise CorruptIndexError(f"{path} is not the one that the manifest names: it was altered or replaced", path)
    document = parse_document(data, path)
    if type(document.get("format")) is int and document["format"] > FORMAT:
        raise UnsupportedFormatError(f"{path} has format {document['format']}, this hashdb reads up to {FORMAT}", path)
    if canonical(document) != data:
        raise CorruptIndexError(f"{path} is not canonical JSON", path)
    return document


def open_segment(mapper: Mapper, entry: SegmentEntry, id_kind: str, n_bits: int) -> SegmentUnit:
    """Read the document of a segment and check it against its entry in the manifest."""
    path = mapper.root / "segments" / entry.uuid / "segment.json"
    document = read_document(mapper.root, path, entry.uuid, entry.digest)
    unit = SegmentUnit(mapper, path.parent, document, path, id_kind)
    if unit.n != entry.n or unit.n_bits != n_bits:
        raise CorruptIndexError(
            f"{path} has {unit.n} codes of {unit.n_bits} bits, expected {entry.n} of {n_bits}", path
        )
    if (entry.first_id is None) != unit.stores_ids:
        raise CorruptIndexError(f"{path}: ids are stored and a range at once, or neither", path)
    return unit


def open_model(mapper: Mapper, entry: ModelEntry) -> tuple[dict[str, Any], Unit]:
    """Read the document of a model; return what the caller had stored, and the folder."""
    path = mapper.root / "models" / entry.uuid / "model.json"
    document = read_document(mapper.root, path, entry.uuid, entry.digest)
    fields = Fields(document, path)
    fields.only("format", "uuid", "document", "arrays", "files")
    return fields.table("document"), Unit(mapper, path.parent, document, path)


def delete_files(entry: DeleteEntry) -> tuple[ArraySpec, dict[str, int]]:
    """Return the array of a delete list, and path and size of its files inside ``deletes/<uuid>``."""
    spec = ArraySpec((entry.n,), "uint32", entry.n)
    return spec, spec.file_entries("rows")


def read_deletes(mapper: Mapper, entry: DeleteEntry, n: int) -> np.ndarray:
    """Return one delete list of a segment with `n` rows.

    Returns
    -------
    ndarray of uint32
        Rows, strictly ascending and below `n`.

    Raises
    ------
    CorruptIndexError
        It is missing or damaged: a deleted row must never come back unnoticed.
    """
    path = mapper.root / "deletes" / entry.uuid / "rows" / "c" / "0"
    refuse_links(mapper.root, path.parent)
    data, _ = mapper.open(path, 4 * entry.n, entry.uuid)
    if crc32c(data) != entry.crc:
        raise CorruptIndexError(f"{path} does not match its checksum: its data are damaged", path)
    rows = data.view("<u4")
    if int(rows[-1]) >= n or bool((rows[:-1] >= rows[1:]).any()):
        raise CorruptIndexError(f"{path} holds rows that are out of order or out of range", path)
    return rows
