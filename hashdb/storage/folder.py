"""The index folder as a whole: beginning one, recognising one, finding its versions."""

from __future__ import annotations

import logging
import os
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hashdb.errors import (
    ArgumentError,
    CorruptIndexError,
    FormatError,
    IndexExistsError,
    IndexNotFoundError,
    UnsupportedFormatError,
)
from hashdb.storage.commit import DISK, Files, remove_tree, translated, try_remove, write_named
from hashdb.storage.documents import FORMAT, MAX_DOCUMENT_BYTES, Fields, canonical, digest, group_json, parse_document
from hashdb.storage.ids import KINDS
from hashdb.storage.manifest import has_versions, list_versions, read_manifest
from hashdb.storage.mapping import read_file, refuse_links
from hashdb.storage.places import claim, is_folder, kind_of, lock_build, taken_over, unmake

log = logging.getLogger(__name__)

MAX_BITS = 4096
REPAIR = "`hashdb repair` tells what can be saved"
GROUPS = ("manifests", "segments", "models", "deletes")
_PARTS = {*GROUPS, "zarr.json", "zarr.json.tmp"}
_RELEASE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
_ATTRIBUTES = ("format", "uuid", "id_kind", "n_bits", "n_stored_bits", "extensions", "settings")


@dataclass(frozen=True)
class Attributes:
    """What never changes about an index; kept in its root ``zarr.json``.

    Attributes
    ----------
    uuid : str
        32 hexadecimal digits.
    id_kind : str
        "int64" or "string".
    n_bits, n_stored_bits : int
        Information bits, and width of a code.
    settings : dict
        What the layers above keep.
    derived : tuple of str
        Extensions that a reader may ignore.
    digest : str
        SHA-256 of the root ``zarr.json``.
    """

    uuid: str
    id_kind: str
    n_bits: int
    n_stored_bits: int
    settings: dict[str, Any] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    digest: str = ""

    @classmethod
    def new(cls, id_kind: str, n_bits: int, n_stored_bits: int, settings: dict[str, Any]) -> Attributes:
        """Check the arguments of a new index."""
        if id_kind not in KINDS:
            raise ArgumentError(f"id_kind is {id_kind!r:.40}, expected 'int64' or 'string'")
        if not 1 <= n_stored_bits <= MAX_BITS or not 1 <= n_bits <= MAX_BITS:
            raise ArgumentError(f"n_bits={n_bits}, n_stored_bits={n_stored_bits}: expected 1 to {MAX_BITS}")
        try:
            settings = parse_document(canonical(settings), Path("settings"))
        except (TypeError, ValueError, RecursionError, CorruptIndexError) as error:
            raise ArgumentError(f"settings cannot be stored as JSON: {error}") from error
        made = cls(uuid.uuid4().hex, id_kind, int(n_bits), int(n_stored_bits), settings)
        return cls(**{**made.__dict__, "digest": digest(made.zarr_json())})

    def zarr_json(self) -> bytes:
        """Encode the root ``zarr.json``."""
        own = {
            "format": FORMAT,
            "uuid": self.uuid,
            "id_kind": self.id_kind,
            "n_bits": self.n_bits,
            "n_stored_bits": self.n_stored_bits,
            "extensions": {"required": [], "derived": list(self.derived)},
            "settings": self.settings,
        }
        return group_json({"hashdb": own})

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Attributes | None:
        """Read and check a root ``zarr.json``; None where it is no index's."""
        document = parse_document(data, path)
        attributes = document.get("attributes")
        if not isinstance(attributes, dict) or "hashdb" not in attributes:
            return None
        fields = Fields(attributes["hashdb"], path, "attributes.hashdb.")
        found = fields.integer("format", 1, 1 << 31)
        if found > FORMAT:
            raise UnsupportedFormatError(
                f"{path.parent} has format {found}, this hashdb reads up to {FORMAT}; install {_reader(fields)}", path
            )
        fields.only(*_ATTRIBUTES)
        extensions = Fields(fields.table("extensions"), path, "attributes.hashdb.extensions.")
        required, derived = extensions.items("required", 64), extensions.items("derived", 64)
        if required:
            raise UnsupportedFormatError(
                f"{path.parent} requires the extension {str(required[0])[:80]!r}, which this hashdb does not have; "
                "install a newer hashdb",
                path,
            )
        return cls(
            uuid=fields.uuid(),
            id_kind=fields.choice("id_kind", *KINDS),
            n_bits=fields.integer("n_bits", 1, MAX_BITS),
            n_stored_bits=fields.integer("n_stored_bits", 1, MAX_BITS),
            settings=fields.table("settings"),
            derived=tuple(str(name)[:128] for name in derived),
            digest=digest(data),
        )


