"""Files read by position: opened, decompressed or spooled once, with errors that name the file.

Reads go through plain seeks into the caller's buffers rather than through a mapping: the pages of a mapped file
count as the process's memory once touched, and a 5 GB input would look like 5 GB of use.
"""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import sys
import tempfile
import threading
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from hashdb.errors import InputFileError, StorageError
from hashdb.inputs.formats import Spec, missing_file
from hashdb.inputs.limits import ALWAYS_ALLOWED, most_bytes, too_large

_IN_MEMORY = ALWAYS_ALLOWED  # what is decompressed stays in memory up to here
_GZIP_MAGIC = b"\x1f\x8b\x08"
_COPY_BYTES = 1 << 20


class Stream(Protocol):
    """What is read from front to back, in pieces that need not have the size asked for."""

    def read(self, n_bytes: int, /) -> bytes:
        """Give the next piece, nothing at the end."""


class ByteFile:
    """A file of known size that is read by position, from any thread.

    Attributes
    ----------
    name : str
        For messages.
    size : int
        In bytes.
    handle : file object
        For libraries that read files themselves.
    """

    def __init__(self, handle: IO[bytes], name: str) -> None:
        self.handle = handle
        self.name = name
        try:
            self.size = handle.seek(0, os.SEEK_END)
        except OSError as error:
            handle.close()
            raise _unreadable(name, error) from error
        self._lock = threading.Lock()

    def read_into(self, offset: int, buffer: Any) -> None:
        """Fill a writable buffer with the bytes from `offset` on.

        Raises
        ------
        InputFileError
            The file ends before the buffer is full, or cannot be read.
        """
        view = memoryview(buffer).cast("B")
        filled = 0
        with self._lock:
            try:
                self.handle.seek(offset)
                while filled < len(view):
                    n_read = self.handle.readinto(view[filled:])  # type: ignore[attr-defined]
                    if not n_read:
                        break
                    filled += n_read
            except OSError as error:
                raise _unreadable(self.name, error) from error
        if filled < len(view):
            raise InputFileError(
                f"{self.name} is truncated: it ends at byte {offset + filled:,}, expected {offset + len(view):,}"
            )

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Give up to `n_bytes` bytes from `offset` on; fewer only at the end of the file."""
        buffer = bytearray(max(0, min(n_bytes, self.size - offset)))
        self.read_into(offset, buffer)
        return bytes(buffer)

    def close(self) -> None:
        """Close the file; a spool disappears with it."""
        self.handle.close()

    def __enter__(self) -> ByteFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_file(spec: Spec, spool_near: str | os.PathLike[str] | None = None) -> ByteFile:
    """Open an input for reading by position.

    Standard input and pipes are copied once into a nameless file in the folder `spool_near`; what is gzipped is
    decompressed, in memory up to 256 MiB and into such a file beyond, up to a hundred times its size. Files that do
    not say their size, such as those in ``/proc``, are copied likewise.

    Raises
    ------
    InputFileError
        The file is missing, a folder, a device, unreadable, not proper gzip, or grows beyond measure.
    StorageError
        There is no room for the spool.
    """
    if spec.path is None:
        handle = spool(spec.name, _stdin(), spool_near, in_memory=0)
    else:
        handle = _open_path(spec.path)
        status = os.fstat(handle.fileno())
        if stat.S_ISCHR(status.st_mode):  # without a size, and often without an end
            handle.close()
            raise InputFileError(f"{spec.name} is a device: expected a file or a pipe")
        is_pipe = not handle.seekable()
        if is_pipe or (stat.S_ISREG(status.st_mode) and not status.st_size):
            with handle:
                handle = spool(spec.name, handle, spool_near, in_memory=0 if is_pipe else _IN_MEMORY)
    file = ByteFile(handle, spec.name)
    head = file.read(0, len(_GZIP_MAGIC))
    is_gzip_name = spec.path is not None and spec.path.suffix.lower() == ".gz"
    if head != _GZIP_MAGIC:
        if is_gzip_name:
            file.close()
            raise InputFileError(f"{spec.name} is not gzip: it starts with {head.hex() or 'nothing'}, expected 1f8b08")
        return file
    with file.handle:
        file.handle.seek(0)
        with gzip.GzipFile(fileobj=file.handle) as stream:
            return ByteFile(spool(spec.name, stream, spool_near, packed=file.size), spec.name)


def spool(
    name: str,
    stream: Stream,
    near: str | os.PathLike[str] | None,
    *,
    in_memory: int = _IN_MEMORY,
    packed: int | None = None,
) -> IO[bytes]:
    """Copy a stream into a temporary file that can be sought and that vanishes when closed.

    Parameters
    ----------
    name : str
        For messages.
    stream : file object
        Read to its end.
    near : Path or None
        The folder to make the file in, or its nearest parent that exists. None, or a folder that cannot be written (an
        index on a read-only disk is still queried), is the system's temporary folder.
    in_memory : int
        Bytes kept in memory before a file is made; 0 is none.
    packed : int, optional
        Bytes that the stream is unpacked from: it may grow by so much and no more.
    """
    folder = None if near is None else _spool_folder(near)
    target: IO[bytes]
    try:
        if in_memory:
            target = tempfile.SpooledTemporaryFile(max_size=in_memory, dir=folder)  # noqa: SIM115
        else:
            target = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
    except OSError as error:
        raise StorageError(
            f"no spool for {name} can be made in {folder or tempfile.gettempdir()}: {error.strerror}"
        ) from error
    try:
        _copy(name, stream, target, packed)
    except BaseException:
        target.close()
        raise
    return target


def _copy(name: str, stream: Stream, target: IO[bytes], packed: int | None) -> None:
    n_bytes = 0
    while True:
        try:
            piece = stream.read(_COPY_BYTES)
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            reason = "it ends in the middle" if isinstance(error, EOFError) else str(error)
            raise InputFileError(f"{name} cannot be decompressed or read: {reason}") from error
        if not piece:
            return
        n_bytes += len(piece)
        if packed is not None and n_bytes > most_bytes(packed):
            raise too_large(name, packed, "more")
        try:
            view = memoryview(piece)
            while view:
                view = view[target.write(view) :]
        except OSError as error:
            raise StorageError(
                f"no room to spool {name}: {error.strerror}; free some space, or give a file in place of a pipe"
            ) from error


def _spool_folder(near: str | os.PathLike[str]) -> str | None:
    folder = Path(near).absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return str(folder) if os.access(folder, os.W_OK) else None


def _unreadable(name: str, error: OSError) -> InputFileError:
    return InputFileError(f"{name} cannot be read: {error.strerror or error}")


def _stdin() -> IO[bytes]:
    if sys.stdin is None or sys.stdin.closed:
        raise InputFileError("stdin is closed: expected data from a pipe or a file")
    if sys.stdin.isatty():
        raise InputFileError("stdin is a terminal: expected data from a pipe or a file")
    return sys.stdin.buffer


def _open_path(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except IsADirectoryError as error:
        raise InputFileError(f"{path} is a folder: expected a file") from error
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
