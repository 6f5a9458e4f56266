"""Every change that hashdb makes to files.

:class:`Files` is the one layer through which an index is written: tests put a failing or forgetful one in its place.
:class:`Staging` writes one new folder, flushes it as a whole or removes it as a whole.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import numpy as np

from hashdb.errors import HashDBError, StorageError

log = logging.getLogger(__name__)

# Handles of a staged folder that are kept open until its flush; far below the 64 files a process may have open.
MAX_PENDING = 8
CRC_BLOCK = 1 << 26

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the file would exceed the largest size allowed (see `ulimit -f`)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied; check who owns the folder",
    errno.EMFILE: "too many open files (see `ulimit -n`)",
    errno.ENAMETOOLONG: "the path is too long",
    errno.ENOLCK: "this file system keeps no locks, which a commit needs; keep the index on a local disk",
}
NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}
NO_LOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class Files:
    """The file effects of an index on a local disk. A subclass may count, fail or forget them.

    Handles are file descriptors. Methods raise ``OSError``; callers turn it into :class:`StorageError`.
    """

    def mkdir(self, path: Path) -> None:
        """Make one folder, which must not exist."""
        os.mkdir(path)

    def create(self, path: Path) -> int:
        """Create a file, which must not exist, and return a handle for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, handle: int, data: memoryview) -> None:
        """Write all of `data` (bytes) at the end of the file."""
        while len(data):
            data = data[os.write(handle, data) :]

    def write_at(self, handle: int, data: memoryview, offset: int) -> None:
        """Write all of `data` (bytes) from byte `offset` on; only for scratch files that are never published."""
        while len(data):
            n_written = os.pwrite(handle, data, offset)
            data, offset = data[n_written:], offset + n_written

    def fsync(self, handle: int) -> None:
        """Flush a file to the medium."""
        full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves the data in the drive's cache
        if full is None:
            os.fsync(handle)
        else:
            fcntl.fcntl(handle, full)

    def close(self, handle: int) -> None:
        """Close a handle."""
        os.close(handle)

    def fsync_folder(self, path: Path) -> None:
        """Flush the names in a folder to the medium."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; ``FileExistsError`` when the name is taken."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file."""
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    def lock_folder(self, path: Path, shared: bool = False) -> int:
        """Take the advisory lock of a folder; ``BlockingIOError`` when another has it.

        The lock goes with :meth:`unlock`, or when this process and its children that have the handle too are gone.
        """
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(handle), os.stat(path)):
                raise BlockingIOError(errno.EWOULDBLOCK, "the folder was replaced meanwhile", str(path))
        except BaseException:
            os.close(handle)
            raise
        return handle

    def unlock(self, handle: int) -> None:
        """Let go of a lock at once, also where a child forked meanwhile has the handle too; twice is no harm."""
        fcntl.flock(handle, fcntl.LOCK_UN)


def _flock(handle: int, how: int) -> None:
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in NO_LOCK:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from error
        raise


DISK = Files()


def crc32c(data: np.ndarray | memoryview | bytes, crc: int = 0) -> int:
    """CRC-32C of bytes, going on from `crc`."""
    flat = np.frombuffer(data, dtype=np.uint8)
    for start in range(0, len(flat), CRC_BLOCK):
        crc = int(google_crc32c.extend(crc, flat[start : start + CRC_BLOCK]))
    return crc