def _reader(fields: Fields) -> str:
    """Say which hashdb reads a newer format, where the index names it as later formats must."""
    named = fields.document.get("reader")
    return f"hashdb {named} or newer" if isinstance(named, str) and _RELEASE.fullmatch(named) else "a newer hashdb"


# ---- beginning


@dataclass
class Build:
    """An index being built: the folder, its lock, and whether we made the folder."""

    files: Files
    root: Path
    made_root: bool
    lock: int
    attributes: Attributes

    def check(self) -> None:
        """Raise :class:`IndexExistsError` where the folder is not this build's any more."""
        try:
            ours = digest(read_file(self.root / "zarr.json", MAX_DOCUMENT_BYTES)) == self.attributes.digest
        except (OSError, CorruptIndexError):
            ours = False
        if not ours:
            raise taken_over(self.root)

    def release(self) -> None:
        """Give the lock back."""
        lock, self.lock = self.lock, -1
        if lock >= 0:
            try:
                try:
                    self.files.unlock(lock)
                finally:
                    self.files.close(lock)
            except OSError as error:
                log.warning("could not close the lock of %s: %s", self.root, error)

    def abandon(self) -> None:
        """Remove what the build wrote, as far as that is possible."""
        if self._is_in_place() and not list_versions(self.root):
            for name in GROUPS:
                try_remove(self.files, self.root / name)
            try:
                self.files.fsync_folder(self.root)  # as in _remove_leftovers
            except OSError as error:
                log.warning("could not flush %s: %s", self.root, error)
            for name in ("zarr.json", "zarr.json.tmp"):
                try_remove(self.files, self.root / name)
            if self.made_root:
                try_remove(self.files, self.root)
        self.release()

    def _is_in_place(self) -> bool:
        """Whether the folder is the one that was locked: where it was removed, another may be building at its path."""
        try:
            return os.path.samestat(os.fstat(self.lock), os.stat(self.root))
        except OSError:
            return False


def begin(root: Path, attributes: Attributes, files: Files) -> Build:
    """Make the folders of a new index, which is none yet: it has no manifest.

    Raises
    ------
    IndexExistsError
        There is an index, someone is building one, or the folder holds something else.
    """
    build = Build(files, root, *claim(files, root), attributes)
    try:
        leftovers = _leftovers(root)
    except BaseException:
        if build.made_root:  # what is in it is not ours to touch
            unmake(files, root)
        build.release()
        raise
    try:
        if leftovers:
            _remove_leftovers(files, root, leftovers)
        _write_skeleton(files, root, attributes)
    except BaseException:
        build.abandon()
        raise
    return build


def check_free(root: Path) -> None:
    """Raise :class:`IndexExistsError` unless an index may be built at `root`; nothing is changed."""
    with translated(f"create the index {root}"):
        if not is_folder(root):
            return
        _refuse_index(root)
        try:
            _leftovers(root)
        except (FileNotFoundError, IndexExistsError):
            # What others are just building or removing looks odd: once more while they are kept from it.
            lock = lock_build(DISK, root, shared=True)
            try:
                _leftovers(root)
            finally:
                try:
                    DISK.unlock(lock)
                finally:
                    os.close(lock)


def _refuse_index(root: Path) -> None:
    if list_versions(root):
        raise IndexExistsError(f"there is an index at {root} already; add to it, or build at another path")


def _leftovers(root: Path) -> list[Path]:
    """Return what an unfinished build left in a folder; raise where there is anything else."""
    _refuse_index(root)
    names = sorted(os.listdir(root))
    if not names:
        return []
    try:
        document = read_file(root / "zarr.json", MAX_DOCUMENT_BYTES)
        ours = Attributes.parse(document, root / "zarr.json") is not None
    except FileNotFoundError:
        ours = names == ["zarr.json.tmp"]
    except (CorruptIndexError, UnsupportedFormatError):
        ours = False
    odd = sorted(set(names) - _PARTS)
    if odd or not ours:
        raise IndexExistsError(
            f"{root} is not empty and holds no unfinished build (it has {(odd or names)[0][:80]!r}); "
            "nothing was changed: give the path of a new folder"
        )
    more = _more_than_a_build(root)
    if more is not None:
        raise IndexExistsError(
            f"{root} has no manifest, and more than an unfinished build leaves ({more}): its manifests were removed; "
            "nothing was changed: restore manifests/ from a copy, or give the path of a new folder"
        )
    return [root / name for name in names]


