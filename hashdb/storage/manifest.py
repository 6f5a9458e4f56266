"""Manifests: what one version of an index consists of. Pure data, strictly checked when read.

A manifest is canonical JSON with a checksum of itself, the digest of every ``segment.json``, of ``model.json`` and of
the root ``zarr.json``: from its bytes on, nothing can be swapped without notice.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hashdb.errors import CorruptIndexError, UnsupportedFormatError
from hashdb.storage.documents import FORMAT, MAX_DOCUMENT_BYTES, Fields, canonical, digest, parse_document
from hashdb.storage.ids import INT64_MAX, INT64_MIN
from hashdb.storage.layout import MAX_ROWS
from hashdb.storage.mapping import read_file

POLICIES = ("predicted", "learned")
MAX_DELETE_LISTS = 8
MAX_SEGMENTS = 1 << 17
MAX_MODALITY = 256

_NAME = re.compile(r"([0-9]{12})\.json")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


@dataclass(frozen=True)
class DeleteEntry:
    """One list of deleted rows: folder ``deletes/<uuid>``, number of rows, CRC-32C of its chunk file."""

    uuid: str
    n: int
    crc: int

    def to_json(self) -> dict[str, Any]:
        """Return the form that manifests hold."""
        return {"uuid": self.uuid, "n": self.n, "crc32c": f"{self.crc:08x}"}

    @classmethod
    def from_json(cls, document: object, path: Path) -> DeleteEntry:
        """Read and check what :meth:`to_json` wrote."""
        fields = Fields(document, path, "deletes.")
        fields.only("uuid", "n", "crc32c")
        return cls(fields.uuid(), fields.integer("n", 1, MAX_ROWS), fields.crc())


@dataclass(frozen=True)
class SegmentEntry:
    """One segment as a version sees it.

    Attributes
    ----------
    uuid : str
        Folder ``segments/<uuid>``.
    n : int
        Rows, deleted ones included.
    first_id : int or None
        Id of row 0 where the ids are a contiguous range, else None: the segment stores them.
    digest : str
        SHA-256 of its ``segment.json``.
    modality : str or None
        Modality of the vectors that the codes come from.
    database_codes : str
        "predicted" or "learned".
    deletes : tuple of DeleteEntry
        Disjoint lists of deleted rows.
    tables : tuple of dict
        Derived bucket tables; kept as they are by whoever does not know them.
    """

    uuid: str
    n: int
    first_id: int | None
    digest: str
    modality: str | None = None
    database_codes: str = "predicted"
    deletes: tuple[DeleteEntry, ...] = ()
    tables: tuple[dict[str, Any], ...] = ()

    @property
    def n_alive(self) -> int:
        """Rows that are not deleted."""
        return self.n - sum(entry.n for entry in self.deletes)

    def to_json(self) -> dict[str, Any]:
        """Return the form that manifests hold."""
        return {
            "uuid": self.uuid,
            "n": self.n,
            "first_id": self.first_id,
            "digest": self.digest,
            "modality": self.modality,
            "database_codes": self.database_codes,
            "deletes": [entry.to_json() for entry in self.deletes],
            "tables": list(self.tables),
        }

    @classmethod
    def from_json(cls, document: object, path: Path) -> SegmentEntry:
        """Read and check what :meth:`to_json` wrote."""
        fields = Fields(document, path, "segments.")
        fields.only("uuid", "n", "first_id", "digest", "modality", "database_codes", "deletes", "tables")
        n = fields.integer("n", 1, MAX_ROWS)
        deletes = tuple(DeleteEntry.from_json(entry, path) for entry in fields.items("deletes", MAX_DELETE_LISTS))
        if sum(entry.n for entry in deletes) > n:
            raise fields.wrong("deletes", f"at most the segment's {n} rows")
        tables = fields.items("tables", 64)
        if not all(isinstance(table, dict) for table in tables):
            raise fields.wrong("tables", "a list of objects")
        return cls(
            uuid=fields.uuid(),
            n=n,
            first_id=fields.optional("first_id", lambda name: fields.integer(name, INT64_MIN, INT64_MAX - n + 1)),
            digest=fields.digest(),
            modality=fields.optional("modality", lambda name: fields.text(name, max_length=MAX_MODALITY)),
            database_codes=fields.choice("database_codes", *POLICIES),
            deletes=deletes,
            tables=tuple(tables),
        )


@dataclass(frozen=True)
class ModelEntry:
    """The model of a version: folder ``models/<uuid>``, SHA-256 of its ``model.json``."""

    uuid: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """One version of an index.

    Attributes
    ----------
    index : str
        uuid of the index.
    root : str
        SHA-256 of the root ``zarr.json``.
    version : int
        1 for the build, one more for each commit; 0 stands for a build that is not committed.
    next_id : int
        Id that the next row added without ids gets; never reused.
    segments : tuple of SegmentEntry
        In the order of their commits.
    model : ModelEntry or None
        The model.
    parent : str or None
        Checksum of the version before.
    time : str
        UTC time of the commit, ISO 8601. For people: nothing is decided by it.
    """

    index: str
    root: str
    version: int = 0
    next_id: int = 0
    segments: tuple[SegmentEntry, ...] = ()
    model: ModelEntry | None = None
    parent: str | None = None
    time: str = ""
    checksum: str = ""

    @property
    def n_rows(self) -> int:
        """Rows that are not deleted."""
        return sum(entry.n_alive for entry in self.segments)

    def successor(self, segments: tuple[SegmentEntry, ...], next_id: int, model: ModelEntry | None) -> Manifest:
        """Return the manifest of the next version, not sealed yet."""
        return replace(
            self,
            version=self.version + 1,
            segments=segments,
            next_id=next_id,
            model=model,
            parent=self.checksum or None,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            checksum="",
        )

    def encode(self) -> tuple[Manifest, bytes]:
        """Return the manifest with its checksum, and its bytes on disk."""
        body = canonical(self._to_json())
        checksum = digest(body)
        return replace(self, checksum=checksum), _seal(checksum) + body[1:]

    def _to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "index": self.index,
            "root": self.root,
            "version": self.version,
            "next_id": self.next_id,
            "n_rows": self.n_rows,
            "segments": [entry.to_json() for entry in self.segments],
            "model": None if self.model is None else {"uuid": self.model.uuid, "digest": self.model.digest},
            "parent": self.parent,
            "time": self.time,
        }


def manifest_name(version: int) -> str:
    """File name of a version's manifest."""
    return f"{version:012d}.json"