def storage_error(error: OSError, doing: str) -> StorageError:
    """Build the :class:`StorageError` that tells why `doing` failed."""
    reason = _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    where = f" at {error.filename}" if error.filename and str(error.filename) not in doing else ""
    result = StorageError(f"cannot {doing}{where}: {reason}")
    result.errno, result.filename = error.errno, error.filename
    return result


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn an ``OSError`` of the body into a :class:`StorageError` that says what was being done."""
    try:
        yield
    except HashDBError:
        raise
    except OSError as error:
        raise storage_error(error, doing) from error


def remove_tree(files: Files, path: Path) -> int:
    """Remove a file, or a folder with all it holds, and return the bytes freed. What is gone already is fine."""
    n_bytes = 0
    try:
        if path.is_symlink() or not path.is_dir():
            n_bytes = path.lstat().st_size
            files.unlink(path)
            return n_bytes
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            n_bytes += remove_tree(files, path / name)
        files.rmdir(path)
    except FileNotFoundError:
        log.debug("already removed: %s", path)
    return n_bytes


def try_remove(files: Files, path: Path) -> None:
    """Remove a file or folder where that can be done; a failure is logged, and a later sweep tries again."""
    try:
        remove_tree(files, path)
    except OSError as error:
        log.warning("could not remove %s: %s", path, error)


class Staging:
    """One new folder that nobody refers to yet.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    root : Path
        The folder, which must not exist; its parent must.
    """

    def __init__(self, files: Files, root: Path) -> None:
        self.files = files
        self.root = root
        self._pending: list[int] = []
        self._open: set[int] = set()
        self._folders: list[Path] = [root]
        files.mkdir(root)

    def mkdir(self, relative: str) -> None:
        """Make a folder inside; its parent exists."""
        path = self.root / relative
        self.files.mkdir(path)
        self._folders.append(path)

    def create(self, relative: str) -> int:
        """Create a file inside and return its handle."""
        handle = self.files.create(self.root / relative)
        self._open.add(handle)
        return handle

    def write(self, handle: int, data: np.ndarray | bytes) -> None:
        """Write bytes, or the bytes of a C-contiguous array, at the end of a file."""
        self.files.write(handle, np.frombuffer(data, dtype=np.uint8).data)

    def done(self, handle: int) -> None:
        """Say that a file is complete: it is flushed and closed with the folder, or when many are waiting."""
        self._pending.append(handle)
        if len(self._pending) > MAX_PENDING:
            self._flush_pending()

    def drop(self, handle: int) -> None:
        """Close a scratch file without a flush."""
        self._open.discard(handle)
        self.files.close(handle)

    def write_file(self, relative: str, data: bytes) -> None:
        """Write a whole file."""
        handle = self.create(relative)
        self.write(handle, data)
        self.done(handle)

    def sync(self) -> None:
        """Flush every file, then every folder from the deepest up, then the name of the whole."""
        # Files first: their flush takes the folders' changes along, which makes the later flushes nearly free.
        self._flush_pending()
        for folder in sorted(self._folders, key=lambda path: -len(path.parts)):
            self.files.fsync_folder(folder)
        self.files.fsync_folder(self.root.parent)

    def discard(self) -> None:
        """Close and remove everything, as far as that is possible."""
        for handle in list(self._open):
            self._open.discard(handle)
            try:
                self.files.close(handle)
            except OSError as error:
                log.warning("could not close a file of %s: %s", self.root, error)
        self._pending.clear()
        try_remove(self.files, self.root)

    def _flush_pending(self) -> None:
        while self._pending:
            handle = self._pending.pop(0)
            self.files.fsync(handle)
            self._open.discard(handle)
            self.files.close(handle)


def write_named(files: Files, path: Path, data: bytes | memoryview) -> None:
    """Write a file completely, flush it, and close it whatever happens."""
    handle = files.create(path)
    try:
        files.write(handle, memoryview(data))
        files.fsync(handle)
    finally:
        files.close(handle)


def put_back(files: Files, root: Path, path: Path, data: memoryview) -> None:
    """Put a file of the index at `root` in the place of one that is damaged or missing: whole, or not at all.

    Never in place: who has mapped the old file goes on reading that one. Folders that are missing are made, and an
    empty one in the file's place goes.
    """
    lost = [folder for folder in path.parents if folder.is_relative_to(root) and not folder.exists()]
    for folder in reversed(lost):
        files.mkdir(folder)
        files.fsync_folder(folder.parent)
    # Where a sweep finds it, should this process die.
    temporary = root / "manifests" / f"repair.{uuid.uuid4().hex[:8]}.tmp"
    try:
        write_named(files, temporary, data)
        if path.is_dir() and not path.is_symlink():
            files.rmdir(path)
        files.rename(temporary, path)
        files.fsync_folder(path.parent)
    except BaseException:
        try_remove(files, temporary)
        raise


def holds(path: Path, data: bytes) -> bool:
    """Whether a file exists and has exactly this content."""
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False
