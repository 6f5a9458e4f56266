"""Files of an index as read-only arrays: mapped where large, read where small, opened when first touched."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from hashdb.errors import ArgumentError, CorruptIndexError, StorageError, VersionGoneError
from hashdb.forks import lock_of
from hashdb.storage.commit import storage_error
from hashdb.storage.documents import MAX_DOCUMENT_BYTES
from hashdb.storage.maps import map_tracked, untracked_map

SMALL_BYTES = 1 << 20
MAX_MAPS = 24
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a named pipe would wait for somebody to write


def check_size(path: Path, found: os.stat_result, size: int) -> None:
    """Raise :class:`CorruptIndexError` unless this is a regular file of `size` bytes."""
    if not stat.S_ISREG(found.st_mode):
        raise CorruptIndexError(f"{path} is not a regular file", path)
    if found.st_size != size:
        raise CorruptIndexError(f"{path} has {found.st_size} bytes, it was written with {size}", path)


def refuse_links(root: Path, folder: Path, files: Iterable[str] = ()) -> None:
    """Look that the folders from `root` down to `folder`, and those of `files` in it, are no symbolic links.

    A linked folder would have us read outside of the index, and remove there. `root` itself may be one.

    Raises
    ------
    CorruptIndexError
        Naming the link.
    """
    inner = {place for name in files for place in PurePosixPath(name).parents if place.parts}
    own = [
        root.joinpath(*part.parts)
        for part in [folder.relative_to(root), *folder.relative_to(root).parents]
        if part.parts
    ]
    for path in (*own, *(folder / place for place in inner)):
        if path.is_symlink():
            raise CorruptIndexError(f"{path} is a symbolic link, which an index never holds", path)


def missing(path: Path, unit: str, root: Path) -> CorruptIndexError | VersionGoneError | StorageError:
    """Build the error for a file that is not there: pruned when no manifest names its `unit`, else lost."""
    seen: set[str] = set()
    try:
        while names := {name for name in os.listdir(root / "manifests") if name.endswith(".json")} - seen:
            if any(_names(root / "manifests" / name, unit) for name in sorted(names, reverse=True)):
                return CorruptIndexError(f"{path} is missing", path)
            seen |= names  # others may have committed and pruned meanwhile
    except (FileNotFoundError, NotADirectoryError):
        return gone(root)
    except OSError as error:
        return storage_error(error, f"read the index {root}")
    return VersionGoneError(
        f"{path} was removed: the version that held it has been pruned; open the index again for the newest one"
    )


def gone(root: Path) -> VersionGoneError:
    """Build the error for an open index whose folder is not there."""
    return VersionGoneError(f"there is no index at {root} any more: it was moved or removed, or its disk unmounted")


def _names(manifest: Path, unit: str) -> bool:
    try:
        return unit.encode("ascii") in read_file(manifest, MAX_DOCUMENT_BYTES)
    except (FileNotFoundError, CorruptIndexError):  # pruned meanwhile, or none of ours
        return False


def read_file(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes, not following a symbolic link.

    Raises
    ------
    FileNotFoundError
        Where it is missing.
    CorruptIndexError
        Where it is larger, or no regular file.
    StorageError
        Where the system refuses.
    """
    try:
        handle = os.open(path, _FLAGS)
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, "is not there", str(path)) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refused(error, path) from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise CorruptIndexError(f"{path} is no regular file of at most {limit} bytes", path)
        parts, left = [], found.st_size
        while left and (part := os.read(handle, min(left, 1 << 30))):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(handle)


def _refused(error: OSError, path: Path) -> CorruptIndexError | StorageError:
    """Build the error for a file that the system does not open."""
    if error.errno == errno.ELOOP:
        return CorruptIndexError(f"{path} is a symbolic link, which an index never holds", path)
    if error.errno == errno.ENXIO:  # a socket
        return CorruptIndexError(f"{path} is not a regular file", path)
    return storage_error(error, "read the index")