def _seal(checksum: str) -> bytes:
    return b'{"checksum":"' + checksum.encode("ascii", "replace") + b'",'


# Where the checksum's digits stand, and what it does not cover.
_HEAD = slice(13, 77)
_SEAL = 79


def unsealed(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a manifest, check its checksum and format number, and return it.

    Raises
    ------
    CorruptIndexError
        It is damaged.
    UnsupportedFormatError
        A newer hashdb wrote it.
    """
    # "checksum" sorts first, so it can be cut out of the bytes: not even a space can change unnoticed.
    checksum = data[_HEAD].decode("ascii", "replace")
    if data[:_SEAL] != _seal(checksum) or digest(b"{" + data[_SEAL:]) != checksum:
        raise CorruptIndexError(f"{path} does not match its checksum: it was altered or damaged", path)
    document = parse_document(data, path)
    if type(document.get("format")) is int and document["format"] > FORMAT:
        raise UnsupportedFormatError(
            f"{path} has format {document['format']}, this hashdb reads up to {FORMAT}; install a newer hashdb", path
        )
    return document


def sealed(data: bytes) -> tuple[str, bytes] | None:
    """Return the checksum that a manifest gives itself and what it is of; None for what is no such file at all."""
    if len(data) <= _SEAL:
        return None
    return data[_HEAD].decode("ascii", "replace"), b"{" + data[_SEAL:]


def decode(data: bytes, path: Path) -> Manifest:
    """Parse and check a manifest; every field is within bounds afterwards.

    Raises
    ------
    CorruptIndexError
        It is damaged, or a field is not what it may be.
    UnsupportedFormatError
        A newer hashdb wrote it.
    """
    fields = Fields(unsealed(data, path), path)
    fields.only(
        *("format", "index", "root", "version", "next_id", "n_rows", "segments", "model", "parent", "time", "checksum")
    )
    fields.integer("format", FORMAT, FORMAT)
    segments = tuple(SegmentEntry.from_json(entry, path) for entry in fields.items("segments", MAX_SEGMENTS))
    names = [entry.uuid for entry in segments] + [lists.uuid for entry in segments for lists in entry.deletes]
    if len(set(names)) != len(names):
        raise CorruptIndexError(f"{path}: one uuid appears twice", path)
    manifest = Manifest(
        index=fields.uuid("index"),
        root=fields.digest("root"),
        version=fields.integer("version", 1, 10**12 - 1),
        next_id=fields.integer("next_id", 0, INT64_MAX + 1),
        segments=segments,
        model=fields.optional("model", lambda name: _model(fields.table(name), path)),
        parent=fields.optional("parent", fields.digest),
        time=fields.text("time", _TIME),
        checksum=fields.digest("checksum"),
    )
    if manifest_name(manifest.version) != path.name:
        raise fields.wrong("version", f"the number in the file's name, {path.name}")
    if fields.integer("n_rows", 0, 1 << 60) != manifest.n_rows:
        raise fields.wrong("n_rows", f"{manifest.n_rows}, the sum over the segments")
    return manifest


def _model(document: dict[str, Any], path: Path) -> ModelEntry:
    fields = Fields(document, path, "model.")
    fields.only("uuid", "digest")
    return ModelEntry(fields.uuid(), fields.digest())


def list_versions(root: Path) -> list[int]:
    """Return the numbers of the manifests in the folder ``manifests``, ascending; none where there is no folder."""
    try:
        names = os.listdir(root / "manifests")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(name[:12]) for name in sorted(filter(_NAME.fullmatch, names))]


def has_versions(root: Path) -> bool:
    """Whether there is a manifest; of thousands, one is looked for."""
    try:
        with os.scandir(root / "manifests") as entries:
            return any(_NAME.fullmatch(entry.name) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def checksum_at(path: Path) -> str | None:
    """Return the checksum that a manifest gives itself; None where there is no such file."""
    try:
        return read_file(path, MAX_DOCUMENT_BYTES)[_HEAD].decode("ascii", "replace")
    except FileNotFoundError:
        return None


def read_manifest(root: Path, version: int) -> Manifest:
    """Read and check one manifest.

    Raises
    ------
    FileNotFoundError
        There is none with this number.
    CorruptIndexError, UnsupportedFormatError
        As :func:`decode`.
    """
    path = root / "manifests" / manifest_name(version)
    return decode(read_file(path, MAX_DOCUMENT_BYTES), path)
