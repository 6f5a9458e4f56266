"""Getting a data set from its public home, when asked and only with a checksum."""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from hashdb.datasets.catalogue import find, folder_of, get
from hashdb.datasets.description import ARCHIVES, DatasetInfo, Download
from hashdb.errors import ArgumentError, HashDBError, StorageError
from hashdb.inputs.formats import one_line
from hashdb.inputs.limits import most_bytes
from hashdb.progress import Progress, silent

_SCHEMES = ("https", "http", "ftp", "file")
_PIECE = 1 << 20
_TIMEOUT = 60  # seconds without a byte


class FetchError(HashDBError):
    """A download did not come, or is not what it should be."""


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    url: str | None = None,
    sha256: str | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Download what is missing of a data set; files that are there are left alone.

    A download goes to a temporary name beside its place, and gets its own only when the checksum is right.

    Parameters
    ----------
    name : str
    folder : path, optional
        Where to put the files; by default the set's own folder below the one that ``HASHDB_DATA`` names.
    url : str, optional
        Another place to get the one download from.
    sha256 : str, optional
        The checksum of the one download, where hashdb knows none or another is trusted.
    progress : callable, optional
        Called with (what, done, total), in bytes.

    Returns
    -------
    list of Path
        The files that were made; empty where nothing was missing.

    Raises
    ------
    ArgumentError
        The name is unknown, there is no folder, the set cannot be fetched, or no checksum is known.
    FetchError
        The server cannot be reached, or gave something else.
    """
    info = get(name)
    place = folder_of(info, folder)
    if place is None:
        raise ArgumentError("HASHDB_DATA names no folder for data sets: set it, or say where to (folder=, --to DIR)")
    if find(info, folder).layout is not None:
        return []
    wanted = [one for one in info.downloads if not _is_there(info, one, place)]
    if not info.downloads:
        raise ArgumentError(f"data set {name} cannot be fetched; get it from {info.home} into {place}: {info.note}")
    planned = [_settled(info, one, url, sha256, len(wanted)) for one in wanted]  # all of them before the first byte
    made: list[Path] = []
    for one in planned:
        made += _get(info, one, place, progress)
    return made


def _is_there(info: DatasetInfo, download: Download, place: Path) -> bool:
    for path in download.gives:
        known, file = info.known(path), place / path
        if not file.exists() or (known.size is not None and file.stat().st_size != known.size):
            return False
    return True


def _settled(info: DatasetInfo, download: Download, url: str | None, sha256: str | None, n_wanted: int) -> Download:
    """Put in what the user said, and refuse what nobody vouches for."""
    if (url is not None or sha256 is not None) and n_wanted > 1:
        raise ArgumentError(f"data set {info.name} takes {n_wanted} downloads, so one url or sha256 cannot be for all")
    checksum = download.sha256 if sha256 is None else sha256.lower()
    if checksum is not None and (len(checksum) != 64 or set(checksum) - set("0123456789abcdef")):
        raise ArgumentError(f"sha256 is {sha256!r}, expected 64 hexadecimal digits")
    if checksum is None and not info.is_vouched(download):
        raise ArgumentError(
            f"no checksum of {download.url} is known, so it is not fetched: give the one you trust (--sha256), or get "
            f"{', '.join(download.gives)} from {info.home} yourself"
        )
    source = url or download.url
    scheme = source.partition(":")[0]
    if scheme not in _SCHEMES:
        raise ArgumentError(f"url {source!r} is no {', '.join(_SCHEMES)} address")
    return Download(source, download.gives, download.size if sha256 is None else None, checksum)


def _get(info: DatasetInfo, download: Download, place: Path, progress: Progress) -> list[Path]:
    with _storing(place):
        place.mkdir(parents=True, exist_ok=True)
    # An archive that a loader reads as it is, is a file like any.
    is_one = download.gives[0].endswith(ARCHIVES) or not download.url.lower().endswith(ARCHIVES)
    target = place / (download.gives[0] if is_one else PurePosixPath(download.url).name)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _download(info, download, part, progress)
        if not is_one:
            return _unpack(info, download, part, place)
        with _storing(place):
            os.replace(part, target)
        return [target]
    finally:
        part.unlink(missing_ok=True)


def _download(info: DatasetInfo, download: Download, part: Path, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    # Some servers refuse Python's own name.
    request = urllib.request.Request(download.url, headers={"User-Agent": "hashdb"})
    try:
        with (
            urllib.request.urlopen(request, timeout=_TIMEOUT) as answer,
            _storing(part.parent),
            open(part, "wb") as out,
        ):
            total = int(answer.headers.get("Content-Length") or download.size or 0)
            while piece := answer.read(_PIECE):
                out.write(piece)
                digest.update(piece)
                done += len(piece)
                progress(f"fetching {PurePosixPath(download.url).name}", done, max(total, done))
    except StorageError:
        raise
    except (urllib.error.URLError, OSError, EOFError) as error:
        reason = getattr(error, "reason", None) or one_line(error)
        raise FetchError(
            f"{download.url} cannot be fetched: {reason}; without a network get "
            f"{', '.join(download.gives[:3])} from {info.home} and put it into {part.parent}"
        ) from error
    _check(download, digest.hexdigest(), done, max(total, download.size or 0))


def _check(download: Download, checksum: str, done: int, expected: int) -> None:
    if expected and done < expected:
        raise FetchError(f"{download.url} broke off: {done:,} bytes came, expected {expected:,}; fetch it again")
    if download.sha256 is not None and checksum != download.sha256:
        raise FetchError(
            f"{download.url} is not what it was: {done:,} bytes with sha256 {checksum}, expected {download.sha256}; "
            "nothing is kept"
        )


def _unpack(info: DatasetInfo, download: Download, archive: Path, place: Path) -> list[Path]:
    """Take the files that the set needs out of an archive, each under a temporary name until it is whole."""
    made: list[tuple[Path, Path]] = []
    try:
        for path, stream in _members(download, archive):
            target = place / path
            with _storing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{os.getpid()}.part")
                made.append((part, target))
                with open(part, "wb") as out:
                    _copy_at_most(stream, out, info.known(path).size or most_bytes(archive.stat().st_size), path)
            _check_member(info, download, path, part)
        missing = set(download.gives) - {str(target.relative_to(place)) for _, target in made}
        if missing:
            raise FetchError(f"{download.url} holds no {sorted(missing)[0]}, expected {', '.join(download.gives)}")
        with _storing(place):
            for part, target in made:
                os.replace(part, target)
        return [target for _, target in made]
    finally:
        for part, _ in made:
            part.unlink(missing_ok=True)


def _copy_at_most(stream: IO[bytes], out: IO[bytes], n_bytes: int, path: str) -> None:
    """Take a member out of an archive, but no endless one."""
    while piece := stream.read(_PIECE):
        n_bytes -= len(piece)
        if n_bytes < 0:
            raise FetchError(f"{path} is larger in the archive than it may be; nothing is kept")
        out.write(piece)


def _members(download: Download, archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Give each file that is wanted, found by the end of its name, with its content."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for entry in opened.infolist():
                    path = _wanted(download, entry.filename)
                    if path is not None:
                        with opened.open(entry) as stream:
                            yield path, stream
            return
        with tarfile.open(archive) as tape:
            for member in tape:
                path = _wanted(download, member.name)
                content = tape.extractfile(member) if path is not None and member.isfile() else None
                if path is not None and content is not None:
                    yield path, content
    except (FetchError, StorageError):
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        OverflowError,
        RuntimeError,
        MemoryError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise FetchError(f"{download.url} is no whole archive: {one_line(error)}") from error


def _wanted(download: Download, name: str) -> str | None:
    return next((path for path in download.gives if f"/{name}".endswith(f"/{path}")), None)


def _check_member(info: DatasetInfo, download: Download, path: str, part: Path) -> None:
    known, size = info.known(path), part.stat().st_size
    if known.size is not None and size != known.size:
        raise FetchError(f"{path} of {download.url} has {size:,} bytes, expected {known.size:,}; nothing is kept")
    if known.sha256 is not None:
        with open(part, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != known.sha256:
            raise FetchError(
                f"{path} of {download.url} has sha256 {checksum}, expected {known.sha256}; nothing is kept"
            )


@contextmanager
def _storing(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into our error; what the network does is not caught here."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise StorageError(f"{place} cannot be written: {error.strerror}; choose another folder (--to DIR)") from error
    except OSError as error:
        if error.errno in (28, 30, 122):  # full, read-only, over quota
            raise StorageError(f"{place} cannot be written: {error.strerror}; choose another folder") from error
        raise