def _mmap_allowed() -> bool:
    text = os.environ.get("HASHDB_MMAP", "").strip()
    if text not in ("", "0", "1"):
        raise ArgumentError(f"environment variable HASHDB_MMAP is {text!r}, expected 0 or 1; correct or unset it")
    return text != "0"


class Mapper:
    """Opens data files of one index.

    A mapping holds no file descriptor, so callers keep as many as they like. Only where the system allows none of that
    kind does each hold one: then the `n_maps` used last are kept here, and callers use an array and let go of it.

    Parameters
    ----------
    root : Path
        Folder of the index.
    use_mmap : bool
        False reads files into memory instead; the variable ``HASHDB_MMAP=0`` does so too.
    n_maps : int
        Mappings kept here, where each holds a descriptor.

    Attributes
    ----------
    quiet : bool
        Whether damaged bucket tables are told otherwise than in the log.

    Raises
    ------
    ArgumentError
        ``HASHDB_MMAP`` is neither 0 nor 1.
    """

    def __init__(self, root: Path, *, use_mmap: bool = True, n_maps: int = MAX_MAPS) -> None:
        self.root = root
        self.use_mmap = _mmap_allowed() and use_mmap
        self.quiet = False
        self.n_maps = n_maps
        self.map_freely = untracked_map()
        self._maps: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._lock = lock_of(self)

    @property
    def keeps_all(self) -> bool:
        """Whether callers may keep whatever they open: nothing holds a descriptor."""
        return self.map_freely is not None or not self.use_mmap

    @property
    def maps_all(self) -> bool:
        """Whether opening costs neither memory nor a descriptor."""
        return self.map_freely is not None and self.use_mmap

    def open(self, path: Path, size: int, unit: str) -> tuple[np.ndarray, bool]:
        """Return a file's bytes.

        Parameters
        ----------
        path : Path
            The file.
        size : int
            Its size in bytes, as recorded when it was written.
        unit : str
            uuid of the segment, model or delete list it belongs to.

        Returns
        -------
        data : ndarray of uint8, shape (size,), read-only
            The bytes.
        keep : bool
            Whether the caller may keep them: they hold no descriptor.

        Raises
        ------
        CorruptIndexError
            The file is missing or has another size.
        VersionGoneError
            It was pruned.
        StorageError
            The system refuses.
        """
        with self._lock:
            if path in self._maps:
                self._maps.move_to_end(path)
                return self._maps[path], False
            try:
                return self._open(path, size)
            except (FileNotFoundError, NotADirectoryError):
                raise missing(path, unit, self.root) from None
            except StorageError:
                raise
            except OSError as error:
                raise _refused(error, path) from error

    def release(self) -> None:
        """Drop every mapping kept here."""
        with self._lock:
            self._maps.clear()

    def _open(self, path: Path, size: int) -> tuple[np.ndarray, bool]:
        try:
            handle = os.open(path, _FLAGS)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._maps:
                raise
            self._maps.clear()
            handle = os.open(path, _FLAGS)
        try:
            check_size(path, os.fstat(handle), size)
            if not self.use_mmap or size <= SMALL_BYTES:
                return self._read(handle, path, size), True
            return self._map(handle, path, size)
        finally:
            os.close(handle)

    def _read(self, handle: int, path: Path, size: int) -> np.ndarray:
        data = np.empty(size, np.uint8)
        view, start = data.data, 0
        while start < size:
            n_read = os.preadv(handle, [view[start : start + (1 << 30)]], start)
            if n_read == 0:
                raise CorruptIndexError(f"{path} ends after {start} bytes, it was written with {size}", path)
            start += n_read
        data.flags.writeable = False
        return data

    def _map(self, handle: int, path: Path, size: int) -> tuple[np.ndarray, bool]:
        if self.map_freely is not None:
            return self.map_freely(handle, size), True
        while len(self._maps) >= self.n_maps:
            self._maps.popitem(last=False)
        try:
            data = map_tracked(handle, size)
        except OSError as error:
            if error.errno != errno.EMFILE or not self._maps:
                raise
            self._maps.clear()
            data = map_tracked(handle, size)
        self._maps[path] = data
        return data, False