def _more_than_a_build(root: Path) -> str | None:
    """Name what an index had that no unfinished build has, which is one model and one segment at most."""
    there = {name: _members(root / name) for name in GROUPS}
    other = [name for name in there["manifests"] if not name.endswith(".tmp")]
    if other:
        return f"manifests/{other[0][:80]}"
    if there["deletes"]:
        return "a folder in deletes/"
    if len(there["segments"]) > 1:
        return f"{len(there['segments'])} segments"
    return f"{len(there['models'])} models" if len(there["models"]) > 1 else None


def _members(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if name != "zarr.json") if path.is_dir() else []


def _remove_leftovers(files: Files, root: Path, leftovers: list[Path]) -> None:
    # zarr.json goes last, and once the others are gone for good: a power loss must not leave them without it.
    for path in leftovers:
        if path.name != "zarr.json":
            remove_tree(files, path)
    files.fsync_folder(root)
    remove_tree(files, root / "zarr.json")


def _write_skeleton(files: Files, root: Path, attributes: Attributes) -> None:
    # zarr.json comes first and whole: by it, whatever follows is recognised as an unfinished build.
    temporary = root / "zarr.json.tmp"
    write_named(files, temporary, attributes.zarr_json())
    files.rename(temporary, root / "zarr.json")
    files.fsync_folder(root)
    for name in GROUPS:
        files.mkdir(root / name)
        write_named(files, root / name / "zarr.json", group_json())
        files.fsync_folder(root / name)
    files.fsync_folder(root)
    files.fsync_folder(root.absolute().parent)


# ---- opening


def read_attributes(root: Path) -> Attributes:
    """Read what never changes about the index at `root`.

    Raises
    ------
    IndexNotFoundError
        There is no index; the message tells what is there.
    CorruptIndexError, UnsupportedFormatError
        There is one, damaged or newer.
    StorageError
        The system refuses to tell.
    """
    with translated(f"open the index {root}"):
        return _read_attributes(root)


def _read_attributes(root: Path) -> Attributes:
    kind = kind_of(root)
    if not kind:
        raise IndexNotFoundError(f"no index at {root}: there is nothing at that path; `hashdb build` makes one")
    if kind != "a folder":
        raise IndexNotFoundError(f"no index at {root}: that is {kind}, an index is a folder")
    path = root / "zarr.json"
    is_index = has_versions(root)
    for name in GROUPS:
        refuse_links(root, root / name)
    try:
        return _read_root(root, path, is_index)
    except CorruptIndexError as error:
        raise CorruptIndexError(f"{error}; no version opens without it; {REPAIR}", path) from error
    except UnsupportedFormatError as error:
        if is_index and was_altered(root):
            why = f"{path} is not the one that the manifests name: it was altered or damaged"
            raise CorruptIndexError(f"{why}; no version opens without it; {REPAIR}", path) from error
        raise


def was_altered(root: Path) -> bool:
    """Whether a manifest of our format names another root document than the one there: it is not a newer hashdb's."""
    try:
        found = digest(read_file(root / "zarr.json", MAX_DOCUMENT_BYTES))
        return read_manifest(root, list_versions(root)[-1]).root != found
    except (FormatError, OSError):
        return False


def _read_root(root: Path, path: Path, is_index: bool) -> Attributes:
    try:
        attributes = Attributes.parse(read_file(path, MAX_DOCUMENT_BYTES), path)
    except FileNotFoundError:
        if is_index:
            raise CorruptIndexError(f"{path} is missing", path) from None
        raise IndexNotFoundError(f"no index at {root}: the folder has no zarr.json and no manifests") from None
    except CorruptIndexError as error:
        if is_index:
            raise
        raise IndexNotFoundError(f"no index at {root}: {error}") from error
    if attributes is None:
        if is_index:
            raise CorruptIndexError(f"{path} is not that of an index, though there are manifests", path)
        raise IndexNotFoundError(f"no index at {root}: it is a Zarr folder that hashdb did not write")
    if not is_index:
        raise no_manifest(root)
    return attributes


def no_manifest(root: Path) -> IndexNotFoundError:
    """Return the error for a folder that has an index's metadata, and no version."""
    return IndexNotFoundError(
        f"no index at {root}: it has no manifest: a build was not finished, or its manifests were removed; "
        "restore manifests/ from a copy if it held an index, else build it again"
    )
